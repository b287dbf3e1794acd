package publisher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// journaled says what is wrong with the journal, of which a fresh reader wants so many reports, each with its bytes.
func (w *world) journaled(t *testing.T, count int) error {
	t.Helper()
	v := w.view(t)
	j, err := v.Journal(ctx)
	if err != nil {
		return err
	}
	if j.Len() != count {
		return fmt.Errorf("the journal holds %d reports, want %d", j.Len(), count)
	}
	reports, err := v.Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	for _, r := range reports.All {
		if at, sha, ok := j.Seen(r.Key); ok && (sha != r.SHA256 || at.Before(r.Finished) || !at.Equal(r.Seen)) {
			return fmt.Errorf("%s was seen at %s with %s", r.Key, at, sha)
		}
	}
	return nil
}

// TestACommitRecordsWhatItSees, in the snapshot of whatever else it does, and for reports alone.
func TestACommitRecordsWhatItSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	check(t, w.journaled(t, 0))
	if v := w.view(t); currentVersionOf(v, manifest.RoleJournal) != 0 {
		t.Error("the journal is signed before there is anything in it")
	}
	w.report(t, "enovance/ci", w.vendorCI, "openstack@1.0.0", manifest.Passed, nil)
	before := w.view(t).Timestamp().Version
	mustCommit(t)(w.publisher(t, w.online).Validate(ctx, release("openstack@1.0.0"), signers(w.validator)))
	check(t, w.journaled(t, 1))
	if after := w.view(t).Timestamp().Version; after != before+1 {
		t.Errorf("%d timestamps for one commit", after-before)
	}
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	w.now = w.now.Add(time.Hour)
	if result := commit(t, w.publisher(t, w.online)); result.Journaled != 1 || result.Renewed {
		t.Errorf("%+v", result)
	}
	check(t, w.journaled(t, 2))
	version := w.view(t).Timestamp().Version
	if result := commit(t, w.publisher(t, w.online)); result.Journaled != 0 || result.Version != version {
		t.Errorf("nothing new: %+v", result)
	}
}

func currentVersionOf(v *catalog.View, role string) int64 { return v.Snapshot().Roles[role].Version }

// TestTheJournalIsRenewed before it expires, and goes on after it has.
func TestTheJournalIsRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	head := func() string {
		role, err := w.view(t).Role(manifest.RoleJournal)
		check(t, err)
		return fmt.Sprint(catalog.JournalHead(role))
	}
	first := head()
	for range 8 {
		w.now = w.now.Add(5 * 24 * time.Hour)
		commit(t, w.publisher(t, w.online))
	}
	if now := head(); now != first || currentVersionOf(w.view(t), manifest.RoleJournal) < 2 {
		t.Errorf("%s became %s", first, now)
	}
	w.now = w.now.Add(35 * 24 * time.Hour) // nobody was there
	commit(t, w.publisher(t, w.online))
	check(t, w.journaled(t, 1))
}

// TestManyReportsTakeSeveralSegments, in one commit.
func TestManyReportsTakeSeveralSegments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	for range 250 { // a commit reads 200 of a site for each segment
		w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	}
	if result := commit(t, w.publisher(t, w.online)); result.Journaled != 250 {
		t.Errorf("%d of 250", result.Journaled)
	}
	check(t, w.journaled(t, 251))
}
