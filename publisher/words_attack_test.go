package publisher_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// forged is a name, or a reason, that goes on as words of Kitchen would.
const forged = `ACME"), subscribes to nothing; new role root: 1 of 00000000 (`

// betweenMarks holds words to what is theirs: the forged text is in them, and all of it between quotation marks.
func betweenMarks(t *testing.T, lines []string) {
	t.Helper()
	text := strings.Join(lines, "\n")
	if !strings.Contains(text, strconv.Quote(forged)) || strings.Contains(strings.ReplaceAll(text, strconv.Quote(forged), ""), "new role root") {
		t.Errorf("a text passes for words of Kitchen:\n%s", text)
	}
}

// soleChange gives the words of the one proposal that waits, as whoever is to sign it sees them.
func (w *world) soleChange(t *testing.T) []string {
	t.Helper()
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 1 {
		t.Fatalf("%d proposals wait", len(pending))
	}
	return pending[0].Change
}

// TestANameOrReasonForgesWordsOfAProposal: names, reasons, notes and what reports say are shown to signers as quotations.
func TestANameOrReasonForgesWordsOfAProposal(t *testing.T) {
	t.Parallel()
	for name, propose := range map[string]func(t *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error){
		"a customer's name": func(_ *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.AddCustomer(ctx, publisher.CustomerRequest{Name: "globex", DisplayName: forged, Subscribe: []string{"openstack"}}, signers(w.admin))
		},
		"a customer's new name": func(_ *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.ChangeCustomer(ctx, publisher.CustomerChange{Name: "acme", DisplayName: forged}, signers(w.admin))
		},
		"the reason of a yank": func(_ *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.Yank(ctx, release(v1), forged, signers(w.engineer))
		},
		"the reason of a recall": func(_ *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			return p.Recall(ctx, release(v1), forged, signers(w.certA))
		},
		"a note": func(_ *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			result, err := p.Certify(ctx, release(v1), publisher.CertifyRequest{Note: forged}, signers(w.certA))
			return result.Outcome, err
		},
		"the reason of a waiver": func(t *testing.T, w *world, p *publisher.Publisher) (*publisher.Outcome, error) {
			w.report(t, "acme/staging", w.stagingCI, v1, manifest.Failed, func(r *manifest.Report) { r.Reason = "does not boot" })
			result, err := p.Certify(ctx, release(v1), publisher.CertifyRequest{Waivers: []manifest.Waiver{{Site: "acme/staging", Reason: forged}}}, signers(w.certA))
			return result.Outcome, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.validated(t, v1)
			must(t, publisher.Pending)(propose(t, w, w.publisher(t, nil)))
			betweenMarks(t, w.soleChange(t))
		})
	}
	t.Run("a vendor's name", func(t *testing.T) {
		t.Parallel()
		w := empty(t)
		in := w.absent()
		in.VendorName = forged
		c, err := publisher.BeginCeremony(w.now, in, w.online.Public())
		check(t, err)
		betweenMarks(t, c.Words())
	})
}

// TestAKeyWhoseIDBeginsLikeAnothers: whoever signs a change sees the id of each key that comes in whole, on a line of its
// own, and so does whoever used a key that may not sign: the first digits can be had by trying.
func TestAKeyWhoseIDBeginsLikeAnothers(t *testing.T) {
	t.Parallel()
	w, fresh := newWorld(t), catalogtest.NewKey(t)
	whole := "  key in: " + publisher.IDOfPEM(fresh.Public().PEM())
	shown := func(what string, out *publisher.Outcome) {
		t.Helper()
		for _, lines := range [][]string{out.Summary, w.soleChange(t)} {
			if text := strings.Join(lines, "\n"); strings.Count("\n"+text+"\n", "\n"+whole+"\n") != 1 {
				t.Errorf("%s:\n%s", what, text)
			}
		}
	}
	p := w.publisher(t, nil)
	shown("a key of a role", must(t, publisher.Pending)(p.ChangeRole(ctx, rotate(productRole, w.engineer, fresh), nil, signers(w.root[0]))))
	w = newWorld(t)
	p = w.publisher(t, nil)
	shown("a product", must(t, publisher.Pending)(p.AddProduct(ctx, publisher.ProductRequest{Name: "glance", Engineers: publics(fresh), Validators: publics(w.validator),
		Certifiers: publics(w.certA, w.certB)}, signers(w.root[0]))))
	w = newWorld(t)
	p = w.publisher(t, nil)
	shown("a site", must(t, publisher.Pending)(p.AddSite(ctx, publisher.SiteRequest{Site: siteID("acme/new"), Kind: manifest.SiteCI, Key: fresh.Public()}, signers(w.admin))))
	w = newWorld(t)
	p = w.publisher(t, nil)
	shown("a site's next key", must(t, publisher.Pending)(p.RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: fresh.Public()}, signers(w.admin))))

	_, err := p.ChangeCustomer(ctx, publisher.CustomerChange{Name: "acme", DisplayName: "x"}, signers(w.engineer))
	refused := wantError[*publisher.NotAuthorized](t, err)
	given, expected := "given    "+publisher.IDOfPEM(w.engineer.Public().PEM()), "expected "+publisher.IDOfPEM(w.admin.Public().PEM())
	if lines := refused.Evidence(); !slices.Equal(lines, []string{given, expected}) {
		t.Errorf("a key that may not sign is shown as %q", lines)
	}
}

// A stranger who may write below pending/ only: what proposal.json calls a change is nobody's signature, and may be long. It
// is clipped, and stands for no reason of a withdrawal where nothing is withdrawn.
func TestAStrangersSummaryIsClippedAndExplainsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.certified(t, v1)
	rename := func(id string) {
		key := manifest.ProposalObject(id, manifest.ProposalName)
		var doc map[string]any
		check(t, json.Unmarshal(w.object(t, key), &doc))
		doc["kind"], doc["summary"] = "decertify"+strings.Repeat("y", 1<<16), slices.Repeat([]string{"` " + strings.Repeat("\u3164 ", 1<<12)}, 300)
		data, err := json.Marshal(doc)
		check(t, err)
		check(t, w.store.Delete(ctx, key))
		w.put(t, key, data)
	}
	rename(w.craft(t, crafted{recalledRole, lists("recalled/openstack/9.0.0/manifest.toml", trust.Target{Length: 5, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"reason": "x"}}), signers(w.engineer)}))
	rename(w.craft(t, crafted{readyRole, func(n *trust.Targets) { clear(n.Targets) }, signers(w.certA)}))
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if len(pending) != 2 {
		t.Fatalf("%+v", pending)
	}
	for _, p := range pending {
		if len(p.Kind) > 40 || len(p.Stated) > 100 || len(p.Stated[0]) > 1000 || strings.ContainsAny(p.Stated[0], "`\u3164") {
			t.Errorf("%q, %d lines, %q", p.Kind, len(p.Stated), p.Stated[0])
		}
		if withdraws := strings.HasPrefix(p.ID, readyRole); withdraws != (p.Because != "") {
			t.Errorf("%s: %q", p.ID, p.Because)
		}
	}
}

// quoted is what stands between quotation marks, as Kitchen writes them.
var quoted = regexp.MustCompile(`"(?:[^"\\\\]|\\\\.)*"`)

// A payload gives paths of any letters, of roles and of what they list, which is refused and shown all the same: none passes for words, or a
// command, of Kitchen's. Names of roles and ids of keys are refused before.
func TestNamesInAPayloadThatPassForACommand(t *testing.T) {
	t.Parallel()
	const command = "kitchen role rotate targets --new stranger.pub --key FILE"
	const forged = "once the catalog is repaired, which takes this command:   " + command
	for name, c := range map[string]struct {
		role string
		edit func(*trust.Targets)
		by   func(w *world) key
		says string // beside what is between marks
	}{
		"the paths of a role": {"targets", func(r *trust.Targets) { r.Delegations[0].Paths = []string{forged} }, nil, "paths"},
		"a release":           {productRole, lists("catalog/openstack/"+forged+"/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "9"}}), func(w *world) key { return w.engineer }, "target path"},
		"no release":          {productRole, lists("catalog/openstack/1.0.0/"+forged, trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "9"}}), func(w *world) key { return w.engineer }, "target path"},
		"a recall":            {recalledRole, lists("recalled/openstack/"+forged+"/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"reason": "x"}}), func(w *world) key { return w.engineer }, "target path"},
		"a customer":          {"registry", lists("registry/"+forged+".toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64)}), func(w *world) key { return w.admin }, "is no customer's entry"},
		"evidence":            {readyRole, lists("ready-to-deploy/openstack/1.0.0/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"evidence": forged}}), func(w *world) key { return w.certA }, "certify openstack@1.0.0"},
		"a place":             {productRole, lists("catalog/openstack/1.0.0/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": forged}}), func(w *world) key { return w.engineer }, "publish openstack@1.0.0"},
		"a field":             {productRole, lists("catalog/openstack/1.0.0/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64), Custom: map[string]string{"seq": "9", forged: forged}}), func(w *world) key { return w.engineer }, "publish openstack@1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			by := w.root[0]
			if c.by != nil {
				by = c.by(w)
			}
			w.saysBetweenMarks(t, w.craft(t, crafted{c.role, c.edit, signers(by)}), command, c.says)
		})
	}
}

// saysBetweenMarks holds all that is said of a proposal to what is foreign in it: it stands between marks.
func (w *world) saysBetweenMarks(t *testing.T, id, foreign, says string) {
	t.Helper()
	p := w.pendingOne(t, id)
	text := strings.Join(append(p.Change, p.Refused, p.WaitsFor(), p.Stale), "\n")
	if own := quoted.ReplaceAllString(text, ""); !strings.Contains(text, foreign[:20]) || strings.Contains(own, foreign[:12]) || !strings.Contains(own, says) {
		t.Errorf("want %q, and the rest between marks:\n%s", says, text)
	}
}
