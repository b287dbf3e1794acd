package render_test

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/enovance/kitchen/internal/render"
)

// hostile are the seeds: what drives terminals, by name.
var hostile = map[string]string{
	"escape": "a\x1b[2Jb", "C1": "a\u009b31m", "C1 byte": "a\x9b31m", "bidi": "a\u202eb\u2066c", "zero width": "a\u200bb", "lines": "a\r\nb\tc\u2028d",
	"cut": "é料\U0001F600\xe6", "private use": "\ue000\U000F0000", "plain": "café 料理", "quotes": `"\`, "replacement": "\ufffd\xff",
}

// harmless tells whether text can be shown: valid, and without a character that is not to be seen.
func harmless(s, allowed string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune(allowed, r) }) < 0
}

func FuzzEscape(f *testing.F) {
	for _, seed := range hostile {
		f.Add(seed, uint8(3))
	}
	f.Fuzz(func(t *testing.T, s string, piece uint8) {
		if have := render.Line(s); !harmless(have, "") {
			t.Errorf("Line: %q", have)
		}
		text := render.Text(s)
		if !harmless(text, "\n\t") {
			t.Errorf("Text: %q", text)
		}
		if harmless(s, "") && render.Line(s) != s {
			t.Errorf("%q became %q", s, render.Line(s))
		}
		var out strings.Builder
		w := &render.Writer{W: &out}
		for rest := s; rest != ""; {
			n := min(int(piece)+1, len(rest))
			_, _ = io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		if err := w.Close(); err != nil || out.String() != text {
			t.Errorf("in pieces of %d: %q, want %q", int(piece)+1, out.String(), text)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for name, seed := range hostile {
		f.Add(name, seed)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		doc, err := json.MarshalIndent(map[string]any{key: []string{value}}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		have := render.JSON(doc)
		if !harmless(string(have), "\n") {
			t.Errorf("%q", have)
		}
		var a, b any
		if err := json.Unmarshal(doc, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(have, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%q became %q: %v", doc, have, err)
		}
	})
}

// TestFuzzSeeds: the seeds are there, and each is of use.
func TestFuzzSeeds(t *testing.T) {
	if len(hostile) < 10 {
		t.Errorf("%d seeds", len(hostile))
	}
	for name, seed := range hostile {
		if seed == "" || name != "plain" && name != "quotes" && harmless(seed, "") {
			t.Errorf("%s: %q harms nobody", name, seed)
		}
	}
}
