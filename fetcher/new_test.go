package fetcher

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
)

func (f *follower) assertNew(t *testing.T, want ...string) {
	t.Helper()
	news, err := f.New(context.Background(), f.view(t))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, info := range news.Releases {
		got = append(got, info.Release.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("new: %v, want %v", got, want)
	}
}

func TestWhatIsNewIsNewOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	site, anybody := at(t, w, "acme/staging", ""), at(t, w, "", "")
	for _, f := range []*follower{site, anybody} {
		f.assertNew(t)
	}
	ready(w, r1, catalogtest.Content{})
	ready(w, r2, catalogtest.Content{})
	for _, f := range []*follower{site, anybody} {
		f.assertNew(t, r1, r2)
		f.assertNew(t)
	}
	ready(w, r3, catalogtest.Content{})
	site.assertNew(t, r3)
	site.assertNew(t)
	anybody.assertNew(t, r3)
}

// Recalls of what this host knows are told once each, of what it never knew not at all.
func TestARecallOfWhatIsKnownHereIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	shown, deployed, fresh := at(t, w, "acme/staging", ""), at(t, w, "acme/prod", "true"), at(t, w, "", "")
	shown.assertNew(t, r1)
	if result := deployed.run(t, RunOptions{}); len(result.Runs) != 1 {
		t.Fatalf("%+v", result)
	}
	recalls := func(f *follower, want, isDeployed bool) {
		t.Helper()
		news, err := f.New(context.Background(), f.view(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(news.Recalled) == 1; got != want || got && (news.Recalled[0].Recall.Reason != "CVE" || news.Recalled[0].Deployed != isDeployed) {
			t.Errorf("%+v", news)
		}
	}
	for _, since := range []string{"2", "3"} {
		recall(w, since)
		recalls(shown, true, false)
		recalls(deployed, true, true)
		for _, f := range []*follower{fresh, shown, deployed} {
			recalls(f, false, false)
		}
	}
}

func TestWhatIsNotVisibleIsNotNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.AddProduct("ceph")
	ready(w, "ceph@1.0.0", catalogtest.Content{}) // acme does not subscribe to it
	ready(w, r1, catalogtest.Content{})
	w.Recall(r1, "leaks")
	w.Publish(r2, catalogtest.Content{}) // not validated
	ready(w, r3, catalogtest.Content{})
	w.Yank(r3, "typo")
	f := at(t, w, "acme/staging", "")
	f.assertNew(t)
	w.Validate(r2)
	f.assertNew(t, r2)
	vendor := at(t, w, "enovance/ci", "")
	vendor.Site.Follow = FollowPublished
	vendor.assertNew(t, "ceph@1.0.0", r2)
}

func TestWithADamagedRecordEverythingIsNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	for _, site := range []string{"acme/staging", ""} {
		f := at(t, w, site, "")
		f.assertNew(t, r1)
		path := filepath.Join(f.State, "site", "_follower", "seen.json")
		if f.Site != nil {
			path = f.siteDir(f.Site.ID).seen()
		}
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"empty": nil, "cut": good[:len(good)/2], "altered": append([]byte("{}"), good...), "not a record": []byte(`{"releases":{}}`)} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if f.assertNew(t, r1); t.Failed() {
				t.Fatalf("site %q, record %s", site, name)
			}
			f.assertNew(t)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		f.assertNew(t, r1)
	}
}

func TestANewSiteOnTheSameHostSeesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "")
	f.assertNew(t, r1)
	other := f.rebooted(f.State)
	other.Site.ID.Site = "staging-2"
	other.assertNew(t, r1)
	f.assertNew(t)
}
