package fetcher

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// unsent is a host on whose disk the reports on these releases wait, and their entries. The store is back.
func unsent(t *testing.T, w *catalogtest.World, releases ...string) (*follower, []string) {
	t.Helper()
	for _, r := range releases {
		ready(w, r, catalogtest.Content{})
	}
	f := at(t, w, "acme/staging", say)
	f.faulty(t, storagetest.ErrInjected, "create")
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); !isA[*Unsent](err) {
		t.Fatalf("the store is away: %v", err)
	}
	f.Store = w.Store
	list, _, err := f.siteDir(f.Site.ID).spoolEntries([]*keys.Public{f.Site.Signer.Public()})
	if err != nil || len(list) != len(releases) {
		t.Fatalf("the spool holds %v, %v", list, err)
	}
	dirs := make([]string, len(list))
	for _, e := range list {
		dirs[slices.Index(releases, e.report.Release.String())] = e.dir
	}
	return f, dirs
}

// inTime is one run that must not wait for anybody.
func (f *follower) inTime(t *testing.T, o RunOptions) (result *RunResult, err error) {
	t.Helper()
	view, ended := f.view(t), make(chan struct{})
	go func() {
		defer close(ended)
		result, err = f.Run(context.Background(), view, o)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the run hangs")
	}
	return result, err
}

// replace puts something else in a file's place.
func replace(path string, put func(path string) error) error {
	return errors.Join(os.RemoveAll(path), put(path))
}

func pipe(path string) error { return syscall.Mkfifo(path, 0o600) }

// TestADamagedReportInTheSpoolIsNotSent: the disk, or a hook, changes what waits to be sent. What either file of an entry
// still tells arrives, under one name, and the chain goes on.
func TestADamagedReportInTheSpoolIsNotSent(t *testing.T) {
	t.Parallel()
	other := catalogtest.NewKey(t)
	for name, damage := range map[string]func(dir string) error{
		"report cut":    func(d string) error { return os.Truncate(filepath.Join(d, spoolReport), 200) },
		"report empty":  func(d string) error { return os.Truncate(filepath.Join(d, spoolReport), 0) },
		"report a pipe": func(d string) error { return replace(filepath.Join(d, spoolReport), pipe) },
		"report a directory": func(d string) error {
			return replace(filepath.Join(d, spoolReport), func(p string) error { return os.Mkdir(p, 0o700) })
		},
		"report a link": func(d string) error {
			to := filepath.Join(d, "elsewhere")
			return errors.Join(os.Rename(filepath.Join(d, spoolReport), to), os.Symlink(to, filepath.Join(d, spoolReport)))
		},
		"report too large": func(d string) error { return os.Truncate(filepath.Join(d, spoolReport), keys.MaxBundle+1) },
		"report signed by another key": func(d string) error {
			statement, err := os.ReadFile(filepath.Join(d, spoolStatement))
			if err != nil {
				return err
			}
			bundle, err := keys.SignStatement(context.Background(), other, statement)
			return errors.Join(err, os.WriteFile(filepath.Join(d, spoolReport), bundle, 0o600))
		},
		"statement cut":    func(d string) error { return os.Truncate(filepath.Join(d, spoolStatement), 20) },
		"statement a pipe": func(d string) error { return replace(filepath.Join(d, spoolStatement), pipe) },
		"statement gone":   func(d string) error { return os.Remove(filepath.Join(d, spoolStatement)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f, entries := unsent(t, w, r1)
			if err := damage(entries[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := f.inTime(t, RunOptions{}); err != nil {
				t.Fatal(err)
			}
			first, only := onlyReport(t, w, "acme/staging", r1), release(t, r1)
			if first.Verdict() != manifest.Passed {
				t.Errorf("arrived: %+v", first)
			}
			if left := f.entries(t); len(left) > 0 || len(reports(t, w)) != 1 {
				t.Errorf("left in the spool: %v; sent: %v", left, reports(t, w))
			}
			w.Now = w.Now.Add(time.Minute)
			f.run(t, RunOptions{Only: &only, Again: true})
			f.assertRan(t, r1, r1)
			if all := verified(t, w, "acme/staging", r1); len(all) != 2 || all[1].Previous != first.SHA256 {
				t.Errorf("the chain: %+v", all)
			}
		})
	}
}

// TestAReportOfAnotherRunIsNotSentInItsPlace: a report that the site did sign, on another release, lies in the entry.
func TestAReportOfAnotherRunIsNotSentInItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, entries := unsent(t, w, r1, r2)
	bundle, err := os.ReadFile(filepath.Join(entries[1], spoolReport))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(entries[0], spoolReport), bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	onlyReport(t, w, "acme/staging", r1)
	onlyReport(t, w, "acme/staging", r2)
}

// TestADamagedReportThatArrivedIsNotSignedTwice: the store had taken it, and failed to say so.
func TestADamagedReportThatArrivedIsNotSignedTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", say)
	faults := storagetest.NewFaults(t, w.Store)
	faults.FailWrite(2, true)
	f.Store = faults
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); !isA[*Unsent](err) {
		t.Fatalf("got %v", err)
	}
	arrived := onlyReport(t, w, "acme/staging", r1)
	entry := filepath.Join(f.siteDir(f.Site.ID).spool(), f.entries(t)[0])
	if err := os.Truncate(filepath.Join(entry, spoolReport), 200); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	if again := onlyReport(t, w, "acme/staging", r1); again.SHA256 != arrived.SHA256 {
		t.Errorf("%s was sent beside %s", again.Key, arrived.Key)
	}
	if left := f.entries(t); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// TestADamagedReportThatALaterOneNamesIsSaid: another signature would not be the one that the later report follows.
func TestADamagedReportThatALaterOneNamesIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, entries := unsent(t, w, r1)
	first := entries[0]
	f.faulty(t, storagetest.ErrInjected, "create")
	w.Now = w.Now.Add(time.Minute)
	only := release(t, r1)
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{Only: &only, Again: true}); !isA[*Unsent](err) {
		t.Fatalf("got %v", err)
	}
	f.Store = w.Store
	whole, err := os.ReadFile(filepath.Join(first, spoolReport))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(first, spoolReport), 200); err != nil {
		t.Fatal(err)
	}
	var lost *DamagedResult
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); !errors.As(err, &lost) || !lost.Followed || !strings.Contains(err.Error(), r1) || !strings.Contains(lost.Hint(), first) {
		t.Fatalf("got %v", err)
	}
	// As the hint says:
	if err := os.WriteFile(filepath.Join(first, spoolReport), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	if all := verified(t, w, "acme/staging", r1); len(all) != 2 {
		t.Errorf("the chain: %+v", all)
	}
}

// TestASpooledFileThatIsNotItsOwnStaysHere: what a hook, or a disk, puts in the place of a log or an attachment does not
// leave the host, and does not keep the report from leaving it.
func TestASpooledFileThatIsNotItsOwnStaysHere(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string, size int64) error{
		"gone":        func(string, int64) error { return nil },
		"other bytes": func(p string, size int64) error { return os.WriteFile(p, secret(size), 0o600) },
		"more bytes":  func(p string, size int64) error { return os.WriteFile(p, secret(size+1), 0o600) },
		"a link": func(p string, size int64) error {
			to := filepath.Join(filepath.Dir(p), "elsewhere")
			return errors.Join(os.WriteFile(to, secret(size), 0o600), os.Symlink(to, p))
		},
		"a pipe":      func(p string, _ int64) error { return pipe(p) },
		"a directory": func(p string, _ int64) error { return os.Mkdir(p, 0o700) },
	} {
		for _, which := range []string{"log", "attachment"} {
			t.Run(which+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				ready(w, r1, catalogtest.Content{})
				f, said := at(t, w, "acme/staging", say+"; echo useful >$KITCHEN_RESULTS/notes.txt"), &notes{}
				f.faulty(t, storagetest.ErrInjected, "create")
				result, err := f.Run(context.Background(), f.view(t), RunOptions{})
				if !isA[*Unsent](err) || len(result.Runs[0].Attachments) != 1 {
					t.Fatalf("got %+v, %v", result, err)
				}
				f.Store, f.Progress = w.Store, said
				path := filepath.Join(f.siteDir(f.Site.ID).spool(), f.entries(t)[0], spoolLog)
				if which == "attachment" {
					path = filepath.Join(filepath.Dir(path), attachmentFile(result.Runs[0].Attachments[0].SHA256))
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := replace(path, func(p string) error { return put(p, info.Size()) }); err != nil {
					t.Fatal(err)
				}
				if _, err := f.inTime(t, RunOptions{}); err != nil {
					t.Fatal(err)
				}
				report := onlyReport(t, w, "acme/staging", r1)
				var files []string
				for info, err := range w.Store.List(context.Background(), "reports/acme/staging/_logs/", "") {
					if err != nil {
						t.Fatal(err)
					}
					files = append(files, info.Key)
				}
				whole := report.Log.SHA256
				if which == "log" {
					whole = report.Attachments[0].SHA256
				}
				if want := manifest.LogObject(report.Site, whole); !slices.Equal(files, []string{want}) {
					t.Errorf("the store has %v, want %s alone", files, want)
				}
				if !slices.ContainsFunc(said.lines, func(s string) bool { return strings.Contains(s, "the report on "+r1+" goes without") }) {
					t.Errorf("nobody was told: %q", said.lines)
				}
			})
		}
	}
}

func secret(size int64) []byte { return bytes.Repeat([]byte("s"), int(size)) }
