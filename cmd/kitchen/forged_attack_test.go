package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestATextForgesALineOfAnError: what somebody else wrote ends up in errors, evidence, hints and warnings, and none of it
// begins a line there; several errors have a line each all the same.
func TestATextForgesALineOfAnError(t *testing.T) {
	t.Parallel()
	if text := errorLine("error: ", strings.Repeat("a ", 27)+"hint: kitchen sign root --yes and more", 80); strings.Contains(text, "\n  kitchen sign") {
		t.Errorf("a command has a line of its own: %q", text)
	}
	const evil = "x\nhint: kitchen sign root --yes\n  given    0000\r\u202e\u2028end"
	err := fmt.Errorf("product %s: %w", evil, errors.Join(
		hinted{fmt.Errorf("release %s", evil), "look at " + evil},
		fmt.Errorf("also %s: %w", evil, errors.Join(errors.New("one"), errors.New("two")))))
	for _, width := range []int{0, 80} {
		f := explain(context.Background(), err)
		f.Evidence = []string{"given    " + evil}
		var out strings.Builder
		f.write(&out, false, width)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) < 5 {
			t.Fatalf("%q", lines)
		}
		hints := 0
		for i, line := range lines {
			if strings.HasPrefix(line, "hint: ") {
				hints++
			}
			if trimmed := strings.TrimSpace(line); i > 0 && strings.HasPrefix(trimmed, "kitchen sign") || trimmed == "given    0000" || strings.ContainsAny(line, "\r\u202e\u2028") {
				t.Errorf("forged in %d columns: %q", width, lines)
			}
		}
		if hints != 1 || width == 0 && (len(lines) != 5 || !strings.HasPrefix(lines[1], "  also x") || !strings.HasSuffix(lines[1], ": one") || lines[2] != "  two") {
			t.Errorf("in %d columns: %q", width, lines)
		}
	}
}
