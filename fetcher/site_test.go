package fetcher

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// say is a hook that leaves a line for every run and passes.
const say = `echo $KITCHEN_PRODUCT@$KITCHEN_VERSION >>ran`

// ran lists the releases on which the hooks of this host were started.
func (f *follower) ran(t *testing.T) []string { t.Helper(); return f.line(t, "ran") }

func (f *follower) assertRan(t *testing.T, want ...string) {
	t.Helper()
	if got := f.ran(t); !slices.Equal(got, want) {
		t.Errorf("the hook ran on %v, want %v", got, want)
	}
}

// hooks gives this host another script for both kinds of hooks.
func (f *follower) hooks(script string) {
	argv := []string{"sh", "-c", script}
	f.Site.Hooks = map[string][]string{HookTest: argv, HookDeploy: argv}
}

// notes collects what a Fetcher says beside its results.
type notes struct {
	progress.Silent
	lines []string
}

func (n *notes) Note(line string) { n.lines = append(n.lines, line) }

// through is a view of this host over another store.
func (f *follower) through(t *testing.T, s storage.Store) *catalog.View {
	t.Helper()
	options := f.w.Options(f.State)
	options.Store = s
	c, err := catalog.Open(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// faulty puts a store between this host and the World's whose listed operations fail with an error.
func (f *follower) faulty(t *testing.T, cause error, ops ...string) *storagetest.Faults {
	t.Helper()
	faults := storagetest.NewFaults(t, f.w.Store)
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if slices.Contains(ops, c.Op) {
			return &storage.Error{Op: c.Op, Key: c.Key, Err: cause}
		}
		return nil
	}
	f.Store = faults
	return faults
}

// image copies a state directory as a crash at this moment would leave it.
func image(t *testing.T, state string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rebooted is the same host after a crash that left this state directory.
func (f *follower) rebooted(state string) *follower {
	again := &follower{w: f.w}
	fetcher, site := *f.Fetcher, *f.Site
	again.Fetcher = &fetcher
	again.Site = &site
	again.State, again.Store, again.Stderr = state, f.w.Store, &again.stderr
	return again
}

// verified gives the reports of one site on one release as any reader verifies them, and that none was refused.
func verified(t *testing.T, w *catalogtest.World, site, r string) []catalog.VerifiedReport {
	t.Helper()
	id, err := manifest.ParseSite(site)
	if err != nil {
		t.Fatal(err)
	}
	on := release(t, r)
	all, err := w.View().Reports(context.Background(), catalog.ReportFilter{Site: &id, Release: &on})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Rejected) > 0 {
		t.Errorf("refused: %+v", all.Rejected)
	}
	if all.Gap(id, on) {
		t.Errorf("the chain of %s on %s has a gap: %+v", id, on, all.All)
	}
	return all.All
}

// onlyReport is verified where there is exactly one.
func onlyReport(t *testing.T, w *catalogtest.World, site, r string) catalog.VerifiedReport {
	t.Helper()
	all := verified(t, w, site, r)
	if len(all) != 1 {
		t.Fatalf("%s has %d reports on %s, want 1", site, len(all), r)
	}
	return all[0]
}

// logText reads a report's log back from the store.
func logText(t *testing.T, w *catalogtest.World, r catalog.VerifiedReport) string {
	t.Helper()
	body, err := w.View().ReadLog(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// reportFiles are the reports in the store, by the last part of their names.
func reportFiles(t *testing.T, w *catalogtest.World) []string {
	t.Helper()
	var list []string
	for _, key := range reports(t, w) {
		list = append(list, path.Base(key))
	}
	return list
}

// TestWhoMayNotRun has what stops every command of a site before a hook starts or a report is written.
func TestWhoMayNotRun(t *testing.T) {
	t.Parallel()
	noSite := func(err error) bool { return errors.Is(err, ErrNoSite) }
	for _, c := range []struct {
		name   string
		change func(t *testing.T, w *catalogtest.World, f *follower)
		is     func(error) bool
		says   string
	}{
		{"no site", func(_ *testing.T, _ *catalogtest.World, f *follower) { f.Site = nil },
			noSite, "[site]"},
		{"no key", func(_ *testing.T, _ *catalogtest.World, f *follower) { f.Site.Signer = nil },
			noSite, "key"},
		{"wrong key", func(t *testing.T, _ *catalogtest.World, f *follower) { f.Site.Signer = catalogtest.NewKey(t) },
			isA[*WrongSiteKey], "is not the one in the registry"},
		{"key of another site", func(t *testing.T, w *catalogtest.World, f *follower) {
			f.Site.Signer = w.SiteKeys[manifest.SiteID{Customer: "acme", Site: "prod"}]
		}, isA[*WrongSiteKey], "acme/staging"},
		{"key not valid any more", func(_ *testing.T, w *catalogtest.World, _ *follower) {
			w.Registry["acme"].Sites[0].Keys[0].ValidTo = w.Now
			w.Register()
		}, isA[*WrongSiteKey], "none that is valid now"},
		{"key not valid yet", func(_ *testing.T, w *catalogtest.World, _ *follower) {
			w.Registry["acme"].Sites[0].Keys[0].ValidFrom = w.Now.Add(catalogtest.Day)
			w.Register()
		}, isA[*WrongSiteKey], "none that is valid now"},
		{"retired site", func(_ *testing.T, w *catalogtest.World, _ *follower) {
			w.Registry["acme"].Sites[0].Retired = true
			w.Register()
		}, isA[*UnknownSite], "retired"},
		{"unknown site", func(_ *testing.T, _ *catalogtest.World, f *follower) { f.Site.ID.Site = "nowhere" },
			isA[*UnknownSite], "acme/nowhere"},
		{"unknown customer", func(_ *testing.T, _ *catalogtest.World, f *follower) { f.Site.ID.Customer = "nobody" },
			isA[*UnknownSite], "nobody/staging"},
		{"no hook", func(_ *testing.T, _ *catalogtest.World, f *follower) { delete(f.Site.Hooks, HookTest) },
			isA[*MissingHook], "[hooks] test"},
		{"empty hook", func(_ *testing.T, _ *catalogtest.World, f *follower) { f.Site.Hooks[HookTest] = []string{""} },
			isA[*MissingHook], "kitchen.toml"},
		{"busy", func(t *testing.T, _ *catalogtest.World, f *follower) {
			dir := f.siteDir(f.Site.ID)
			if err := durable.MkdirAll(string(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			other := flock.New(dir.lock())
			if got, err := other.TryLock(); err != nil || !got {
				t.Fatalf("lock: %v, %v", got, err)
			}
			t.Cleanup(func() { other.Close() })
		}, isA[*Busy], "another run of acme/staging"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", say)
			dir := f.Site.Dir
			c.change(t, w, f)
			_, err := f.Run(context.Background(), f.view(t), RunOptions{})
			if err == nil || !c.is(err) || !strings.Contains(err.Error(), c.says) || strings.Count(err.Error(), "nowhere") > 1 {
				t.Errorf("got %v", err)
			}
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("the hook ran: %v", left)
			}
			if sent := reports(t, w); len(sent) > 0 {
				t.Errorf("reports %v", sent)
			}
		})
	}
}

// TestASiteKeyWhoseIDBeginsLikeAnothers: the first digits of an id can be had by trying, so that a key that is not the
// registered one is shown whole, with the one that is.
func TestASiteKeyWhoseIDBeginsLikeAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f, stranger := at(t, w, "acme/staging", say), catalogtest.NewKey(t)
	registered := keyID(f.Site.Signer.Public())
	f.Site.Signer = stranger
	_, err := f.Run(context.Background(), f.view(t), RunOptions{})
	wrong, ok := errors.AsType[*WrongSiteKey](err)
	if !ok || len(registered) != 64 || !slices.Equal(wrong.Evidence(), []string{"configured " + keyID(stranger.Public()), "registered " + registered}) {
		t.Errorf("%v shows %q", err, wrong)
	}
}

func isA[T error](err error) bool {
	var e T
	return errors.As(err, &e)
}

func TestTheLockGoesWithTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	// The hook's own kitchen would find the site busy: here it is the hook's output that asks.
	other := f.rebooted(f.State)
	other.Store = w.Store
	v := f.view(t)
	var inside error
	f.Stderr = writerFunc(func(p []byte) (int, error) {
		_, inside = other.Run(context.Background(), v, RunOptions{})
		return len(p), nil
	})
	f.hooks("echo output; " + say)
	if _, err := f.Run(context.Background(), v, RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if !isA[*Busy](inside) {
		t.Errorf("during the run: %v", inside)
	}
	f.assertRan(t, r1)
	if _, err := other.Run(context.Background(), v, RunOptions{}); err != nil {
		t.Errorf("after the run: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// TestAThiefUsesUpTheNumbersOfReports: with the last number there is, no report can follow; that is said before a hook
// starts, not after.
func TestAThiefUsesUpTheNumbersOfReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", "touch started")
	w.Report("acme/staging", r1, manifest.Passed, func(r *manifest.Report) {
		r.Sequence, r.Previous = trust.MaxInteger, strings.Repeat("a", 64)
	})
	only := release(t, r1)
	_, err := f.Run(context.Background(), f.view(t), RunOptions{Only: &only, Again: true})
	if !isA[*UsedUp](err) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(f.Site.Dir, "started")); err == nil {
		t.Error("the hook was started")
	}
}
