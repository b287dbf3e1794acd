package render_test

import (
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/render"
)

func TestForeignTextCannotDriveTheTerminal(t *testing.T) {
	for _, c := range []struct{ name, in, line, text string }{
		{"plain", "hello, world", "hello, world", "hello, world"},
		{"accents and CJK stay", "café 料理", "café 料理", "café 料理"},
		{"escape sequence", "a\x1b[2Jb", `a\x1b[2Jb`, `a\x1b[2Jb`},
		{"C1 control", "a\u009b31mb", `a\x9b31mb`, `a\x9b31mb`},
		{"forged line", "ok\nREADY", `ok\nREADY`, "ok\nREADY"},
		{"overwritten line", "FAILED\rPASSED", `FAILED\rPASSED`, `FAILED\rPASSED`},
		{"bell and delete", "\a\x7f", `\x07\x7f`, `\x07\x7f`},
		{"right-to-left override", "a\u202egnp.exe", `a\u{202e}gnp.exe`, `a\u{202e}gnp.exe`},
		{"zero width", "ad\u200bmin", `ad\u{200b}min`, `ad\u{200b}min`},
		{"line separator", "a\u2028b", `a\u{2028}b`, `a\u{2028}b`},
		{"not UTF-8", "a\xffb", `a\xffb`, `a\xffb`},
		{"tab", "a\tb", `a\tb`, "a\tb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := render.Line(c.in); got != c.line {
				t.Errorf("Line(%q) = %q, want %q", c.in, got, c.line)
			}
			if got := render.Text(c.in); got != c.text {
				t.Errorf("Text(%q) = %q, want %q", c.in, got, c.text)
			}
		})
	}
}

func TestWriterPutsCutCharactersTogether(t *testing.T) {
	const in = "é料\x1b[31m\U0001F600\xe6"
	for size := 1; size < len(in); size++ {
		var out strings.Builder
		w := &render.Writer{W: &out}
		for rest := in; rest != ""; {
			n := min(size, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := render.Text(in); out.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, out.String(), want)
		}
	}
}

func TestTableFitsAndNeverCutsNames(t *testing.T) {
	table := render.Table{Columns: []render.Column{{Name: "SITE"}, {Name: "VERDICT"}, {Name: "REASON", Flex: true}}}
	table.Row("acme/staging", "FAILED", strings.Repeat("the machine did not boot; ", 9))
	table.Row("acme/\x1b[2J", "PASSED")
	var out strings.Builder
	if err := table.Write(&out, 80); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if render.Width(line) > 80 {
			t.Errorf("%d columns: %q", render.Width(line), line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("trailing space: %q", line)
		}
	}
	for _, want := range []string{"acme/staging  FAILED", `acme/\x1b[2J  PASSED`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestTableNarrowerThanItsNamesStillEnds(t *testing.T) {
	table := render.Table{Columns: []render.Column{{Name: "A"}, {Name: "B"}}}
	table.Row(strings.Repeat("x", 100), strings.Repeat("料", 60))
	var out strings.Builder
	if err := table.Write(&out, 20); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "x"); got != 100 {
		t.Errorf("%d of 100 characters printed", got)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 10, ""},
		{"one two three", 7, "one two|three"},
		{"abcdefghij", 4, "abcd|efgh|ij"},
		{"a abcdefghij b", 4, "a|abcd|efgh|ij b"},
		{"料理料理", 4, "料理|料理"},
		{"料", 1, "料"},
		{"a\nb", 10, "a|b"},
	} {
		if got := strings.Join(render.Wrap(c.in, c.n), "|"); got != c.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestFoldNeverBreaksWhatIsCopied(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 10, ""},
		{"one  two", 10, "one  two"},
		{"one two three", 7, "one two|three"},
		{"a abcdefghij b", 4, "a|abcdefghij|b"},
		{"run `a b c` then", 6, "run|`a b c`|then"},
		{"run (`a b c`) and `d", 6, "run|(`a b c`)|and `d"},
		{"料理料理 x", 4, "料理料理|x"},
		{"waits for 1 more (kitchen sign a.b --key FILE) now", 12, "waits for 1|more|(kitchen sign a.b --key FILE)|now"},
		{"to end it: kitchen pending drop a.b.2.5d --supersede --key FILE (of a.b)", 20, "to end it:|kitchen pending drop a.b.2.5d --supersede --key FILE|(of a.b)"},
		{"then kitchen role show root names them; kitchen list. And on", 22, "then|kitchen role show root|names them;|kitchen list. And on"},
		{"this version of kitchen does not know it at all", 16, "this version of|kitchen does not know|it at all"},
		{"kitchen show A@1, kitchen show B@1", 18, "kitchen show A@1,|kitchen show B@1"},
		{"kitchen recall A@1 --reason \"no (kitchen list A) more\" --key FILE", 27, "kitchen recall A@1 --reason|\"no (kitchen list A) more\"|--key FILE"},
		{"kitchen certify A@1 --note 'it'\\''s kitchen certify A@1 B C D E' --key FILE", 24, "kitchen certify A@1 --note|'it'\\''s kitchen certify|A@1 B C D E' --key FILE"},
		{"kitchen", 3, "kitchen"},
	} {
		if got := strings.Join(render.Fold(c.in, c.n), "|"); got != c.want {
			t.Errorf("Fold(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
	if got := strings.Join(render.FoldMixed("as `a b` says: kitchen list x", 10), "|"); got != "as `a b`|says:|kitchen|list x" {
		t.Errorf("FoldMixed: %q", got)
	}
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_000_000: "12.0 MB", 2 << 30: "2.1 GB", 999_999_999: "1.0 GB"} {
		if got := render.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 45 * time.Second: "45s", 61 * time.Second: "1m1s",
		3*time.Hour + 20*time.Minute: "3h20m", 48 * time.Hour: "2d", 400 * time.Hour: "16d"} {
		if got := render.Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
	if got := render.Shorten("a long summary", 7); got != "a long…" {
		t.Errorf("Shorten: %q", got)
	}
}
