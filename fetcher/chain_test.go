package fetcher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

// assertWaits runs a site and expects that it waits with one reason, and starts nothing.
func (f *follower) assertWaits(t *testing.T, r string, words ...string) {
	t.Helper()
	result := f.run(t, RunOptions{})
	if len(result.Runs) > 0 || len(result.Waiting) != 1 || result.Waiting[0].Release.String() != r {
		t.Fatalf("got %+v", result)
	}
	for _, want := range words {
		if !strings.Contains(result.Waiting[0].Reason, want) {
			t.Errorf("%q lacks %q", result.Waiting[0].Reason, want)
		}
	}
}

func TestAChainWaitsForTheEarlierSiteThenRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	first, second := at(t, w, "acme/staging", say), at(t, w, "acme/staging-2", say)
	second.assertWaits(t, r1, "waits for acme/staging", "not reported yet")
	if result := second.run(t, RunOptions{}); result.Negative() {
		t.Error("to wait for another site is not a no")
	}
	if n := len(reports(t, w)); n > 0 {
		t.Errorf("to wait made %d reports", n)
	}
	first.run(t, RunOptions{})
	if result := second.run(t, RunOptions{}); len(result.Runs) != 1 || len(result.Waiting) != 0 {
		t.Errorf("got %+v", result)
	}
	second.assertRan(t, r1)
	onlyReport(t, w, "acme/staging-2", r1)
}

// TestAChainGoesOnWaiting has what is no PASSED of the earlier site on this very manifest.
func TestAChainGoesOnWaiting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		earlier func(w *catalogtest.World)
		words   []string
	}{
		{"failed", func(w *catalogtest.World) { w.Report("acme/staging", r1, manifest.Failed, nil) }, []string{"reported FAILED"}},
		{"warned", func(w *catalogtest.World) { w.Report("acme/staging", r1, manifest.Warned, nil) }, []string{"reported WARNED"}},
		{"not run", func(w *catalogtest.World) { w.Report("acme/staging", r1, manifest.NotRun, nil) }, []string{"reported NOT_RUN"}},
		{"error", func(w *catalogtest.World) { w.Report("acme/staging", r1, manifest.Errored, nil) }, []string{"reported ERROR"}},
		{"passed, then failed", func(w *catalogtest.World) {
			w.Report("acme/staging", r1, manifest.Passed, nil)
			w.Report("acme/staging", r1, manifest.Failed, nil)
		}, []string{"reported FAILED"}},
		{"gap", func(w *catalogtest.World) {
			w.Report("acme/staging", r1, manifest.Passed, func(r *manifest.Report) { r.Sequence, r.Previous = 3, catalogtest.Digest(nil) })
		}, []string{"a report is missing"}},
		{"another manifest", func(w *catalogtest.World) {
			w.Report("acme/staging", r1, manifest.Passed, func(r *manifest.Report) { r.ManifestSHA256 = catalogtest.Digest(nil) })
		}, []string{"not verifiable", catalogtest.Digest(nil)}},
		{"another release", func(w *catalogtest.World) {
			w.Publish(r2, catalogtest.Content{})
			w.Report("acme/staging", r2, manifest.Passed, nil)
		}, []string{"not reported yet"}},
		{"another site", func(w *catalogtest.World) { w.Report("enovance/ci", r1, manifest.Passed, nil) }, []string{"not reported yet"}},
		{"a deployment", func(w *catalogtest.World) {
			w.Report("acme/staging", r1, manifest.Passed, func(r *manifest.Report) { r.Type = manifest.ReportDeployment })
		}, []string{"on something else"}},
		{"wrong key", func(w *catalogtest.World) {
			id := manifest.SiteID{Customer: "acme", Site: "staging"}
			mine := w.SiteKeys[id]
			w.SiteKeys[id] = catalogtest.NewKey(w.T)
			w.Report("acme/staging", r1, manifest.Passed, nil)
			w.SiteKeys[id] = mine
		}, []string{"not verifiable", "no key of site acme/staging"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			c.earlier(w)
			f := at(t, w, "acme/staging-2", say)
			f.assertWaits(t, r1, append(c.words, "waits for acme/staging")...)
			f.assertRan(t)
		})
	}
}

func TestAChainNamesEverySiteItWaitsFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddSite("acme/lab", manifest.SiteCI)
	w.AddSite("acme/last", manifest.SiteCI, "acme/staging", "acme/lab")
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/last", say)
	f.assertWaits(t, r1, "acme/staging", "acme/lab")
	w.Report("acme/lab", r1, manifest.Passed, nil)
	f.assertWaits(t, r1, "acme/staging")
	w.Report("acme/staging", r1, manifest.Passed, nil)
	f.run(t, RunOptions{})
	f.assertRan(t, r1)
}

func TestAChainThatCannotListSaysSo(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"read-only web server": storage.ErrUnsupported, "access denied": storage.ErrForbidden} {
		w := newWorld(t)
		ready(w, r1, catalogtest.Content{})
		f := at(t, w, "acme/staging-2", say)
		result, err := f.Run(context.Background(), f.through(t, f.faulty(t, cause, "list")), RunOptions{})
		if err != nil || len(result.Waiting) != 1 || !strings.Contains(result.Waiting[0].Reason, "whose reports cannot be read here") {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		f.assertRan(t)
	}
}

// vendor is the vendor's own CI: it sees what is published, and signs what passes.
func vendor(t *testing.T, w *catalogtest.World, hook string) (*follower, *[]string) {
	t.Helper()
	f := at(t, w, "enovance/ci", hook)
	f.Site.Follow = FollowPublished
	return f, &[]string{}
}

// signing is an OnPassed that notes its calls, and fails where err is not nil.
func signing(calls *[]string, err error) RunOptions {
	return RunOptions{OnPassed: func(_ context.Context, r manifest.Release) (string, error) {
		*calls = append(*calls, r.String())
		return "signed " + r.String(), err
	}}
}

func TestOnPassedIsCalledAfterAPassedOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2, r3} {
		w.Publish(r, catalogtest.Content{})
	}
	f, calls := vendor(t, w, "case $KITCHEN_VERSION in 1.0.0) exit 1;; 1.1.0) exit 77;; esac")
	o := signing(calls, nil)
	inner := o.OnPassed
	o.OnPassed = func(ctx context.Context, r manifest.Release) (string, error) {
		onlyReport(t, w, "enovance/ci", r.String()) // the report is in the store before
		return inner(ctx, r)
	}
	result := f.run(t, o)
	if !slices.Equal(*calls, []string{r3}) || result.Runs[2].Outcome != "signed "+r3 || result.Runs[0].Outcome != "" {
		t.Errorf("called for %v, %+v", *calls, result.Runs)
	}
	w.Validate(r3)
	if again := f.run(t, o); len(*calls) != 1 || len(again.Resumed) != 0 {
		t.Errorf("called again although it is validated: %v", *calls)
	}
}

func TestOnPassedIsCalledAgainAfterACrashInBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Publish(r1, catalogtest.Content{})
	f, calls := vendor(t, w, say)
	broken := errors.New("the key service is away")
	result, err := f.Run(context.Background(), f.view(t), signing(calls, broken))
	if !errors.Is(err, broken) || len(result.Runs) != 1 || result.Runs[0].Verdict != manifest.Passed {
		t.Fatalf("got %+v, %v", result, err)
	}
	onlyReport(t, w, "enovance/ci", r1)
	resumed := f.run(t, signing(calls, nil))
	if len(*calls) != 2 || len(resumed.Runs) != 0 || len(resumed.Resumed) != 1 || resumed.Resumed[0].Outcome != "signed "+r1 {
		t.Errorf("calls %v, %+v", *calls, resumed)
	}
	// A proposal may wait for other signatures: the next run calls again, and says nothing where there was nothing to do.
	quiet := RunOptions{OnPassed: func(context.Context, manifest.Release) (string, error) { return "", nil }}
	if result := f.run(t, quiet); len(result.Resumed) != 0 {
		t.Errorf("got %+v", result.Resumed)
	}
	f.assertRan(t, r1)
	if n := len(reports(t, w)); n != 1 {
		t.Errorf("%d reports", n)
	}
}

func TestACustomersCIResumesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, calls := at(t, w, "acme/staging", say), &[]string{}
	f.run(t, RunOptions{})
	f.run(t, signing(calls, nil))
	if len(*calls) > 0 {
		t.Errorf("called for %v", *calls)
	}
}

// TestOnPassedWaitsForTheReport: nobody signs into validated on a report that nobody else can read.
func TestOnPassedWaitsForTheReport(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"store away": storagetest.ErrInjected, "read-only store": storage.ErrUnsupported} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Publish(r1, catalogtest.Content{})
			f, calls := vendor(t, w, say)
			f.faulty(t, cause, "create")
			for range 2 {
				if _, err := f.Run(context.Background(), f.view(t), signing(calls, nil)); err != nil && !isA[*Unsent](err) {
					t.Fatal(err)
				}
			}
			if len(*calls) > 0 || len(reports(t, w)) > 0 {
				t.Errorf("called for %v, reports %v", *calls, reports(t, w))
			}
			f.Store = w.Store
			f.run(t, signing(calls, nil))
			if !slices.Equal(*calls, []string{r1}) {
				t.Errorf("called for %v", *calls)
			}
			f.assertRan(t, r1)
			onlyReport(t, w, "enovance/ci", r1)
		})
	}
}
