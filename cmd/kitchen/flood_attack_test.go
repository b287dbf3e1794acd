package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/enovance/kitchen/publisher"
)

// TestALongChangeAmongOthers: a list shows so much of each proposal, and how much is left. Who asks for one sees all of it, and so does who is
// asked to sign it, and a program.
func TestALongChangeAmongOthers(t *testing.T) {
	t.Parallel()
	long := publisher.PendingProposal{ID: "targets.3.0123456789abcdef"}
	for i := range 20_000 {
		long.Change = append(long.Change, fmt.Sprintf("new role product.a%d", i))
	}
	shown := func(d interface{ human(*page) }) string {
		var out bytes.Buffer
		d.human(&page{w: &out, width: 4000})
		return out.String()
	}
	among := func(alone bool) *pendingDocument {
		d := &pendingDocument{alone: alone}
		d.add(nil, long)
		return d
	}
	const rest = "and 19900 more lines: "
	for name, text := range map[string]string{
		"pending": shown(among(false)), "commit": shown(newCommit(&publisher.CommitResult{Incomplete: []publisher.PendingProposal{long}})),
	} {
		if n := strings.Count(text, "new role"); n != listedLines || !strings.Contains(text, rest+"kitchen pending "+long.ID+" shows all of it") {
			t.Errorf("%s shows %d lines, and ends with %q", name, n, text[max(0, len(text)-300):])
		}
	}
	done := newCommit(&publisher.CommitResult{Committed: []publisher.PendingProposal{long}})
	if text := shown(done); strings.Count(text, "new role") != listedLines || !strings.Contains(text, rest+"-o json has all of it") {
		t.Errorf("commit shows %d lines of what is in effect", strings.Count(text, "new role"))
	}
	if lines := outline(&done.Committed[0]); len(lines) != listedLines+1 {
		t.Errorf("the committer's service shows %d lines", len(lines))
	}
	var asked bytes.Buffer
	d := newProposal(long)
	_, err := askToSign(struct {
		io.Reader
		io.Writer
	}{strings.NewReader("n\n"), &asked}, &d)
	machine, jsonErr := json.Marshal(among(false))
	if err != nil || jsonErr != nil {
		t.Fatal(err, jsonErr)
	}
	for name, text := range map[string]string{"pending ID": shown(among(true)), "sign": asked.String(), "json": string(machine)} {
		if n := strings.Count(text, "new role"); n != 20_000 {
			t.Errorf("%s shows %d lines", name, n)
		}
	}
}

// TestARecallThatWasLostIsSaid: whoever commits, once or as a service, or looks at what waits, reads which release is not recalled, and what
// recalls it.
func TestARecallThatWasLostIsSaid(t *testing.T) {
	t.Parallel()
	lost := publisher.PendingProposal{ID: "recalled.openstack.3.0123456789abcdef", Stale: "recalled.openstack changed meanwhile: version 3 is in effect", NotRecalled: []string{"openstack@1.0.0"},
		Again: []string{"kitchen pending again recalled.openstack.3.0123456789abcdef --key FILE"}}
	dropped := lost
	dropped.Dropped = true
	for _, one := range []publisher.PendingProposal{lost, dropped} {
		list := &pendingDocument{}
		list.add(nil, one)
		for name, d := range map[string]interface{ human(*page) }{"pending": list, "commit": newCommit(&publisher.CommitResult{Stale: []publisher.PendingProposal{one}})} {
			var out bytes.Buffer
			d.human(&page{w: &out, width: 4000})
			if text := out.String(); !strings.Contains(text, "openstack@1.0.0 is NOT RECALLED") || !strings.Contains(text, one.Again[0]) {
				t.Errorf("%s says %q", name, text)
			}
		}
		doc := newProposal(one)
		if text := doc.inALine(); !strings.Contains(text, "openstack@1.0.0 is NOT RECALLED") || !strings.HasSuffix(text, one.Again[0]) {
			t.Errorf("the committer's service says %q", text)
		}
	}
}
