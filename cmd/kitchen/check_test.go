package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/enovance/kitchen/publisher"
)

// TestInterruptedCheckBeginsAnew: unlike a publication, it leaves nothing to go on from.
func TestInterruptedCheckBeginsAnew(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	f := explain(ctx, anew{ctx.Err()})
	if f.Code != exitInterrupted || !strings.Contains(f.Hint, "begins anew") || strings.Contains(f.Hint, "to go on") {
		t.Errorf("%+v", f)
	}
}

// TestCheckShowsWhatAFindingStandsFor: ten objects to people, the rest by number; all that are kept in JSON.
func TestCheckShowsWhatAFindingStandsFor(t *testing.T) {
	t.Parallel()
	found := publisher.Finding{Severity: publisher.Note, Code: publisher.CodeForeign, Why: "objects whose names are none of a catalog's: 12", Count: 12}
	for n := range 12 {
		found.Objects = append(found.Objects, fmt.Sprintf("object-%02d", n))
	}
	d := newCheckDocument(&publisher.CheckResult{Findings: []publisher.Finding{found}, Ended: true}, false)
	if len(d.Findings[0].Objects) != 12 {
		t.Errorf("%+v", d.Findings)
	}
	var out bytes.Buffer
	d.human(&page{w: &out, width: 80})
	for _, want := range []string{"object-09", "and 2 more", "INCOMPLETE"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "object-10") {
		t.Errorf("more than ten:\n%s", &out)
	}
}
