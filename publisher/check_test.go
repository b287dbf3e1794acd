package publisher_test

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestCheckFindsEachDamage: one place of a sound catalog is damaged; exactly that is found, and what it is.
func TestCheckFindsEachDamage(t *testing.T) {
	t.Parallel()
	const lost, untrusted = "lost", "untrusted"
	for name, c := range map[string]struct {
		damage func(*testing.T, *checked) string // gives the object that is to be named
		want   string                            // severity and code
		how    string
		data   bool // found by --read-data alone
	}{
		"the first root is gone":    {func(t *testing.T, c *checked) string { return c.remove(t, "metadata/1.root.json") }, "fault metadata-missing", lost, false},
		"the first root is another": {func(t *testing.T, c *checked) string { return c.flip(t, "metadata/1.root.json") }, "fault metadata-refused", untrusted, false},
		"the newest root is gone, and its keys are those of the one before": {func(t *testing.T, c *checked) string {
			out, err := c.publisher(t, c.online).ChangeRole(ctx, publisher.RoleRequest{Role: trust.RoleRoot, Threshold: 3}, nil, signers(c.root...))
			check(t, err)
			if out.Status != publisher.Committed {
				t.Fatalf("%+v", out)
			}
			c.check(t, publisher.CheckRequest{}) // this host sees it
			return c.remove(t, "metadata/2.root.json")
		}, "fault metadata-missing", lost, false},
		"a role in effect is gone": {func(t *testing.T, c *checked) string {
			c.remove(t, c.current(t, "product.openstack"))
			return "product.openstack"
		}, "fault metadata-missing", lost, false},
		"a role in effect is damaged": {func(t *testing.T, c *checked) string {
			c.flip(t, c.current(t, "product.openstack"))
			return "product.openstack"
		}, "fault metadata-refused", untrusted, false},
		"the snapshot is gone": {func(t *testing.T, c *checked) string {
			c.remove(t, manifest.SnapshotObject(c.view(t).Snapshot().Version))
			return "snapshot"
		}, "fault metadata-missing", lost, false},
		"the timestamp is gone":    {func(t *testing.T, c *checked) string { c.remove(t, manifest.TimestampObject); return "timestamp" }, "fault metadata-missing", lost, false},
		"the timestamp is damaged": {func(t *testing.T, c *checked) string { c.flip(t, manifest.TimestampObject); return "timestamp" }, "fault metadata-refused", untrusted, false},
		"the timestamp is too large": {func(t *testing.T, c *checked) string {
			write(t, filepath.Join(c.dir, manifest.TimestampObject), strings.Repeat(" ", 2<<20))
			return "timestamp"
		}, "fault metadata-refused", untrusted, false},
		"an old version is damaged": {func(t *testing.T, c *checked) string { return c.cut(t, manifest.RoleObject("registry", 2)) }, "fault history-damaged", untrusted, false},
		"an old version is gone": {func(t *testing.T, c *checked) string {
			return c.remove(t, manifest.RoleObject("registry", 2))
		}, "fault history-missing", lost, false},
		"an old version has other bytes": {func(t *testing.T, c *checked) string {
			return c.resign(t, manifest.RoleObject("registry", 2))
		}, "fault history-damaged", untrusted, false},
		"an old snapshot is gone": {func(t *testing.T, c *checked) string { return c.remove(t, manifest.SnapshotObject(2)) }, "warning snapshot-gap", "", false},
		"an old snapshot is not signed": {func(t *testing.T, c *checked) string {
			return c.resign(t, manifest.SnapshotObject(2))
		}, "fault history-damaged", untrusted, false},
		"an old snapshot is damaged": {func(t *testing.T, c *checked) string { return c.cut(t, manifest.SnapshotObject(2)) }, "fault history-damaged", untrusted, false},
		"a manifest is gone":         {func(t *testing.T, c *checked) string { return c.remove(t, c.the(t, "targets/catalog/", "manifest")) }, "fault target-missing", lost, false},
		"a manifest is damaged":      {func(t *testing.T, c *checked) string { return c.flip(t, c.the(t, "targets/catalog/", "manifest")) }, "fault target-altered", untrusted, false},
		"a manifest of a stage is gone": {func(t *testing.T, c *checked) string {
			return c.remove(t, c.the(t, "targets/ready-to-deploy/", "manifest"))
		}, "fault target-missing", lost, false},
		"an artifact is gone":           {func(t *testing.T, c *checked) string { return c.remove(t, c.the(t, "blobs/", "")) }, "fault blob-missing", lost, false},
		"an artifact is cut":            {func(t *testing.T, c *checked) string { return c.cut(t, c.the(t, "blobs/", "")) }, "fault blob-altered", untrusted, false},
		"a bit of an artifact is wrong": {func(t *testing.T, c *checked) string { return c.flip(t, c.the(t, "blobs/", "")) }, "fault blob-altered", untrusted, true},
		"evidence is gone":              {func(t *testing.T, c *checked) string { return c.remove(t, c.the(t, "evidence/", "")) }, "fault evidence-missing", lost, false},
		"evidence is damaged":           {func(t *testing.T, c *checked) string { return c.flip(t, c.the(t, "evidence/", "")) }, "fault evidence-altered", untrusted, false},
		"the journal is damaged":        {func(t *testing.T, c *checked) string { return c.flip(t, c.the(t, "journal/", "")) }, "fault journal-refused", untrusted, false},
		"the journal is gone":           {func(t *testing.T, c *checked) string { return c.remove(t, "journal/1.json") }, "fault journal-missing", lost, false},
		"the role journal is damaged":   {func(t *testing.T, c *checked) string { c.flip(t, c.current(t, "journal")); return "journal" }, "fault metadata-refused", untrusted, false},
		"targets are gone":              {func(t *testing.T, c *checked) string { c.remove(t, c.current(t, "targets")); return "targets" }, "fault metadata-missing", lost, false},
		"targets are damaged":           {func(t *testing.T, c *checked) string { c.flip(t, c.current(t, "targets")); return "targets" }, "fault metadata-refused", untrusted, false},
		"a root lies in wait for the next rotation": {func(t *testing.T, c *checked) string {
			c.put(t, "metadata/3.root.json", c.object(t, "metadata/1.root.json"))
			return "metadata/3.root.json"
		}, "fault root-ahead", untrusted, false},
		"a report is gone": {func(t *testing.T, c *checked) string {
			return c.remove(t, c.the(t, "reports/acme/staging/openstack/", ""))
		}, "fault report-missing", lost, false},
		"a report is damaged": {func(t *testing.T, c *checked) string {
			return c.flip(t, c.the(t, "reports/acme/staging/openstack/", ""))
		}, "fault report-altered", untrusted, false},
		"a log is gone":           {func(t *testing.T, c *checked) string { return c.remove(t, c.the(t, "reports/enovance/ci/_logs/", "")) }, "fault log-missing", lost, false},
		"a log is cut":            {func(t *testing.T, c *checked) string { return c.cut(t, c.the(t, "reports/enovance/ci/_logs/", "")) }, "fault log-altered", untrusted, false},
		"a bit of a log is wrong": {func(t *testing.T, c *checked) string { return c.flip(t, c.the(t, "reports/enovance/ci/_logs/", "")) }, "fault log-altered", untrusted, true},
		"a gap in a site's reports": {func(t *testing.T, c *checked) string {
			c.report(t, "acme/staging", c.stagingCI, v1, manifest.Passed, func(r *manifest.Report) { r.Sequence++ })
			return "reports/acme/staging/openstack/1.0.0/"
		}, "warning report-gap", "", false},
		"a report of a site nobody registered": {func(t *testing.T, c *checked) string {
			c.report(t, "acme/lab", c.stranger, v1, manifest.Passed, nil)
			return "reports/"
		}, "warning report-site-unknown", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newChecked(t)
			object := c.damage(t, w)
			quick := w.check(t, publisher.CheckRequest{})
			if c.data && bad(quick) != "" {
				t.Errorf("found without reading: %s", bad(quick))
			}
			r := w.check(t, publisher.CheckRequest{ReadData: c.data})
			if got, want := bad(r), c.want+" "+object; got != want {
				t.Errorf("found:\n%s\nwant:\n%s\nnot looked at: %v", got, want, r.Unchecked)
			}
			if r.Lost != (c.how == lost) || r.Untrusted != (c.how == untrusted) || r.Sound() != (c.how == "") {
				t.Errorf("lost %v, untrusted %v, sound %v", r.Lost, r.Untrusted, r.Sound())
			}
			for _, f := range r.Findings {
				if f.Why == "" || f.Severity == publisher.Fault && f.Next == "" {
					t.Errorf("%+v says too little", f)
				}
				if strings.Contains(f.Next, "N.") {
					t.Errorf("the version is known: %+v", f)
				}
				if strings.Contains(f.Next, "kitchen refresh") {
					t.Errorf("a refresh mends nothing in the store: %+v", f)
				}
			}
		})
	}
}

// TestCheckNamesWhatNothingReaches: leftovers are notes with their number and size, and no fault.
func TestCheckNamesWhatNothingReaches(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	before := notes(c.check(t, publisher.CheckRequest{}))
	garbage := []byte("left by somebody\n")
	sha := catalogtest.Digest(garbage)
	for _, key := range []string{manifest.BlobObject(sha), manifest.EvidenceObject(sha), "metadata/99.registry.json", "metadata/7.product.swift.json", "journal/99.json",
		manifest.LogObject(siteID("acme/staging"), sha), "targets/catalog/openstack/9.9.9/" + sha + ".manifest.toml", "targets/registry/" + sha + ".acme.toml",
		"pending/registry.99.0123456789abcdef/proposal.json", "pending/nonsense", "blobs/readme", "zzz/foreign", "a-file"} {
		c.put(t, key, garbage)
		check(t, os.Chtimes(filepath.Join(c.dir, filepath.FromSlash(key)), c.now, c.now))
	}
	c.now = c.now.Add(publisher.DefaultGrace + time.Hour)
	w := c.publisher(t, c.online)
	_, err := w.Commit(ctx)
	check(t, err)
	r := c.check(t, publisher.CheckRequest{})
	if bad(r) != "" || !r.Sound() {
		t.Errorf("leftovers are no faults: %s", bad(r))
	}
	after := notes(r)
	for code, more := range map[string]int{publisher.CodeOrphanBlobs: 1, publisher.CodeOrphanEvidence: 1, publisher.CodeOrphanMetadata: 2, publisher.CodeOrphanJournal: 1,
		publisher.CodeOrphanLogs: 1, publisher.CodeOrphanTargets: 2, publisher.CodePendingLeftovers: 1, publisher.CodeForeign: 4} {
		if got := after[code] - before[code]; got != more {
			t.Errorf("%s: %d more than before, want %d", code, got, more)
		}
		delete(after, code)
	}
	delete(after, publisher.CodeProbes)
	if len(after) > 0 {
		t.Errorf("and what is this: %v", after)
	}
	for _, f := range r.Findings {
		if f.Code == publisher.CodeForeign && (len(f.Objects) != f.Count || !slices.Contains(f.Objects, "zzz/foreign") || !slices.Contains(f.Objects, "a-file") || !strings.Contains(f.Why, ": 4")) {
			t.Errorf("not every foreign name: %+v", f)
		}
		if f.Code == publisher.CodeOrphanBlobs && (f.Bytes != int64(len(garbage)) || !strings.Contains(f.Next, "kitchen prune")) {
			t.Errorf("%+v", f)
		}
	}
}

// TestCheckTellsExpiries: what has expired is a fault, what is about to a warning; the rest is looked at all the same.
func TestCheckTellsExpiries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		later time.Duration
		want  []string
	}{
		{5 * catalogtest.Day, []string{"warning expires-soon timestamp"}},
		{8 * catalogtest.Day, []string{"fault expired timestamp"}},
		{25 * catalogtest.Day, []string{"fault expired timestamp", "warning expires-soon journal", "warning expires-soon snapshot"}},
		{70 * catalogtest.Day, []string{"fault expired journal", "fault expired snapshot", "fault expired timestamp", "warning expires-soon ready-to-deploy.openstack",
			"warning expires-soon recalled.ceph", "warning expires-soon recalled.openstack"}},
		{370 * catalogtest.Day, []string{"fault expired journal", "fault expired product.openstack", "fault expired ready-to-deploy.openstack",
			"fault expired recalled.openstack", "fault expired registry", "fault expired root", "fault expired snapshot", "fault expired targets", "fault expired timestamp", "fault expired validated.openstack"}},
	} {
		w := newChecked(t)
		w.now = w.now.Add(c.later)
		r := w.check(t, publisher.CheckRequest{})
		got := strings.Split(bad(r), "\n")
		got = slices.DeleteFunc(got, func(line string) bool { return line == "warning expires-soon recalled.ceph" })
		want := slices.DeleteFunc(slices.Clone(c.want), func(line string) bool { return line == "warning expires-soon recalled.ceph" })
		if !slices.Equal(got, want) {
			t.Errorf("%s later: %q, want %q", c.later, got, want)
		}
		registered := !strings.Contains(bad(r), "expired registry") // of whom reports count is what an expired one does not say
		if registered != (r.Checked.Reports == 2) || r.Checked.Blobs == 0 || r.Checked.Versions == 0 {
			t.Errorf("%s later: %+v", c.later, r.Checked)
		}
		for _, f := range r.Findings {
			if f.Code != publisher.CodeExpired && f.Code != publisher.CodeExpiresSoon {
				continue
			}
			says(t, f, "kitchen commit")
			if online := f.Object == "timestamp" || f.Object == "snapshot" || f.Object == "journal"; !online {
				says(t, f, "kitchen renew --key FILE")
			}
			if lapsed := strings.Contains(bad(r), "expired root"); lapsed && f.Object != "root" {
				says(t, f, "root comes first")
			}
		}
	}
}

// TestCheckNamesEveryReleaseThatNeedsABlob: what is lost with a shared object is all of them.
func TestCheckNamesEveryReleaseThatNeedsABlob(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.publish(t, "openstack@1.1.0")
	c.publish(t, "openstack@1.2.0")
	for _, key := range c.objects(t) {
		if strings.HasPrefix(key, "blobs/") {
			c.remove(t, key)
		}
	}
	shared := ""
	for _, f := range c.check(t, publisher.CheckRequest{}).Findings {
		if strings.HasPrefix(f.Why, "openstack@1.0.0, openstack@1.1.0 and openstack@1.2.0 need it: artifact ") {
			shared = f.Object
		}
	}
	if shared == "" {
		t.Errorf("no object is said to be shared: %s", bad(c.check(t, publisher.CheckRequest{})))
	}
}

// TestCheckOfOneProduct leaves the others out, and says what it did not look at.
func TestCheckOfOneProduct(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	c.publish(t, "ceph@1.0.0")
	before := c.check(t, publisher.CheckRequest{})
	c.flip(t, c.the(t, "targets/catalog/ceph/", "manifest"))
	r := c.check(t, publisher.CheckRequest{Product: "openstack", ReadData: true})
	if bad(r) != "" || r.Checked.Releases != 1 || r.Checked.Blobs >= before.Checked.Blobs || r.Checked.ReadBytes != r.Checked.BlobBytes+c.logBytes(t) || len(r.Unchecked) == 0 {
		t.Errorf("%s; %+v; %v", bad(r), r.Checked, r.Unchecked)
	}
	if r := c.check(t, publisher.CheckRequest{Product: "ceph"}); !r.Untrusted {
		t.Errorf("of ceph: %s", bad(r))
	}
}

func (w *world) logBytes(t *testing.T) (n int64) {
	t.Helper()
	for _, key := range w.objects(t) {
		if strings.Contains(key, "/_logs/") {
			n += int64(len(w.object(t, key)))
		}
	}
	return n
}

// TestCheckFindsStagesThatDisagree: what two roles say of one release is compared by value.
func TestCheckFindsStagesThatDisagree(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish(v1, catalogtest.Content{})
	w.Validate(v1)
	w.Edit(manifest.RoleValidated("openstack"), func(role *trust.Targets) {
		path := manifest.TargetPath(manifest.StageValidated, release(v1))
		role.Targets[path] = trust.Target{Length: 3, SHA256: catalogtest.Digest([]byte("abc"))}
		w.Put(manifest.TargetObject(path, catalogtest.Digest([]byte("abc"))), []byte("abc"))
	})
	w.Commit()
	p := &publisher.Publisher{Catalog: w.Open(t.TempDir()), Store: w.Store, Now: func() time.Time { return w.Now }, Scratch: t.TempDir()}
	r, err := p.Check(ctx, publisher.CheckRequest{})
	check(t, err)
	if got, want := bad(r), "fault stages-disagree "+v1; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCheckOfAWebStore: what cannot be listed is asked for one by one, and what nobody can know then is said.
func TestCheckOfAWebStore(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	server := httptest.NewServer(http.FileServer(http.Dir(c.dir)))
	defer server.Close()
	store, err := storage.Open(ctx, server.URL, storage.Options{})
	check(t, err)
	c.host = c.over(t, store, nil)
	r := c.check(t, publisher.CheckRequest{ReadData: true})
	if bad(r) != "" || !r.Sound() || r.Checked.Reports != 2 || r.Checked.Logs != 1 || r.Checked.ReadBytes == 0 {
		t.Errorf("%s; %+v", bad(r), r.Checked)
	}
	for _, words := range []string{"blobs/", "reports that the journal has not seen", "names that are none of Kitchen's"} {
		if !strings.Contains(strings.Join(r.Unchecked, "\n"), words) {
			t.Errorf("it does not say that it did not look at %s: %q", words, r.Unchecked)
		}
	}
	blob, log := c.remove(t, c.the(t, "blobs/", "")), c.cut(t, c.the(t, "reports/enovance/ci/_logs/", ""))
	if got, want := bad(c.check(t, publisher.CheckRequest{})), "fault blob-missing "+blob+"\nfault log-altered "+log; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestCheckNamesWhatAKilledWriterLeft: nobody reads it, but it takes room until somebody writes.
func TestCheckNamesWhatAKilledWriterLeft(t *testing.T) {
	t.Parallel()
	c := newChecked(t)
	left := filepath.Join("_store/tmp", rand.Text())
	writer, err := c.store.(storage.Local).Spool(ctx) // its beginning removes what is left, so that it comes first
	check(t, err)
	defer writer.Close()
	write(t, filepath.Join(c.dir, left), strings.Repeat("x", 12345))
	check(t, os.Chtimes(filepath.Join(c.dir, left), c.now, c.now.Add(-3*catalogtest.Day)))
	r := c.check(t, publisher.CheckRequest{})
	f := theFinding(t, r, left)
	if f.Severity != publisher.Note || f.Code != publisher.CodeUploads || f.Bytes != 12345 || !r.Sound() || notes(r)[publisher.CodeUploads] != 1 {
		t.Errorf("%+v; %v", f, notes(r))
	}
	says(t, f, "a writer that was killed", "3 days ago", "the next write to this store removes it")
	c.publish(t, "openstack@1.1.0")
	if n := notes(c.check(t, publisher.CheckRequest{}))[publisher.CodeUploads]; n != 0 {
		t.Errorf("%d left after a write", n)
	}
}
