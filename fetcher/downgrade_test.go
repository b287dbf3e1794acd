package fetcher

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// asksAboutDowngrade tells whether an error is the answer no for that reason alone.
func asksAboutDowngrade(err error) bool {
	var no *NotReady
	return errors.As(err, &no) && len(no.Verdict.Unmet) == 1 && no.Verdict.Unmet[0].Requirement == reqOrder
}

// A bug fix of an old series is published after the newer series, and an update leads from it to a release that was
// published before it.
func TestADowngradeIsDeployedOnlyWhenSaidToBeMeant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	ready(w, r3, catalogtest.Content{From: []string{">=1.0.0 <1.2"}})
	ready(w, r2, catalogtest.Content{From: []string{"1.0.0"}})
	f := at(t, w, "acme/prod", deployed)
	for _, r := range []string{r1, r2} {
		w.Now = w.Now.Add(time.Hour)
		if _, err := f.deploy(t, r, DeployOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	goal := release(t, r3)
	if _, err := f.deploy(t, r3, DeployOptions{}); !asksAboutDowngrade(err) {
		t.Fatalf("along its upgrade path: %v", err)
	}
	verdict, err := f.Ready(context.Background(), f.view(t), release(t, r3), ReadyOptions{From: "1.1.0"})
	if err != nil || verdict.Ready || verdict.Unmet[0].Requirement != reqOrder {
		t.Errorf("ready --from: %+v, %v", verdict, err)
	}
	verdict, err = f.Ready(context.Background(), f.view(t), release(t, r3), ReadyOptions{From: "1.1.0", AllowDowngrade: true})
	if err != nil || !verdict.Ready {
		t.Errorf("ready --from --allow-downgrade: %+v, %v", verdict, err)
	}
	if result := f.run(t, RunOptions{Only: &goal}); len(result.Runs) > 0 || !result.Waits(goal) || !strings.Contains(result.Waiting[0].Reason, "--allow-downgrade") {
		t.Errorf("run of it: %+v", result)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
	if e, err := f.deploy(t, r3, DeployOptions{AllowDowngrade: true}); err != nil || e.Verdict != manifest.Passed {
		t.Fatalf("allowed: %+v, %v", e, err)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0")
}

func TestFreshIsNoWayAroundTheQuestionOfADowngrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	f.run(t, RunOptions{})
	if _, err := f.deploy(t, r1, DeployOptions{Fresh: true}); !asksAboutDowngrade(err) {
		t.Fatalf("fresh: %v", err)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
	w.Now = w.Now.Add(time.Hour)
	if e, err := f.deploy(t, r1, DeployOptions{Fresh: true, AllowDowngrade: true}); err != nil || e.Verdict != manifest.Passed {
		t.Errorf("allowed: %+v, %v", e, err)
	}
}

// The host moved on since: what is offered leads on, or takes note of what a person did.
func TestWhatWasReplacedIsNotOfferedAsASecondAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	f.run(t, RunOptions{})
	_, err := f.deploy(t, r1, DeployOptions{})
	attempted, ok := errors.AsType[*Attempted](err)
	if !ok || !strings.Contains(err.Error(), "1.1.0 replaced it since") {
		t.Fatalf("got %v", err)
	}
	if hint := attempted.Hint(); strings.Contains(hint, "--again") || !strings.Contains(hint, "kitchen paths openstack --from 1.1.0") {
		t.Errorf("hint %q", hint)
	}
}

func TestANoOfTheUpgradePathLeadsToCommandsThatShowIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	_, err := f.deploy(t, r2, DeployOptions{})
	if no, ok := errors.AsType[*NotReady](err); !ok || !strings.Contains(no.Hint(), "an initial release comes first") {
		t.Errorf("nothing is deployed: %v", err)
	}
	f.run(t, RunOptions{})
	_, err = f.deploy(t, r3, DeployOptions{})
	if no, ok := errors.AsType[*NotReady](err); !ok || !strings.Contains(no.Hint(), "kitchen ready "+r3+" --from 1.0.0") || !strings.Contains(no.Hint(), "kitchen paths openstack --from 1.0.0") {
		t.Errorf("another version is deployed: %v", err)
	}
}

func TestWhatTheCustomerDoesNotFollowIsNeitherDeployedNorRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddProduct("ceph")
	ready(w, "ceph@1.0.0", catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed)
	if _, err := f.deploy(t, "ceph@1.0.0", DeployOptions{}); !isA[*NotReady](err) {
		t.Errorf("deploy: %v", err)
	}
	if _, err := f.Deployed(context.Background(), f.view(t), release(t, "ceph@1.0.0"), manifest.Passed, ""); !isA[*NotVisible](err) {
		t.Errorf("deployed: %v", err)
	}
	f.assertRan(t)
	if sent := reports(t, w); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
}
