package publisher_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// A note that is not kept is said to be lost: that of whoever joins a waiting certificate, that of whoever signs again.
func TestANoteThatIsNotKeptIsSaidToBeLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	for _, c := range []struct {
		by     key
		note   string
		kept   bool
		laptop bool
	}{
		{w.certA, "first", true, true},
		{w.certA, "first", true, true},
		{w.certA, "on second thoughts", false, true},
		{w.certB, "me too", false, true},
		{w.certB, "me too", false, false}, // is committed
		{w.certB, "me too", false, false}, // is so already
	} {
		p := w.publisher(t, w.online)
		if c.laptop {
			p = w.publisher(t, nil)
		}
		result, err := p.Certify(ctx, release(v1), publisher.CertifyRequest{Note: c.note}, signers(c.by))
		check(t, err)
		words := strings.Join(result.Outcome.Summary, "\n")
		if said := strings.Contains(words, "YOUR NOTE IS NOT KEPT"); said == c.kept || (result.Note != "") != c.kept {
			t.Errorf("%s: note %q, %s", c.note, result.Note, words)
		}
		if result.Outcome.Status != publisher.Unchanged && !strings.Contains(words, `note: "first"`) {
			t.Errorf("%s: the note that counts is not shown: %s", c.note, words)
		}
	}
}

// What the caller signed before is no reason to say that this call was accepted.
func TestNoToOneOfSeveralProposalsIsNoYes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.validated(t, v2)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certB))
	laptop, asked := w.publisher(t, nil), 0
	answer := func(yes bool) func(publisher.PendingProposal) (bool, error) {
		return func(publisher.PendingProposal) (bool, error) { asked++; return yes, nil }
	}
	out := must(t, publisher.Declined)(laptop.Sign(ctx, readyRole, answer(false), signers(w.certA)))
	if len(out.Others) != 1 || out.Others[0].Status != publisher.Pending || !strings.Contains(out.Others[0].Summary[0], v1) {
		t.Errorf("the other proposal is not told of: %+v", out.Others)
	}
	out = must(t, publisher.Pending)(laptop.Sign(ctx, readyRole, answer(true), signers(w.certA)))
	if !strings.Contains(out.Summary[0], v2) {
		t.Errorf("what was signed now does not come first: %q", out.Summary)
	}
	if must(t, publisher.Pending)(laptop.Sign(ctx, readyRole, answer(false), signers(w.certA))); asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// Of two certificates made on the same state one takes effect: the other says of which, and how it is made again.
func TestAStaleProposalSaysWhyAndHowItIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.validated(t, v2)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	out := must(t, publisher.Pending)(certify(w.publisher(t, nil), v2, w.certB))
	if !strings.Contains(out.WaitsFor, "kitchen sign "+readyRole) {
		t.Errorf("the second signer is not told how: %s", out.WaitsFor)
	}
	yes := func(p publisher.PendingProposal) (bool, error) { return strings.Contains(p.Change[0], v1), nil }
	mustCommit(t)(w.publisher(t, w.online).Sign(ctx, readyRole, yes, signers(w.certB)))
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 || pending[0].Stale == "" || len(pending[0].Since) != 1 || !strings.Contains(pending[0].Since[0], "certify "+v1) ||
		!slices.Equal(pending[0].Again, []string{"kitchen certify " + v2 + " --key FILE"}) {
		t.Errorf("%+v", pending)
	}
}

// A certificate that went stale, or that a rule forbids by now, is made again by one command: with its waivers and its note,
// as a shell takes them.
func TestACertificateIsMadeAgainWithItsWaiversAndNote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.validated(t, v2)
	w.report(t, "acme/staging", w.stagingCI, v2, manifest.Failed, func(r *manifest.Report) { r.Reason = "does not boot" })
	req := publisher.CertifyRequest{Note: "it's fine", Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: "their $disk"}}}
	result, err := w.publisher(t, nil).Certify(ctx, release(v2), req, signers(w.certA))
	id := must(t, publisher.Pending)(result.Outcome, err).Proposal
	mustCommit(t)(certify(w.publisher(t, w.online), v1, w.certA, w.certB))
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	command := "kitchen certify " + v2 + ` --key FILE --waive 'acme/staging:their $disk' --note 'it'\''s fine'`
	if len(pending) != 1 || pending[0].ID != id || !slices.Equal(pending[0].Again, []string{command}) {
		t.Errorf("%+v", pending)
	}
	_, err = w.publisher(t, nil).Again(ctx, id, nil, signers(w.certA))
	if e := wantError[*publisher.NotAgain](t, err); e.Command != command {
		t.Errorf("%q", e.Command)
	}

	w = newWorld(t)
	w.validated(t, v1)
	id = must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA)).Proposal
	w.setPolicy(t, "[default]\nrequire = [\"acme/staging\"]\n")
	_, err = w.publisher(t, nil).Again(ctx, id, nil, signers(w.certA))
	if e := wantError[*publisher.NotAgain](t, err, "refused"); e.Command != "kitchen certify "+v1+" --key FILE" {
		t.Errorf("%q", e.Command)
	}
}
