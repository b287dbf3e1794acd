package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/enovance/kitchen/publisher"
)

// Nobody at the terminal, or half an answer before it hung up, is neither yes nor a failure: the command line lacks --yes.
func TestATerminalWithoutAnybodySignsNothing(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "y": false} {
		d := newProposal(publisher.PendingProposal{ID: "a.1.0"})
		var shown bytes.Buffer
		yes, err := askToSign(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(input), &shown}, &d)
		if yes != want || !strings.Contains(shown.String(), "sign this?") {
			t.Errorf("%q: %v, shown %q", input, yes, shown.String())
		}
		if strings.HasSuffix(input, "\n") {
			continue
		}
		if f := explain(context.Background(), err); err == nil || f.Code != exitUsage || !strings.Contains(f.Hint, "--yes") {
			t.Errorf("%q: %+v", input, f)
		}
	}
}
