package publisher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// recalled lists a release as recalled, as it is published.
func (w *world) recalled(t *testing.T, r string) func(*trust.Targets) {
	t.Helper()
	_, target := manifestOf(w, t, r)
	target.Custom = map[string]string{"reason": "hole", "since": "2"}
	return lists(manifest.TargetPath(manifest.StageRecalled, release(r)), target)
}

// hands gives a role one more key.
func hands(t *testing.T, role string, to key) func(*trust.Targets) {
	t.Helper()
	k, err := trust.NewKey(to.Public())
	check(t, err)
	return func(next *trust.Targets) {
		for i, d := range next.Delegations {
			if d.Name == role {
				next.Delegations[i].Keys = append(slices.Clone(d.Keys), k)
			}
		}
	}
}

// unaskedLeaves wants that whoever holds a role does not sign a proposal of it that none of its holders began, unless asked.
func (w *world) unaskedLeaves(t *testing.T, id, role string, by key) {
	t.Helper()
	_, err := w.publisher(t, nil).Sign(ctx, role, nil, signers(by))
	refused := wantError[*publisher.Refused](t, err, "nobody who holds "+role, id)
	if !strings.Contains(refused.Hint(), "leave it alone") {
		t.Errorf("the next step is %q", refused.Hint())
	}
	if p := w.pendingOne(t, id); slices.ContainsFunc(p.Roles, func(r publisher.RoleSignatures) bool { return slices.Contains(r.Signers, short(by)) }) {
		t.Errorf("%s signed %s", short(by), id)
	}
}

// The thief of one key of targets signs that as it is, and puts a recall beside it that nobody of that role began; then he hands the
// role out to one more key in the same proposal. Nobody signs that unasked, nor proposes it again.
func TestARecallBesideTheRoleThatHandsItsRoleOut(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*testing.T) func(*trust.Targets){
		"as it is":             func(*testing.T) func(*trust.Targets) { return nil },
		"with one key more":    func(t *testing.T) func(*trust.Targets) { return hands(t, recalledRole, catalogtest.NewKey(t)) },
		"with another's role":  func(t *testing.T) func(*trust.Targets) { return hands(t, productRole, catalogtest.NewKey(t)) },
		"with a key elsewhere": func(t *testing.T) func(*trust.Targets) { return hands(t, "registry", catalogtest.NewKey(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.certified(t, v1)
			evil := w.craft(t, crafted{"targets", edit(t), signers(w.root[2])}, crafted{recalledRole, w.recalled(t, v1), nil})
			if p := w.pendingOne(t, evil); p.Refused != "" {
				t.Fatalf("it is refused: %s", p.Refused)
			}
			w.unaskedLeaves(t, evil, recalledRole, w.certA)
			must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, "targets", nil, signers(w.root[0]))) // which one of them began
			commit(t, w.publisher(t, w.online))
			if w.info(t, v1).Recalled != nil {
				t.Error("it is recalled")
			}
			w.now = w.now.Add(time.Minute)
			more := w.openstack()
			more.Name = "nova"
			mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, more, signers(w.root[:2]...)))
			_, err := w.publisher(t, nil).Again(ctx, evil, nil, signers(w.certA))
			wantError[*publisher.NotAgain](t, err, "none of those who hold "+recalledRole)
		})
	}
}

// Nor does anybody sign his role as it is for that: a renewal is for its holders to begin.
func TestARoleAsItIsBesideTheOneThatHandsItOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	evil := w.craft(t, crafted{"targets", nil, signers(w.root[2])}, crafted{readyRole, nil, nil})
	w.unaskedLeaves(t, evil, readyRole, w.certA)
}

// The same with a certificate that waives what the vendor's CI found.
func TestACertificateBesideTheRoleThatHandsItsRoleOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	w.report(t, "enovance/ci", w.vendorCI, v1, manifest.Failed, nil)
	made, err := w.publisher(t, nil).Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "enovance/ci", Reason: "never mind"}}}, signers(w.certA))
	check(t, err)
	payload, err := trust.ParseTargetsPayload(w.object(t, manifest.ProposalObject(made.Outcome.Proposal, manifest.PayloadName(readyRole))))
	check(t, err)
	for key := range w.pendingFiles(t, made.Outcome.Proposal) { // nobody has proposed it: what is used of it is its evidence alone
		check(t, w.store.Delete(ctx, key))
	}
	evil := w.craft(t, crafted{"targets", nil, signers(w.root[2])}, crafted{readyRole, func(r *trust.Targets) { r.Targets = payload.Targets }, nil})
	for _, by := range []key{w.certA, w.certB} {
		w.unaskedLeaves(t, evil, readyRole, by)
	}
	commit(t, w.publisher(t, w.online))
	w.wantStage(t, v1, "validated")
}

// One key of root, where targets has keys of its own: what targets says is for its holders to begin.
func TestAHandOutBesideTheRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	holders := []key{catalogtest.NewKey(t), catalogtest.NewKey(t)}
	mustCommit(t)(w.publisher(t, w.online).ChangeRole(ctx, publisher.RoleRequest{Role: "targets", Old: []string{short(w.root[0]), short(w.root[1]), short(w.root[2])},
		New: publics(holders...)}, nil, signers(append(holders, w.root...)...)))
	mallory := catalogtest.NewKey(t)
	evil := w.craft(t, crafted{"root", nil, signers(w.root[2])}, crafted{"targets", hands(t, productRole, mallory), nil}, crafted{productRole, nil, signers(mallory)})
	w.unaskedLeaves(t, evil, "targets", holders[0])
}

// What others are to hold as it is they sign unasked, once one of those who hand it out has; and propose it again, once it went stale.
func TestAHandOverThatItsNewHolderSignsUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, v1)
	fresh := catalogtest.NewKey(t)
	handed := must(t, publisher.Pending)(w.publisher(t, nil).ChangeRole(ctx, publisher.RoleRequest{Role: productRole,
		Old: []string{short(w.engineer), short(w.colleague)}, New: publics(fresh)}, nil, signers(w.root[0]))).Proposal
	other := w.copy(t)
	if out := must(t, publisher.Pending)(w.publisher(t, nil).Sign(ctx, productRole, nil, signers(fresh))); out.Proposal != handed {
		t.Errorf("%+v", out)
	}
	other.publish(t, v2) // by a key that is to go, before those who hand the role out have all signed
	if p := other.pendingOne(t, handed); p.Stale == "" {
		t.Fatalf("%+v", p)
	}
	must(t, publisher.Pending)(other.publisher(t, nil).Again(ctx, handed, nil, signers(fresh)))
}

// A stranger's proposal by the beginning of its id, where nobody is asked: that names no more than the role does.
func TestAStrangersProposalSignedUnaskedByAShortID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := catalogtest.NewKey(t)
	evil := w.craft(t, crafted{"targets", hands(t, "registry", mallory), nil}, crafted{"registry", nil, signers(mallory)})
	short := evil[:strings.LastIndex(evil, ".")]
	p := w.publisher(t, nil)
	which, _, err := p.ToSign(ctx, short)
	check(t, err)
	if which != evil {
		t.Fatalf("%s is %s", short, which)
	}
	_, err = p.SignBegun(ctx, which, signers(w.root[0]))
	wantError[*publisher.Refused](t, err, "nobody who holds targets", evil)
	must(t, publisher.Pending)(p.Sign(ctx, evil, nil, signers(w.root[0])))  // by its whole id
	must(t, publisher.Pending)(p.SignBegun(ctx, which, signers(w.root[1]))) // a holder has begun it
}
