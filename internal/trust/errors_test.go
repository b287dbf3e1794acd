package trust_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/trust"
)

// TestRefusalsShowTheirEvidence: one plain line with what came and what was expected, and a hint with a command.
func TestRefusalsShowTheirEvidence(t *testing.T) {
	cause := errors.New("the particular reason")
	ids := []string{strings.Repeat("a1", 32), "short"}
	for _, e := range []*trust.Error{
		{Kind: trust.BadSignature, Role: "targets", Want: "2", KeyIDs: ids},
		{Kind: trust.Threshold, Role: "targets", Have: "1", Want: "2", KeyIDs: ids, Signers: ids[:1]},
		{Kind: trust.Rollback, Role: "snapshot", Have: "4", Want: "5"},
		{Kind: trust.SameVersion, Role: "snapshot", Have: "aa", Want: "bb"},
		{Kind: trust.Expired, Role: "timestamp", Have: "2026-03-01T12:00:00Z", Expiry: now},
		{Kind: trust.Mismatch, Role: "snapshot", Have: "4 bytes", Want: "5 bytes"},
		{Kind: trust.OutOfScope, Role: "product.p", Have: `"x"`, Want: "(y)"},
		{Kind: trust.Malformed, Role: "root"},
		{Kind: trust.Missing, Role: "snapshot", Want: "product.p"},
	} {
		line := e.Error()
		for _, want := range []string{e.Role, e.Have, e.Want} {
			if e.Kind != trust.BadSignature && !strings.Contains(line, want) {
				t.Errorf("%s: %q does not show %q", e.Kind, line, want)
			}
		}
		if len(e.KeyIDs) > 0 && (!strings.Contains(line, "a1a1a1a1a1a1…") || !strings.Contains(line, "short")) {
			t.Errorf("%s: %q does not show the keys", e.Kind, line)
		}
		if !strings.Contains(e.Hint(), "`kitchen ") && !strings.Contains(e.Hint(), "vendor") {
			t.Errorf("%s: hint %q names nobody and nothing to run", e.Kind, e.Hint())
		}
		e.Err = cause
		if !errors.Is(e, cause) || !strings.HasSuffix(e.Error(), cause.Error()) {
			t.Errorf("%s: the reason is lost", e.Kind)
		}
	}
}

// TestForeignTextInErrors: names from a file reach the terminal without control characters and cut short.
func TestForeignTextInErrors(t *testing.T) {
	w := newWorld(t)
	w.putForged("targets", func(signed map[string]any) {
		signed["delegations"].(map[string]any)["roles"].([]any)[0].(map[string]any)["name"] =
			"\x1b[2J\n" + strings.Repeat("é", 5000)
	}, w.targets...)
	line := w.fresh().Error()
	if strings.ContainsAny(line, "\x1b\n") || len(line) > 400 {
		t.Fatalf("error is %d bytes: %q", len(line), line)
	}
}

// TestKeysThatDidNotSignAreShownWhole: one line tells keys apart, and the evidence has them whole, each once.
func TestKeysThatDidNotSignAreShownWhole(t *testing.T) {
	one, other := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	e := &trust.Error{Kind: trust.Threshold, Role: "targets", Have: "1", Want: "2", KeyIDs: []string{one, other}, Signers: []string{one}}
	if lines := e.Evidence(); !slices.Equal(lines, []string{"signed   " + one, "may sign " + other}) {
		t.Errorf("%q", lines)
	}
}
