package publisher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/publisher"
)

// One proposal of a signing file is refused by now, by the key of a site that its thief has registered since: the signatures on the others
// arrive, it is named, and no damage of the file is spoken of.
func TestARefusedProposalInASigningFileKeepsNoSignatureOut(t *testing.T) {
	t.Parallel()
	for range 20 { // until the one that is refused comes first
		w := newWorld(t)
		k := catalogtest.NewKey(t)
		add := func(name string, engineer, by key) string {
			req := w.openstack()
			req.Name, req.Engineers = name, publics(engineer)
			w.now = w.now.Add(time.Second)
			return must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(by))).Proposal
		}
		bad, good := add("nova", k, w.root[0]), add("swift", w.engineer, w.root[1])
		if bad > good {
			continue
		}
		file := w.signFile(t, w.export(t, "targets"), w.root[2])
		mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, w.site("acme/new", k), signers(w.admin)))
		out := must(t, publisher.Committed)(w.publisher(t, w.online).TakeSignatures(ctx, file))
		if !slices.Contains(w.view(t).Products(), "swift") || !strings.Contains(strings.Join(out.Notes, "\n"), bad+" may not take effect") {
			t.Errorf("%+v", out)
		}
		return
	}
	t.Fatal("the one that is refused came last each time")
}

// Where nothing else is in the file the refusal is the answer, with a next step that is one.
func TestARefusedProposalAloneInASigningFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := catalogtest.NewKey(t)
	req := w.openstack()
	req.Name, req.Engineers = "nova", publics(k)
	bad := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(w.root[0]))).Proposal
	file := w.signFile(t, w.export(t, "targets"), w.root[2])
	mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, w.site("acme/new", k), signers(w.admin)))
	_, err := w.publisher(t, w.online).TakeSignatures(ctx, file)
	if refused := wantError[*publisher.Refused](t, err, "acme/new"); !strings.Contains(refused.Hint(), "kitchen pending "+bad) {
		t.Errorf("the next step is %q", refused.Hint())
	}
	drop, err := w.publisher(t, nil).Drop(ctx, bad, publisher.DropRequest{}, nil)
	check(t, err)
	if drop.Harmless != "" || !strings.Contains(drop.Proposal.Refused, "acme/new") { // it has all signatures: the site may go
		t.Errorf("of what is refused it is said %q, %q", drop.Harmless, drop.Proposal.Refused)
	}
}

// A stranger's proposal, in the catalog and in a file, beside an honest one: nobody is told to fear it, to sign it, or to make its change
// again.
func TestWhatIsSaidOfAStrangersProposal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := catalogtest.NewKey(t)
	evil := w.craft(t, crafted{"targets", hands(t, "registry", mallory), nil}, crafted{"registry", nil, signers(mallory)})
	file := w.export(t, "targets")
	_, err := w.airgap(t, file, t.TempDir()).SignFile(ctx, file, nil, signers(w.root[1]))
	refused := wantError[*publisher.Refused](t, err, "nobody who holds targets", "leave out --yes")
	if text := refused.Error() + refused.Hint(); strings.Contains(text, "kitchen sign") || strings.Contains(text, "make the change again") {
		t.Errorf("the next step is %q", text)
	}
	drop, err := w.publisher(t, nil).Drop(ctx, evil, publisher.DropRequest{}, nil)
	check(t, err)
	if !strings.Contains(drop.Harmless, "none of those who hold") {
		t.Errorf("of what nobody began it is said %q", drop.Harmless)
	}
	more := w.openstack()
	more.Name = "nova"
	made := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, more, signers(w.root[0])))
	if p := w.pendingOne(t, made.Proposal); len(p.Rivals)+len(made.Notes) > 0 {
		t.Errorf("the honest one excludes %q; %q", p.Rivals, made.Notes)
	}
	if p := w.pendingOne(t, evil); len(p.Rivals) != 1 {
		t.Errorf("the stranger's excludes %q", p.Rivals)
	}
	out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[1])))
	if notes := strings.Join(out.Notes, "\n"); strings.Contains(notes, "only one of them") {
		t.Errorf("%q", out.Notes)
	}
}

// The thief of another role's key signs that beside a change of targets which no holder of targets began: no rival of one that a holder did.
func TestAThiefOfAnotherRoleIsNoRival(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	w.craft(t, crafted{"targets", hands(t, productRole, catalogtest.NewKey(t)), nil}, crafted{productRole, nil, signers(w.engineer)})
	more := w.openstack()
	more.Name = "nova"
	made := must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, more, signers(w.root[0])))
	if p := w.pendingOne(t, made.Proposal); len(p.Rivals)+len(made.Notes) > 0 {
		t.Errorf("the honest one excludes %q; %q", p.Rivals, made.Notes)
	}
}
