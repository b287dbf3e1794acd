package fetcher

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

const (
	readyRole    = "ready-to-deploy.openstack"
	acmeRole     = "ready-to-deploy.openstack.acme"
	recalledRole = "recalled.openstack"
)

// recall lists r1 in recalled.openstack under a number, "" for none.
func recall(w *catalogtest.World, since string) {
	custom := map[string]string{catalog.CustomReason: "CVE", catalog.CustomSince: since}
	if since == "" {
		delete(custom, catalog.CustomSince)
	}
	w.Promote(recalledRole, r1, custom)
}

// lift certifies r1 in a role, naming a recall, by signers who saw that version of the recalls.
func lift(w *catalogtest.World, role, recall, saw string) {
	w.Promote(role, r1, map[string]string{catalog.CustomLifts: recall, catalog.CustomRecalledVersion: saw})
}

func (f *follower) ready(t *testing.T) *Verdict {
	t.Helper()
	verdict, err := f.Ready(context.Background(), f.view(t), release(t, r1), ReadyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// TestWhichRecallACertificateLifts changes one thing each. recalled.openstack is version 1 before the recall.
func TestWhichRecallACertificateLifts(t *testing.T) {
	acme := Gate{Require: []string{"product", "validated", "ready-to-deploy.acme"}}
	both := Gate{Require: []string{"product", "ready-to-deploy", "ready-to-deploy.acme"}}
	forAcme := func(w *catalogtest.World) {
		w.Delegate(acmeRole, 1, catalogtest.NewKey(w.T))
		recall(w, "2")
		lift(w, acmeRole, "2", "2")
	}
	for _, c := range []struct {
		name  string
		gate  Gate
		do    func(w *catalogtest.World)
		ready bool
	}{
		{name: "this recall", ready: true, do: func(w *catalogtest.World) { recall(w, "2"); lift(w, readyRole, "2", "2") }},
		{name: "certificate-from-before-the-recall", do: func(w *catalogtest.World) { recall(w, "2") }},
		{name: "certificate-from-before-names-none", do: func(w *catalogtest.World) { recall(w, "2"); lift(w, readyRole, "", "2") }},
		{name: "recalled-again-after-the-lift", do: func(w *catalogtest.World) { recall(w, "2"); lift(w, readyRole, "2", "2"); recall(w, "3") }},
		{name: "lift-of-an-earlier-recall", do: func(w *catalogtest.World) { recall(w, "5"); lift(w, readyRole, "2", "5") }},
		{name: "lift-signed-before-the-recall-it-names", do: func(w *catalogtest.World) { lift(w, readyRole, "2", "1"); recall(w, "2") }},
		{name: "lift-spelt-otherwise", do: func(w *catalogtest.World) { recall(w, "2"); lift(w, readyRole, "02", "2") }},
		{name: "recall-without-a-number", do: func(w *catalogtest.World) { recall(w, ""); lift(w, readyRole, "0", "2") }},
		{name: "lift-without-threshold", do: func(w *catalogtest.World) {
			recall(w, "2")
			w.RoleKeys[readyRole] = w.RoleKeys[readyRole][:1]
			lift(w, readyRole, "2", "2")
		}},
		{name: "another-customers-lift", do: forAcme},
		{name: "the customer's own lift", gate: acme, ready: true, do: forAcme},
		{name: "everybody's-lift-where-the-customer-has-a-role", gate: acme, do: func(w *catalogtest.World) {
			w.Delegate(acmeRole, 1, catalogtest.NewKey(w.T))
			w.Promote(acmeRole, r1, map[string]string{catalog.CustomRecalledVersion: "1"})
			recall(w, "2")
			lift(w, readyRole, "2", "2")
		}},
		{name: "one-of-two-required-certificates-lifts", gate: both, do: forAcme},
		{name: "both required certificates lift", gate: both, ready: true, do: func(w *catalogtest.World) { forAcme(w); lift(w, readyRole, "2", "2") }},
		{name: "no-certificate-is-required", gate: Gate{Require: []string{"product"}}, do: func(w *catalogtest.World) { recall(w, "2"); lift(w, readyRole, "2", "2") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			c.do(w)
			f := at(t, w, "acme/prod", "")
			f.Gate = c.gate
			verdict := f.ready(t)
			named := strings.Contains(unmetWords(verdict.Unmet), reqRecall+": it is recalled: CVE (recalled.openstack); ")
			if verdict.Ready != c.ready || verdict.Ready == named || (verdict.Lifted != nil) != c.ready {
				t.Errorf("%+v", verdict)
			}
			_, err := f.Fetch(context.Background(), f.view(t), release(t, r1), filepath.Join(t.TempDir(), "got"))
			if (err == nil) != c.ready {
				t.Errorf("fetch: %v", err)
			}
		})
	}
}

// A host that saw the later recall is shown the earlier one, with the certificate that lifts it: by an engineer's
// key, or by a thief of the online key whose replacement made versions start anew.
func TestAnEarlierRecallInPlaceOfALaterOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	recall(w, "2")
	earlier := w.Roles[recalledRole].Version
	lift(w, readyRole, "2", "2")
	f := at(t, w, "acme/prod", "")
	if !f.ready(t).Ready {
		t.Fatal("the lift does not count")
	}
	recall(w, "3")
	if f.ready(t).Ready {
		t.Fatal("the later recall does not count")
	}
	w.RotateOnline()
	w.PutRole(recalledRole, earlier+9, w.Seal(func() *trust.Targets {
		old := w.Roles[recalledRole].Clone()
		path := manifest.TargetPath(manifest.StageRecalled, release(t, r1))
		target := old.Targets[path]
		target.Custom = map[string]string{catalog.CustomReason: "CVE", catalog.CustomSince: "2"}
		old.Targets[path], old.Version = target, earlier+9
		return old
	}(), w.RoleKeys[recalledRole]...))
	w.CommitOnline()
	if verdict := f.ready(t); verdict.Ready || !strings.Contains(unmetWords(verdict.Unmet), "recalled: CVE") {
		t.Errorf("%+v", verdict)
	}
	if !at(t, w, "acme/prod", "").ready(t).Ready {
		t.Error("a new host cannot know better: this test shows nothing")
	}
}

// While recalled.openstack has expired, or is withheld, a recall after the lifted one cannot be ruled out.
func TestALiftDoesNotCountWhileRecallsCannotBeReliedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "")
	recall(w, "2")
	w.Now = w.Now.Add(80 * catalogtest.Day)
	lift(w, readyRole, "2", "2")
	if !f.ready(t).Ready {
		t.Fatal("the lift does not count")
	}
	w.Now = w.Now.Add(20 * catalogtest.Day)
	w.Commit()
	if verdict := f.ready(t); verdict.Ready || !strings.Contains(unmetWords(verdict.Unmet), "recalled: CVE") {
		t.Errorf("%+v", verdict)
	}
	_, err := f.Fetch(context.Background(), f.view(t), release(t, r1), filepath.Join(t.TempDir(), "got"))
	if !errors.As(err, new(*NotVisible)) {
		t.Errorf("fetch: %v", err)
	}
}

// What earlier versions of this program remembered of a recall has no number.
func TestAMemoryWithoutRecallNumbersIsOfUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "")
	recall(w, "")
	if f.ready(t).Ready {
		t.Fatal("not recalled")
	}
	recall(w, "3")
	lift(w, readyRole, "3", "3")
	if verdict := f.ready(t); !verdict.Ready {
		t.Errorf("%+v", verdict)
	}
}

func TestADecertifiedReleaseSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "true")
	if result := f.run(t, RunOptions{}); len(result.Runs) != 1 {
		t.Fatalf("%+v", result)
	}
	w.Edit(readyRole, func(r *trust.Targets) { clear(r.Targets) })
	w.Commit()
	if verdict := f.ready(t); verdict.Ready || !strings.Contains(verdict.Unmet[0].Detail, "decertified") || !strings.Contains(verdict.Unmet[0].Detail, "kitchen certify "+r1) {
		t.Errorf("%+v", verdict)
	}
	result := f.run(t, RunOptions{})
	if len(result.Waiting) != 1 || result.Negative() || !strings.Contains(result.Waiting[0].Reason, "decertified since") {
		t.Errorf("%+v", result)
	}
}

// `deploy` of what is deployed already is no error, but for a recalled release: then yes would be the wrong word.
func TestDeployAgainOfARecalledReleaseSaysNo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "echo $KITCHEN_VERSION >> ran")
	for range 2 {
		if _, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	recall(w, "2")
	_, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{})
	var no *NotReady
	if !errors.As(err, &no) || !strings.Contains(err.Error(), "recalled: CVE") || len(f.line(t, "ran")) != 1 {
		t.Errorf("%v, ran %v", err, f.line(t, "ran"))
	}
}

// A release that a person deployed by hand is kept, too; and what is named by hand may be deployed where it is kept.
func TestAYankedReleaseIsKeptByWhoHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	w.AddSite("acme/prod-2", manifest.SiteProduction)
	byHand, fetched, fresh := at(t, w, "acme/prod-2", "true"), at(t, w, "acme/prod", "true"), at(t, w, "acme/prod", "true")
	if _, err := byHand.Deployed(context.Background(), byHand.view(t), release(t, r1), manifest.Passed, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := fetched.Fetch(context.Background(), fetched.view(t), release(t, r1), filepath.Join(t.TempDir(), "got")); err != nil {
		t.Fatal(err)
	}
	w.Yank(r1, "slow")
	if !byHand.ready(t).Ready {
		t.Error("not ready where it was deployed by hand")
	}
	if result := fetched.run(t, RunOptions{}); len(result.Runs) != 0 {
		t.Errorf("a run took up what is yanked: %+v", result)
	}
	only := release(t, r1)
	if _, err := fresh.Run(context.Background(), fresh.view(t), RunOptions{Only: &only}); !errors.As(err, new(*NotVisible)) {
		t.Errorf("named, and not kept: %v", err)
	}
	fetched.Site.Auto = false
	if result := fetched.run(t, RunOptions{Only: &only}); len(result.Waiting) != 1 {
		t.Errorf("a site without auto: %+v", result)
	}
}
