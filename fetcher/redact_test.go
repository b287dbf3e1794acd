package fetcher

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/enovance/kitchen/manifest"
)

func patterns(t testing.TB, list ...string) redactor {
	t.Helper()
	var r redactor
	for _, text := range list {
		pattern, err := regexp.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		r = append(r, pattern)
	}
	return r
}

// TestRedactionDoesNotDependOnPieces: a secret that is cut by the border of a buffer is taken out all the same.
func TestRedactionDoesNotDependOnPieces(t *testing.T) {
	r := patterns(t, `password: .*`, `s[0-9]{5}t`)
	var in, want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&in, "line %d has s%05dt in it\npassword: hunter%d", i, i, i)
		fmt.Fprintf(&want, "line %d has [redacted] in it\n[redacted]", i)
		if i%3 > 0 {
			in.WriteString("\r\n")
			want.WriteString("\n")
		} else {
			in.WriteString("\n")
			want.WriteString("\n")
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		var out bytes.Buffer
		w := &redactingWriter{redactor: r, to: &out}
		for rest := in.String(); rest != ""; {
			n := min(len(rest), 1+random.IntN(1+round*100))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want.String() {
			t.Fatalf("round %d differs", round)
		}
	}
	if got := r.text("a s12345t\npassword: x\nb"); got != "a [redacted]\n[redacted]\nb" {
		t.Errorf("a text became %q", got)
	}
}

// TestALineThatIsTooLongIsLeftOut: what was not looked through does not go out, not even its beginning.
func TestALineThatIsTooLongIsLeftOut(t *testing.T) {
	var out bytes.Buffer
	w := &redactingWriter{redactor: patterns(t, "secret"), to: &out}
	for _, piece := range []string{"before\n", strings.Repeat("x", longestRedacted), "yy", "zz\n", "after secret\n", strings.Repeat("x", longestRedacted-1) + "\n"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("before\nkitchen: a line of %d bytes is left out: too long to be redacted\nafter [redacted]\n%s\n", longestRedacted+5, strings.Repeat("x", longestRedacted-1))
	if out.String() != want {
		t.Errorf("%d bytes came out, want %d: %.200q", out.Len(), len(want), out.String())
	}
}

// TestASecretAtTheEndOfALongName: a name is redacted before it is cut, so that no half secret remains.
func TestASecretAtTheEndOfALongName(t *testing.T) {
	results := newTests()
	results.redact = patterns(t, `key-[0-9]{20}`)
	name := strings.Repeat("x", manifest.MaxTestName-10) + "key-12345678901234567890"
	if err := results.parseJUnit(context.Background(), []byte(`<testsuite><testcase name="`+name+`"/></testsuite>`)); err != nil {
		t.Fatal(err)
	}
	if passed, _, _ := results.lists(); len(passed) != 1 || strings.Contains(passed[0], "key-") {
		t.Errorf("passed %v", passed)
	}
}
