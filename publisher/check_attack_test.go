package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestCheckOfACatalogThatWasRolledBack: an older copy is right by itself; a host that saw the newer one says no.
func TestCheckOfACatalogThatWasRolledBack(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	old := c.object(t, manifest.TimestampObject)
	c.publish(t, "openstack@1.1.0")
	c.check(t, publisher.CheckRequest{})
	check(t, os.WriteFile(filepath.Join(c.dir, manifest.TimestampObject), old, 0o644))
	r := c.check(t, publisher.CheckRequest{})
	if got := bad(r); got != "fault metadata-refused timestamp" || !r.Untrusted || len(r.Unchecked) == 0 {
		t.Errorf("%s; not looked at: %v", got, r.Unchecked)
	}
	c.host = c.publisher(t, nil)
	if r := c.check(t, publisher.CheckRequest{}); bad(r) != "" {
		t.Errorf("to a host that saw nothing newer: %s", bad(r))
	}
}

// TestCheckNamesForgedReports: what nobody's key of the site signed, and what was moved to another name, does not count
// anywhere; the check says where it lies.
func TestCheckNamesForgedReports(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	info, err := c.view(t).Release(release(v1))
	check(t, err)
	forged := &manifest.Report{Site: siteID("acme/staging"), Release: release(v1), ManifestSHA256: info.SHA256, Type: manifest.ReportTest, Result: manifest.Passed,
		Started: c.now, Finished: c.now, Sequence: 2, Previous: c.reports["acme/staging "+v1].digest, TimestampVersion: 1}
	statement, err := forged.Statement()
	check(t, err)
	bundle, err := keys.SignStatement(ctx, c.stranger, statement)
	check(t, err)
	key := manifest.ReportObject(forged.Site, forged.Release, forged.Finished, catalogtest.Digest(bundle))
	c.put(t, key, bundle)
	own := c.the(t, "reports/enovance/ci/openstack/", "")
	moved := strings.Replace(own, "enovance/ci", "acme/staging", 1)
	c.put(t, moved, c.object(t, own))
	r := c.check(t, publisher.CheckRequest{})
	if got := bad(r); !r.Sound() || !strings.Contains(got, "warning report-signer-unknown "+key) || !strings.Contains(got, "warning report-signer-unknown "+moved) || strings.Count(got, "\n") != 1 {
		t.Errorf("%s", got)
	}
}

// TestCheckBelievesNoLocalCopy: what a host has verified and kept says nothing about what the store holds now.
func TestCheckBelievesNoLocalCopy(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.check(t, publisher.CheckRequest{})
	for _, key := range []string{c.current(t, "registry"), c.the(t, "reports/acme/staging/openstack/", "")} {
		right := c.object(t, key)
		c.flip(t, key)
		if r := c.check(t, publisher.CheckRequest{}); !r.Untrusted {
			t.Errorf("%s is damaged, and the check is content: %s", key, bad(r))
		}
		check(t, os.WriteFile(filepath.Join(c.dir, filepath.FromSlash(key)), right, 0o644))
	}
	if r := c.check(t, publisher.CheckRequest{}); bad(r) != "" {
		t.Errorf("after it was put right: %s", bad(r))
	}
}

// TestCheckOfEndlessObjects: not a byte more is read than an object may have.
func TestCheckOfEndlessObjects(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	huge := bytes.Repeat([]byte{'x'}, 5<<20)
	for _, key := range []string{c.the(t, "evidence/", ""), c.the(t, "targets/catalog/", ""), c.the(t, "reports/acme/staging/openstack/", "")} {
		check(t, os.WriteFile(filepath.Join(c.dir, filepath.FromSlash(key)), huge, 0o644))
	}
	r := c.check(t, publisher.CheckRequest{ReadData: true})
	for _, code := range []string{publisher.CodeEvidenceAltered, publisher.CodeTargetAltered, publisher.CodeReportAltered} {
		if !strings.Contains(bad(r), "fault "+code) {
			t.Errorf("no %s in:\n%s", code, bad(r))
		}
	}
}

// withheld is a store that refuses to read what lies below a prefix, or is told when somebody asks.
type withheld struct {
	storage.Store
	prefix string
	asked  func() error
}

func (s *withheld) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	if strings.HasPrefix(key, s.prefix) {
		if err := s.asked(); err != nil {
			return nil, storage.Info{}, &storage.Error{Op: "read", Key: key, Err: err}
		}
	}
	return s.Store.Open(ctx, key, offset, length)
}

// TestCheckWithoutTheRightToReadReports: nobody can say; it takes other credentials, not the site.
func TestCheckWithoutTheRightToReadReports(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.host = c.over(t, &withheld{c.store, "reports/", func() error { return storage.ErrForbidden }}, nil)
	r := c.check(t, publisher.CheckRequest{})
	if r.Sound() || r.Untrusted || !strings.Contains(bad(r), "warning unreadable reports/") {
		t.Errorf("%s", bad(r))
	}
	for _, f := range r.Findings {
		if f.Code == publisher.CodeUnreadable && (strings.Contains(f.Next, "ask the site") || !strings.Contains(f.Next, "credentials that may read")) {
			t.Errorf("%+v", f)
		}
	}
}

// TestCheckThatIsInterrupted: what it found until then is told, and that it is not all.
func TestCheckThatIsInterrupted(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.cut(t, manifest.RoleObject("registry", 2))
	stopped, stop := context.WithCancel(ctx)
	c.host = c.over(t, &withheld{c.store, "evidence/", func() error { stop(); return stopped.Err() }}, nil)
	r, err := c.host.Check(stopped, publisher.CheckRequest{})
	if !errors.Is(err, context.Canceled) || r == nil || r.Sound() || !r.Ended || !strings.Contains(strings.Join(r.Unchecked, "\n"), "did not come to its end") {
		t.Fatalf("%v, %+v", err, r)
	}
	if got, want := bad(r), "fault history-damaged metadata/2.registry.json"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCheckOfAFloodBelowPending: names enough to hide what sorts after them are a warning, not a note.
func TestCheckOfAFloodBelowPending(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	const flood = 20_001
	for n := range flood {
		dir := filepath.Join(c.dir, "pending", fmt.Sprintf("product.aaa.1.%016x", n))
		check(t, os.MkdirAll(dir, 0o755))
		check(t, os.WriteFile(filepath.Join(dir, manifest.ProposalName), nil, 0o644))
	}
	r := c.check(t, publisher.CheckRequest{})
	if got, want := bad(r), "warning pending-leftovers pending/"; got != want || !r.Sound() {
		t.Fatalf("%q, want %q", got, want)
	}
	says(t, theFinding(t, r, manifest.PendingPrefix), "may be hidden", "delete what is garbage")
	if n := notes(r)[publisher.CodePendingLeftovers]; n < flood {
		t.Errorf("%d leftovers are counted", n)
	}
}

// TestCheckOfADamagedJournalRole: which reports it saw, nobody can tell, so that none is called new.
func TestCheckOfADamagedJournalRole(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	key := c.current(t, manifest.RoleJournal)
	was := c.object(t, key)
	c.overwrite(t, key, nil)
	r := c.check(t, publisher.CheckRequest{})
	if n := notes(r)[publisher.CodeReportUnseen]; n != 0 || !strings.Contains(bad(r), "fault metadata-refused") {
		t.Errorf("%d reports are said to be unseen; %s", n, bad(r))
	}
	c.overwrite(t, key, was)
	if r := c.check(t, publisher.CheckRequest{}); bad(r) != "" {
		t.Errorf("%s", bad(r))
	}
}
