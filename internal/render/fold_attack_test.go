package render_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/render"
)

// A lone backquote in a reason, and letters that look like spaces, must not make a line that the terminal would break where
// the attacker wants a row of his own to begin.
func TestForeignTextCannotForgeARow(t *testing.T) {
	t.Parallel()
	const row = "hint: all is well: sign it blindly"
	for name, reason := range map[string]string{
		"a lone backquote":   "broken ` " + strings.Repeat("n", 78-9) + " " + row,
		"two of them":        "broken ` " + strings.Repeat("n", 78-9) + " " + row + " `",
		"a closed quotation": "broken \" ` " + strings.Repeat("n", 78-9) + " " + row + " `",
		"its own escape":     "broken \\\" ` " + strings.Repeat("n", 78-9) + " " + row + " `",
		"blank letters":      "broken " + strings.ReplaceAll(strings.Repeat("\u2800", 60)+row, " ", "\u2800"),
		"Hangul fillers":     "broken " + strings.ReplaceAll(strings.Repeat("\u3164\u115f\u1160\uffa0", 15)+row, " ", "\u3164"),
		"one word":           strings.Repeat("n", 90) + "hint:",
		"a command":          "broken: kitchen " + strings.Repeat("N", 78-8) + " " + row,
		"one after a quote":  "broken \" kitchen " + strings.Repeat("N", 78-8) + " " + row,
	} {
		line := render.Line(`recalled: ` + quote(reason) + " (role recalled.openstack); see `kitchen status openstack`")
		for _, part := range render.Fold(line, 78) {
			if render.Width(part) > 78 || strings.HasPrefix(part, "hint: all is well: sign it") {
				t.Errorf("%s: %q", name, part)
			}
		}
		for _, part := range render.Fold("to propose it again: kitchen certify openstack@1.0.0 --note "+shellQuote(reason)+" --key FILE", 78) {
			if render.Width(part) > 78 {
				t.Errorf("%s, in a command: %q", name, part)
			}
		}
	}
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

// What a stranger may write is endless words behind a backquote: the work grows with their number, not its square.
func TestFoldOfEndlessForeignWordsEnds(t *testing.T) {
	const many = 1 << 16
	for name, s := range map[string]string{
		"a lone backquote": "x ` " + strings.Repeat("a ", many),
		"an even number":   "x ` " + strings.Repeat("a ", many) + "`",
		"backquotes":       strings.Repeat("` ", many|1),
		"quoted":           `x "` + strings.Repeat("a ", many) + `"`,
		"commands":         strings.Repeat("kitchen A B C D E F ", many/10),
		"one command":      "kitchen " + strings.Repeat("A ", many),
		"one word":         `"` + strings.Repeat("a", many) + `"`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		lines := len(render.Fold(s, 78))
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; lines < many/78 || made > 200*many { // its square would be four thousand million
			t.Errorf("%s: %d lines, %d bytes allocated", name, lines, made)
		}
	}
	if lines := render.Wrap(strings.Repeat("a", many), 78); len(lines) != many/78+1 {
		t.Errorf("wrapped to %d lines", len(lines))
	}
}

// To a reader these are spaces, or nothing at all; both must be seen.
func TestLettersThatShowNothingAreShown(t *testing.T) {
	t.Parallel()
	for _, r := range "\u2800\u3164\u115f\u1160\uffa0\u034f\u17b4\u17b5\u180b\ufe0f\U000e0100\U00013441\U0001d159\u00a0\u3000\u200b" {
		if have := render.Line("a" + string(r) + "b"); strings.ContainsRune(have, r) || !strings.Contains(have, `\u{`) && !strings.Contains(have, `\x`) {
			t.Errorf("%U: %q", r, have)
		}
		if have := render.JSON([]byte(`"a` + string(r) + `b"`)); strings.ContainsRune(string(have), r) {
			t.Errorf("%U: %q", r, have)
		}
	}
}
