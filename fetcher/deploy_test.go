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
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

func (f *follower) deploy(t *testing.T, r string, o DeployOptions) (*RunEntry, error) {
	t.Helper()
	return f.Deploy(context.Background(), f.view(t), release(t, r), o)
}

func (f *follower) deployed(t *testing.T, r, result string) *RunEntry {
	t.Helper()
	entry, err := f.Deployed(context.Background(), f.view(t), release(t, r), result, "by hand")
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestDeployByHandOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	first, err := f.deploy(t, r1, DeployOptions{})
	if err != nil || first.Verdict != manifest.Passed || first.Earlier {
		t.Fatalf("got %+v, %v", first, err)
	}
	w.Now = w.Now.Add(time.Hour)
	again, err := f.deploy(t, r1, DeployOptions{})
	if err != nil || !again.Earlier || again.Verdict != manifest.Passed || !again.Finished.Equal(first.Finished) {
		t.Errorf("again: %+v, %v", again, err)
	}
	f.assertRan(t, "1.0.0<")
	onlyReport(t, w, "acme/prod", r1)
	var no *NotReady
	if _, err := f.deploy(t, r3, DeployOptions{}); !errors.As(err, &no) || !strings.Contains(err.Error(), "1.0.0 is deployed here") {
		t.Errorf("against its path: %v", err)
	}
	if e, err := f.deploy(t, r2, DeployOptions{}); err != nil || e.From != "1.0.0" {
		t.Errorf("update: %+v, %v", e, err)
	}
	w.Now = w.Now.Add(time.Hour)
	if e, err := f.deploy(t, r2, DeployOptions{Again: true}); err != nil || e.From != "1.0.0" || e.Sequence != 2 {
		t.Errorf("the update again, onto what it was applied to: %+v, %v", e, err)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0", "1.1.0<1.0.0")
}

func TestDeployOfWhatMayNotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Publish(r1, catalogtest.Content{})
	w.Validate(r1)
	ready(w, r2, catalogtest.Content{From: []string{"1.0.0"}})
	f := at(t, w, "acme/prod", deployed)
	for _, r := range []string{r1, r2, "openstack@9.9.9"} {
		if _, err := f.deploy(t, r, DeployOptions{Fresh: true, Again: true}); !isA[*NotReady](err) {
			t.Errorf("%s: %v", r, err)
		}
	}
	ci := at(t, w, "acme/staging", deployed)
	var kind *WrongKind
	if _, err := ci.deploy(t, r1, DeployOptions{}); !errors.As(err, &kind) || kind.Want != manifest.SiteProduction {
		t.Errorf("at a CI site: %v", err)
	}
	if _, err := ci.Deployed(context.Background(), ci.view(t), release(t, r1), manifest.Passed, ""); !isA[*WrongKind](err) {
		t.Errorf("recorded at a CI site: %v", err)
	}
	f.Site.Hooks = nil
	if _, err := f.deploy(t, r1, DeployOptions{}); !isA[*MissingHook](err) {
		t.Errorf("without a hook: %v", err)
	}
	if len(f.ran(t))+len(ci.ran(t))+len(reports(t, w)) > 0 {
		t.Error("something was done")
	}
}

// crashInHook gives the host as it comes up after the machine died while the hook of r1 ran.
func crashInHook(t *testing.T, w *catalogtest.World) *follower {
	t.Helper()
	f, crashed := at(t, w, "acme/prod", deployed+"; echo up"), ""
	f.faulty(t, storagetest.ErrCrashed, "create") // nothing of what followed reached anybody
	f.Stderr = writerFunc(func(p []byte) (int, error) {
		if crashed == "" {
			crashed = image(t, f.State)
		}
		return len(p), nil
	})
	f.Run(context.Background(), f.view(t), RunOptions{})
	f.assertRan(t, "1.0.0<")
	if crashed == "" || len(reports(t, w)) > 0 {
		t.Fatal("the crash did not happen in the hook")
	}
	next := f.rebooted(crashed)
	next.hooks(deployed)
	w.Now = w.Now.Add(time.Hour)
	return next
}

func TestACrashInTheDeployHookNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := crashInHook(t, w)
	for range 2 {
		result := f.run(t, RunOptions{})
		reasons, person := waits(result)
		if len(result.Runs) > 0 || !slices.Equal(person, []string{r1}) || !result.Negative() {
			t.Fatalf("got %+v", result)
		}
		for _, want := range []string{"how it ended is not known", "kitchen deployed " + r1 + " --result PASSED", "kitchen deploy " + r1 + " --again"} {
			if !strings.Contains(reasons[r1], want) {
				t.Errorf("%q lacks %q", reasons[r1], want)
			}
		}
	}
	for _, c := range []struct {
		r string
		o DeployOptions
	}{{r1, DeployOptions{}}, {r2, DeployOptions{}}, {r2, DeployOptions{Again: true}}} {
		var unknown *Undetermined
		if _, err := f.deploy(t, c.r, c.o); !errors.As(err, &unknown) || !unknown.Interrupted || unknown.Release.String() != r1 {
			t.Errorf("deploy %s %+v: %v", c.r, c.o, err)
		}
	}
	f.assertRan(t, "1.0.0<")
}

func TestAfterACrashAPersonSettlesIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		tell func(t *testing.T, f *follower)
		ran  []string // after two more runs
	}{
		{"deployed PASSED", func(t *testing.T, f *follower) {
			if e := f.deployed(t, r1, manifest.Passed); e.Sequence != 1 || !e.Started.Before(e.Finished) {
				t.Errorf("entry %+v", e)
			}
		}, []string{"1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0"}},
		{"deployed FAILED", func(t *testing.T, f *follower) { f.deployed(t, r1, manifest.Failed) }, []string{"1.0.0<"}},
		{"deploy --again", func(t *testing.T, f *follower) {
			if _, err := f.deploy(t, r1, DeployOptions{Again: true}); err != nil {
				t.Error(err)
			}
		}, []string{"1.0.0<", "1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0"}},
		{"deploy --fresh", func(t *testing.T, f *follower) {
			if _, err := f.deploy(t, r1, DeployOptions{Fresh: true}); err != nil {
				t.Error(err)
			}
		}, []string{"1.0.0<", "1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			threeReleases(w)
			f := crashInHook(t, w)
			c.tell(t, f)
			f.run(t, RunOptions{})
			f.run(t, RunOptions{})
			f.assertRan(t, c.ran...)
			onlyReport(t, w, "acme/prod", r1)
		})
	}
}

// TestACrashAfterTheHookIsSettledFromTheSpool: the result is on disk, the record still says "started".
func TestACrashAfterTheHookIsSettledFromTheSpool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.faulty(t, storagetest.ErrCrashed, "create")
	f.Run(context.Background(), f.view(t), RunOptions{})
	f.assertRan(t, "1.0.0<")
	path := f.siteDir(f.Site.ID).deployPath("openstack")
	rec, err := f.siteDir(f.Site.ID).deploy("openstack")
	if err != nil || rec.Current != "1.0.0" {
		t.Fatalf("record %+v, %v", rec, err)
	}
	rec.Current, rec.Attempts["1.0.0"].Verdict, rec.Attempts["1.0.0"].Finished = "", "", time.Time{}
	if err := writeRecord(path, rec); err != nil {
		t.Fatal(err)
	}
	f.Store = w.Store
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
	onlyReport(t, w, "acme/prod", r1)
}

func TestDeployedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	w.Publish("openstack@1.3.0", catalogtest.Content{From: []string{"1.2.0"}}) // nobody validated it; it was deployed all the same
	f := at(t, w, "acme/prod", deployed)
	f.Site.Hooks = nil // to record needs no hook
	if _, err := f.Deployed(context.Background(), f.view(t), release(t, r2), "DONE", ""); err == nil || !strings.Contains(err.Error(), "DONE") {
		t.Errorf("result DONE: %v", err)
	}
	if _, err := f.Deployed(context.Background(), f.view(t), release(t, "openstack@9.9.9"), manifest.Passed, ""); err == nil {
		t.Error("a release that nobody published was recorded")
	}
	f.deployed(t, r2, manifest.Passed)
	w.Now = w.Now.Add(time.Hour)
	if e := f.deployed(t, "openstack@1.3.0", manifest.Failed); e.From != "1.1.0" || e.Reason != "by hand" {
		t.Errorf("entry %+v", e)
	}
	w.Now = w.Now.Add(time.Hour)
	f.deployed(t, r2, manifest.Warned)
	if all := verified(t, w, "acme/prod", r2); len(all) != 2 || all[1].Type != manifest.ReportDeployment || all[1].Verdict() != manifest.Warned || all[1].From != "" {
		t.Errorf("reports %+v", all)
	}
	f.hooks(deployed)
	f.run(t, RunOptions{})
	f.assertRan(t, "1.2.0<1.1.0")
}

func TestAHostThatLostItsStateAsksItsOwnReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	w.Now = w.Now.Add(time.Hour)
	f.run(t, RunOptions{})
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
	said := &notes{}
	anew := f.rebooted(t.TempDir())
	anew.Progress = said
	if e, err := anew.deploy(t, r2, DeployOptions{}); err != nil || !e.Earlier || e.From != "1.0.0" {
		t.Errorf("deploy: %+v, %v", e, err)
	}
	if !slices.ContainsFunc(said.lines, func(s string) bool { return strings.Contains(s, "asking the reports of acme/prod") }) {
		t.Errorf("said %q", said.lines)
	}
	w.Now = w.Now.Add(time.Hour)
	f.rebooted(t.TempDir()).run(t, RunOptions{})
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0", "1.2.0<1.1.0")
	for range 2 {
		if result := f.rebooted(t.TempDir()).run(t, RunOptions{}); len(result.Runs) > 0 || result.Negative() {
			t.Errorf("got %+v", result)
		}
	}
}

func TestALostFailureStillNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed+"; exit 1")
	f.run(t, RunOptions{})
	if _, person := waits(f.rebooted(t.TempDir()).run(t, RunOptions{})); !slices.Equal(person, []string{r1}) {
		t.Errorf("waits for a person: %v", person)
	}
	f.assertRan(t, "1.0.0<")
}

// TestALostStateThatCannotBeRecalledRefuses: what is deployed is not known, and nobody guesses.
func TestALostStateThatCannotBeRecalledRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		list   error
		damage func(t *testing.T, w *catalogtest.World, keys []string)
		says   string
	}{
		{name: "store cannot list", list: storage.ErrUnsupported, says: "cannot be listed"},
		{name: "forbidden", list: storage.ErrForbidden, says: "cannot be listed"},
		{name: "unverifiable report", says: "not verifiable", damage: func(t *testing.T, w *catalogtest.World, keys []string) {
			overwrite(t, w.Store, keys[0], []byte("{}"))
		}},
		{name: "gap", says: "is missing", damage: func(t *testing.T, w *catalogtest.World, keys []string) {
			if err := os.Remove(object(t, w.Store, keys[0])); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			threeReleases(w)
			f := at(t, w, "acme/prod", deployed)
			f.deployed(t, r1, manifest.Failed)
			w.Now = w.Now.Add(time.Hour)
			f.deployed(t, r1, manifest.Passed)
			if c.damage != nil {
				c.damage(t, w, reports(t, w))
			}
			anew := f.rebooted(t.TempDir())
			v := anew.view(t)
			if c.list != nil {
				v = anew.through(t, anew.faulty(t, c.list, "list"))
			}
			result, err := anew.Run(context.Background(), v, RunOptions{})
			if err != nil {
				t.Fatal(err)
			}
			reasons, person := waits(result)
			if len(result.Runs) > 0 || !slices.Equal(person, []string{r3}) {
				t.Fatalf("got %+v", result)
			}
			for _, want := range []string{c.says, "kitchen deployed P@V --result PASSED", "kitchen deploy " + r3 + " --fresh"} {
				if !strings.Contains(reasons[r3], want) {
					t.Errorf("%q lacks %q", reasons[r3], want)
				}
			}
			var unknown *Undetermined
			if _, err := anew.Deploy(context.Background(), v, release(t, r1), DeployOptions{Again: true}); !errors.As(err, &unknown) || unknown.Interrupted {
				t.Errorf("deploy: %v", err)
			}
			anew.assertRan(t)
			w.Now = w.Now.Add(time.Hour)
			if _, err := anew.Deployed(context.Background(), v, release(t, r1), manifest.Passed, "I looked"); err != nil {
				t.Fatal(err)
			}
			if _, err := anew.Run(context.Background(), v, RunOptions{}); err != nil {
				t.Fatal(err)
			}
			anew.assertRan(t, "1.1.0<1.0.0")
		})
	}
}

func TestFreshTellsThatNothingIsDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	v := f.through(t, f.faulty(t, storage.ErrForbidden, "list"))
	if _, err := f.Deploy(context.Background(), v, release(t, r1), DeployOptions{}); !isA[*Undetermined](err) {
		t.Errorf("without --fresh: %v", err)
	}
	if _, err := f.Deploy(context.Background(), v, release(t, r2), DeployOptions{Fresh: true}); !isA[*NotReady](err) {
		t.Errorf("an update onto nothing: %v", err)
	}
	if _, err := f.Deploy(context.Background(), v, release(t, r1), DeployOptions{}); !isA[*Undetermined](err) {
		t.Errorf("a --fresh that deployed nothing was remembered: %v", err)
	}
	if e, err := f.Deploy(context.Background(), v, release(t, r1), DeployOptions{Fresh: true}); err != nil || e.From != "" {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := f.Run(context.Background(), v, RunOptions{}); err != nil {
		t.Fatal(err)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0")
}

func TestFreshIsForAHostThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	f.run(t, RunOptions{})
	w.Now = w.Now.Add(time.Hour)
	f.run(t, RunOptions{})
	w.Now = w.Now.Add(time.Hour)
	if e, err := f.deploy(t, r1, DeployOptions{Fresh: true, AllowDowngrade: true}); err != nil || e.From != "" || e.Sequence != 2 || e.Earlier {
		t.Errorf("got %+v, %v", e, err)
	}
	f.assertRan(t, "1.0.0<", "1.1.0<1.0.0", "1.0.0<")
}

// TestALostRecordWhoseReportWaitsRefuses: the store does not know yet what this host did.
func TestALostRecordWhoseReportWaitsRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", deployed)
	f.faulty(t, storagetest.ErrInjected, "create")
	f.Run(context.Background(), f.view(t), RunOptions{})
	if err := os.Remove(f.siteDir(f.Site.ID).deployPath("openstack")); err != nil {
		t.Fatal(err)
	}
	result, err := f.Run(context.Background(), f.view(t), RunOptions{})
	if !isA[*Unsent](err) {
		t.Errorf("got %v", err)
	}
	if _, person := waits(result); !slices.Equal(person, []string{r1}) {
		t.Errorf("got %+v", result)
	}
	f.assertRan(t, "1.0.0<")
	f.Store = w.Store
	if result := f.run(t, RunOptions{}); len(result.Runs)+len(result.Waiting) > 0 {
		t.Errorf("got %+v", result)
	}
	f.assertRan(t, "1.0.0<")
}
