package fetcher

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// deployed is a hook that leaves what it was applied to.
const deployed = `echo "$KITCHEN_VERSION<$KITCHEN_FROM" >>ran`

// threeReleases are an initial one and two updates, all ready: 1.1.0 from 1.0.0, 1.2.0 from a range that holds 1.1.0.
func threeReleases(w *catalogtest.World) {
	ready(w, r1, catalogtest.Content{})
	ready(w, r2, catalogtest.Content{From: []string{"1.0.0"}})
	ready(w, r3, catalogtest.Content{From: []string{">=1.1.0 <1.2"}})
}

// waits gives the reasons of a run by release, and those that wait for a person.
func waits(result *RunResult) (reasons map[string]string, person []string) {
	reasons = map[string]string{}
	for _, w := range result.Waiting {
		reasons[w.Release.String()] = w.Reason
		if w.NeedsPerson {
			person = append(person, w.Release.String())
		}
	}
	return reasons, person
}

func TestAutoDeploysTheNewestThatItsPathAllowsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	// Nothing is deployed: only the initial release can be, although newer ones are ready.
	result := f.run(t, RunOptions{})
	if got := verdicts(result.Runs); !slices.Equal(got, []string{r1 + " PASSED"}) || result.Kind != manifest.SiteProduction {
		t.Fatalf("got %+v", result)
	}
	if reasons, person := waits(result); !strings.Contains(reasons[r3], "nothing is deployed here") || len(person) > 0 || result.Negative() {
		t.Errorf("waits %v, for a person %v", reasons, person)
	}
	f.run(t, RunOptions{}) // 1.2.0 does not accept 1.0.0, 1.1.0 does
	f.run(t, RunOptions{}) // now 1.2.0
	for range 4 {
		if result := f.run(t, RunOptions{}); len(result.Runs) > 0 || result.Negative() {
			t.Errorf("a later run: %+v", result)
		}
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0")
	for r, from := range map[string]string{r1: "", r2: "1.0.0", r3: "1.1.0"} {
		report := onlyReport(t, w, "acme/prod", r)
		if report.Type != manifest.ReportDeployment || report.From != from || report.Verdict() != manifest.Passed || report.Log == nil {
			t.Errorf("report on %s: %+v", r, report.Report)
		}
	}
}

func TestAutoSkipsToTheNewestOfTwoUpdates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	for _, r := range []string{r2, r3} {
		ready(w, r, catalogtest.Content{From: []string{">=1.0.0 <2"}})
	}
	f.run(t, RunOptions{})
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<", "1.2.0<1.0.0") // 1.1.0 is older than what is deployed
}

func TestWhatIsNotReadyWaitsWithItsReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Publish(r1, catalogtest.Content{})
	w.Validate(r1)
	f := at(t, w, "acme/prod", deployed)
	f.Gate.Deny = []string{r1}
	result := f.run(t, RunOptions{})
	reasons, person := waits(result)
	if !strings.Contains(reasons[r1], "ready-to-deploy: ") || !strings.Contains(reasons[r1], "denied") || len(person) > 0 || result.Negative() {
		t.Errorf("waits %v, for a person %v", reasons, person)
	}
	f.Gate.Deny = nil
	w.Certify(r1)
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<")
}

func TestAnOlderReadyReleaseIsDeployedWhileTheNewestWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	w.Publish(r2, catalogtest.Content{})
	w.Validate(r2)
	f := at(t, w, "acme/prod", deployed)
	result := f.run(t, RunOptions{})
	if reasons, _ := waits(result); len(result.Runs) != 1 || reasons[r2] == "" {
		t.Errorf("got %+v", result)
	}
	f.assertRan(t, "1.0.0<")
	w.Certify(r2)
	result = f.run(t, RunOptions{})
	if reasons, _ := waits(result); len(result.Runs) != 0 || !strings.Contains(reasons[r2], "initial deployment, and 1.0.0 is deployed here") {
		t.Errorf("an initial release over another: %+v", result)
	}
	f.assertRan(t, "1.0.0<")
}

func TestRecalledAfterItWasDeployedIsNotDeployedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddSite("acme/prod-2", manifest.SiteProduction)
	ready(w, r1, catalogtest.Content{})
	first, second := at(t, w, "acme/prod", deployed), at(t, w, "acme/prod-2", deployed)
	first.run(t, RunOptions{})
	w.Recall(r1, "loses data")
	if result := second.run(t, RunOptions{}); len(result.Runs)+len(result.Waiting) > 0 {
		t.Errorf("got %+v", result)
	}
	var hidden *NotReady
	if _, err := second.Deploy(context.Background(), second.view(t), release(t, r1), DeployOptions{Fresh: true, Again: true}); !errors.As(err, &hidden) || !strings.Contains(err.Error(), "loses data") {
		t.Errorf("by hand: %v", err)
	}
	second.assertRan(t)
	ready(w, r2, catalogtest.Content{From: []string{"1.0.0"}})
	first.run(t, RunOptions{}) // the way out of a recalled release is an update
	first.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
}

func TestAHookThatFailsIsNotRepeatedAndBlocksLaterOnes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, hook, verdict string }{
		{"failed", "exit 1", manifest.Failed}, {"not run", "exit 77", manifest.NotRun}, {"killed", "kill -KILL $$", manifest.Errored},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/prod", deployed+"; "+c.hook)
			if result := f.run(t, RunOptions{}); !slices.Equal(verdicts(result.Runs), []string{r1 + " " + c.verdict}) || !result.Negative() {
				t.Fatalf("got %+v", result)
			}
			ready(w, "openstack@1.0.1", catalogtest.Content{}) // another initial one
			f.hooks(deployed)
			for range 2 {
				result := f.run(t, RunOptions{})
				reasons, person := waits(result)
				if len(result.Runs) > 0 || !slices.Equal(person, []string{r1}) || !result.Negative() {
					t.Fatalf("got %+v", result)
				}
				for _, want := range []string{c.verdict, "kitchen deploy " + r1 + " --again", "kitchen deployed " + r1 + " --result PASSED"} {
					if !strings.Contains(reasons[r1], want) {
						t.Errorf("%q lacks %q", reasons[r1], want)
					}
				}
			}
			f.assertRan(t, "1.0.0<")
			var attempted *Attempted
			if _, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{}); !errors.As(err, &attempted) || attempted.Verdict != c.verdict {
				t.Errorf("deploy without --again: %v", err)
			}
			w.Now = w.Now.Add(time.Hour)
			if e, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{Again: true}); err != nil || e.Verdict != manifest.Passed || e.Sequence != 2 {
				t.Errorf("deploy --again: %+v, %v", e, err)
			}
			f.assertRan(t, "1.0.0<", "1.0.0<")
			if n := len(verified(t, w, "acme/prod", r1)); n != 2 {
				t.Errorf("%d reports", n)
			}
			if _, person := waits(f.run(t, RunOptions{})); len(person) > 0 {
				t.Errorf("still waits for a person: %v", person)
			}
		})
	}
}

func TestACancelledDeploymentNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f := at(t, w, "acme/prod", deployed+"; echo up; sleep 300")
	f.Stderr = writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	result, err := f.Run(ctx, f.view(t), RunOptions{})
	if !errors.Is(err, context.Canceled) || len(result.Runs) != 1 || result.Runs[0].Verdict != manifest.Errored || result.Runs[0].Unsent == "" {
		t.Fatalf("got %+v, %v", result, err)
	}
	f.Stderr = nil
	f.hooks(deployed)
	later := f.run(t, RunOptions{})
	reasons, person := waits(later)
	if len(later.Runs) > 0 || !slices.Equal(person, []string{r1}) || !strings.Contains(reasons[r1], "kitchen deployed "+r1+" --result") {
		t.Errorf("got %+v", later)
	}
	f.assertRan(t, "1.0.0<")
	if report := onlyReport(t, w, "acme/prod", r1); report.Verdict() != manifest.Errored || report.Reason != "interrupted" {
		t.Errorf("report %+v", report.Report)
	}
}

func TestAFetchThatFailsIsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := ready(w, r1, catalogtest.Content{})
	key := manifest.BlobObject(m.Marmite.Stored.SHA256)
	blob := w.Object(key)
	if err := os.Remove(object(t, w.Store, key)); err != nil {
		t.Fatal(err)
	}
	f := at(t, w, "acme/prod", deployed)
	if result, err := f.Run(context.Background(), f.view(t), RunOptions{}); err == nil || len(result.Runs) > 0 {
		t.Errorf("got %+v, %v", result, err)
	}
	f.assertRan(t)
	w.Put(key, blob)
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<")
}

func TestAHookThatCannotStartIsAnAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed)
	f.Site.Hooks[HookDeploy] = []string{"./no-interpreter"}
	f.noInterpreter(t)
	if result := f.run(t, RunOptions{}); len(result.Runs) != 1 || result.Runs[0].Verdict != manifest.Errored {
		t.Fatalf("got %+v", result)
	}
	if _, person := waits(f.run(t, RunOptions{})); !slices.Equal(person, []string{r1}) {
		t.Errorf("waits for a person: %v", person)
	}
}

func TestRunWithoutAutoDeploysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	w.Publish(r2, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed)
	f.Site.Auto, f.Site.Hooks = false, nil // no hook is asked for either
	result := f.run(t, RunOptions{})
	if reasons, person := waits(result); len(result.Runs) > 0 || len(reasons) != 1 || !strings.Contains(reasons[r1], "kitchen deploy "+r1) || len(person) > 0 {
		t.Errorf("got %+v", result)
	}
	f.hooks(deployed)
	if _, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{}); err != nil {
		t.Fatal(err)
	}
	if result := f.run(t, RunOptions{}); len(result.Waiting) > 0 {
		t.Errorf("after it was deployed: %+v", result.Waiting)
	}
}

func TestProductionRunOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	only := release(t, r2)
	result := f.run(t, RunOptions{Only: &only})
	if reasons, _ := waits(result); len(result.Runs) > 0 || len(reasons) != 1 || reasons[r2] == "" {
		t.Errorf("got %+v", result)
	}
	for _, auto := range []bool{true, false} {
		f.Site.Auto = auto
		for _, r := range []string{"openstack@9.9.9", "nothing@1.0.0"} {
			hidden := release(t, r)
			if result, err := f.Run(context.Background(), f.view(t), RunOptions{Only: &hidden}); !isA[*NotVisible](err) {
				t.Errorf("only %s, auto %v: %+v, %v", r, auto, result, err)
			}
		}
	}
	f.Site.Auto = true
	only = release(t, r1)
	f.run(t, RunOptions{Only: &only})
	f.assertRan(t, "1.0.0<")
}

func TestProductsAreDeployedApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddProduct("ceph")
	w.Registry["acme"].Subscribe = []string{"*"}
	w.Register()
	ready(w, "ceph@1.0.0", catalogtest.Content{})
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed+`; test $KITCHEN_PRODUCT != ceph`)
	result := f.run(t, RunOptions{})
	if got := verdicts(result.Runs); !slices.Equal(got, []string{"ceph@1.0.0 FAILED", r1 + " PASSED"}) {
		t.Errorf("got %v", got)
	}
}

func TestADamagedDeployRecordRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	if err := durable.WriteFile(f.siteDir(f.Site.ID).deployPath("openstack"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	reasons, person := waits(f.run(t, RunOptions{}))
	if !slices.Equal(person, []string{r3}) || !strings.Contains(reasons[r3], "damaged") || !strings.Contains(reasons[r3], "kitchen deployed P@V") {
		t.Errorf("waits %v, for a person %v", reasons, person)
	}
	v := f.view(t)
	if _, err := f.Deploy(context.Background(), v, release(t, r2), DeployOptions{}); !isA[*Undetermined](err) {
		t.Errorf("deploy: %v", err)
	}
	w.Now = w.Now.Add(time.Hour)
	if _, err := f.Deployed(context.Background(), v, release(t, r1), manifest.Passed, "looked at it"); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
}

// TestRecallOfReportsInAnyOrder: what is deployed is what was deployed last, however the store lists it.
func TestRecallOfReportsInAnyOrder(t *testing.T) {
	report := func(version string, minute, sequence int64, verdict string) *manifest.Report {
		return &manifest.Report{Release: manifest.Release{Product: "p", Version: version}, Type: manifest.ReportDeployment, Result: verdict,
			Sequence: sequence, Finished: catalogtest.Start.Add(time.Duration(minute) * time.Minute)}
	}
	story := []*manifest.Report{report("1", 1, 1, manifest.Passed), report("2", 2, 1, manifest.Failed), report("2", 3, 2, manifest.Passed),
		report("3", 4, 1, manifest.Failed), report("1", 5, 2, manifest.Passed), report("4", 6, 1, manifest.Failed)}
	for i := range story {
		rotated := slices.Concat(story[i:], story[:i])
		for range 2 {
			rec := newDeployRecord("p")
			for _, r := range rotated {
				rec.recall(r)
			}
			if rec.Current != "1" || rec.Last != "4" || rec.Attempts["2"].Verdict != manifest.Passed || rec.Attempts["3"].passed() {
				t.Errorf("from %d: current %s, last %s", i, rec.Current, rec.Last)
			}
			slices.Reverse(rotated)
		}
	}
}
