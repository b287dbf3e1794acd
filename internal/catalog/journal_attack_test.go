package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// journaledWorld has a journal of three segments: the vendor's PASSED, acme/staging's PASSED, and its FAILED.
func journaledWorld(t *testing.T) (w *catalogtest.World, paths []string) {
	t.Helper()
	w = published(t)
	w.Validate(on.String())
	for _, report := range [][2]string{{"enovance/ci", manifest.Passed}, {"acme/staging", manifest.Passed}, {"acme/staging", manifest.Failed}} {
		paths = append(paths, w.Report(report[0], on.String(), report[1], nil))
		w.Journal(paths[len(paths)-1])
	}
	return w, paths
}

// journalOf is what a host with this state directory reads.
func journalOf(t *testing.T, w *catalogtest.World, dir string) (*catalog.Journal, error) {
	t.Helper()
	return refresh(t, w, dir).Journal(ctx)
}

// again is the segment that w made under a number, to be spoilt.
func again(t *testing.T, w *catalogtest.World, number int64) *manifest.JournalSegment {
	t.Helper()
	s, err := manifest.ParseJournalSegment(w.Object(manifest.JournalObject(number)))
	check(t, err)
	return s
}

func TestTheJournalRolledBack(t *testing.T) {
	w, _ := journaledWorld(t)
	dir := t.TempDir()
	if j, err := journalOf(t, w, dir); err != nil || j.Number != 3 || j.Len() != 3 {
		t.Fatalf("%+v, %v", j, err)
	}
	w.HeadJournal(2, w.Object(manifest.JournalObject(2))) // by a thief of the online key
	v := refresh(t, w, dir)
	wantRoleKind(t, v, manifest.RoleJournal, trust.Rollback)
	_, err := v.Reports(ctx, catalog.ReportFilter{})
	wantKind(t, err, trust.Rollback)
	if stage := stages(t, v)["1.0.0"]; stage != manifest.StageValidated {
		t.Errorf("the release is %q: the journal's trouble is its own", stage)
	}
	s := again(t, w, 3)
	s.Reports[0].Size++
	data, err := s.Encode()
	check(t, err)
	w.HeadJournal(3, data) // the same number, other content
	wantRoleKind(t, refresh(t, w, dir), manifest.RoleJournal, trust.SameVersion)
}

func TestTheJournalForked(t *testing.T) {
	w, _ := journaledWorld(t)
	dir := t.TempDir()
	_, err := journalOf(t, w, dir)
	check(t, err)
	other := again(t, w, 3)
	other.Number, other.Previous.Number, other.Previous.SHA256 = 4, 2, catalogtest.Digest(w.Object(manifest.JournalObject(2)))
	w.PutSegment(other) // goes on from the second: the FAILED of the third was never seen
	_, err = refresh(t, w, dir).Reports(ctx, catalog.ReportFilter{})
	wantKind(t, err, trust.SameVersion)
	if !strings.Contains(err.Error(), "rewritten") {
		t.Error(err)
	}
	_, err = refresh(t, w, dir).Reports(ctx, catalog.ReportFilter{}) // and it stays so
	wantKind(t, err, trust.SameVersion)
}

// TestTheJournalRewrittenBeneath: the newest segment is honest, and one beneath is not the one that this host read.
func TestTheJournalRewrittenBeneath(t *testing.T) {
	w, _ := journaledWorld(t)
	dir := t.TempDir()
	_, err := journalOf(t, w, dir)
	check(t, err)
	first := &manifest.JournalSegment{Number: 4, Seen: w.Now, Reports: again(t, w, 1).Reports}
	w.PutSegment(first) // a new beginning, without anything of acme's
	_, err = journalOf(t, w, dir)
	wantKind(t, err, trust.SameVersion)
	if j, err := journalOf(t, w, t.TempDir()); err != nil || j.Len() != 1 {
		t.Errorf("a host that never saw the catalog has nothing to hold it to: %v", err)
	}
}

func TestASegmentOfTheJournalExchangedOrGone(t *testing.T) {
	for name, spoil := range map[string]struct {
		do   func(t *testing.T, w *catalogtest.World, key string)
		kind trust.Kind
	}{
		"exchanged": {func(t *testing.T, w *catalogtest.World, key string) {
			overwrite(t, w, key, w.Object(manifest.JournalObject(1)))
		}, trust.Mismatch},
		"cut": {func(t *testing.T, w *catalogtest.World, key string) { overwrite(t, w, key, w.Object(key)[:100]) }, trust.Mismatch},
		"longer": {func(t *testing.T, w *catalogtest.World, key string) {
			overwrite(t, w, key, append(w.Object(key), '\n'))
		}, trust.Mismatch},
		"empty": {func(t *testing.T, w *catalogtest.World, key string) { overwrite(t, w, key, nil) }, trust.Mismatch},
		"gone":  {remove, trust.Missing},
	} {
		for _, number := range []int64{2, 3} { // in the chain, and the newest
			t.Run(fmt.Sprintf("%d %s", number, name), func(t *testing.T) {
				t.Parallel()
				w, _ := journaledWorld(t)
				dir := t.TempDir()
				_, err := journalOf(t, w, dir)
				check(t, err)
				spoil.do(t, w, manifest.JournalObject(number))
				_, err = w.View().Reports(ctx, catalog.ReportFilter{})
				wantKind(t, err, spoil.kind)
				if j, err := journalOf(t, w, dir); err != nil || j.Len() != 3 {
					t.Errorf("a host that has it is not concerned: %v", err)
				}
			})
		}
	}
}

// TestSegmentsThatDoNotHoldTogether are signed by the online key, and are no journal all the same.
func TestSegmentsThatDoNotHoldTogether(t *testing.T) {
	for name, spoil := range map[string]func(w *catalogtest.World, s *manifest.JournalSegment) []byte{
		"from the future": func(w *catalogtest.World, s *manifest.JournalSegment) []byte {
			s.Seen = s.Seen.Add(time.Hour)
			return nil
		},
		"before its own": func(w *catalogtest.World, s *manifest.JournalSegment) []byte {
			s.Seen = s.Seen.Add(-time.Hour)
			return nil
		},
		"of other number": func(w *catalogtest.World, s *manifest.JournalSegment) []byte {
			return w.Object(manifest.JournalObject(2))
		},
		"not canonical": func(w *catalogtest.World, s *manifest.JournalSegment) []byte {
			return append(w.Object(manifest.JournalObject(3)), ' ')
		},
		"no JSON": func(*catalogtest.World, *manifest.JournalSegment) []byte { return []byte("garbage") },
		"a schema of next": func(w *catalogtest.World, s *manifest.JournalSegment) []byte {
			return bytes.Replace(w.Object(manifest.JournalObject(3)), []byte("journal/v1"), []byte("journal/v2"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := journaledWorld(t)
			s := again(t, w, 3)
			data := spoil(w, s)
			if data == nil {
				var err error
				data, err = s.Encode()
				check(t, err)
			}
			overwrite(t, w, manifest.JournalObject(3), data)
			w.HeadJournal(3, data)
			_, err := w.View().Journal(ctx)
			wantKind(t, err, trust.Malformed)
		})
	}
}

func TestARoleJournalOfAnotherShape(t *testing.T) {
	w, _ := journaledWorld(t)
	for name, edit := range map[string]func(*trust.Targets){
		"two segments": func(r *trust.Targets) { r.Targets[manifest.JournalObject(9)] = r.Targets[manifest.JournalObject(3)] },
		"none":         func(r *trust.Targets) { clear(r.Targets) },
		"no segment": func(r *trust.Targets) {
			clear(r.Targets)
			r.Targets["journal/x.json"] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil)}
		},
	} {
		good := w.Roles[manifest.RoleJournal].Clone()
		w.Edit(manifest.RoleJournal, edit)
		t.Log(name)
		w.Commit()
		wantRoleKind(t, w.View(), manifest.RoleJournal, trust.Malformed)
		good.Version = w.Roles[manifest.RoleJournal].Version
		w.Edit(manifest.RoleJournal, func(r *trust.Targets) { r.Targets = good.Targets })
		w.Commit()
	}
}

// TestACustomerDeletesItsFailedReport, and is not rid of it: whoever has seen it still knows it, and everybody else
// sees that something is gone. Nobody takes the PASSED of before for the last word.
func TestACustomerDeletesItsFailedReport(t *testing.T) {
	w, paths := journaledWorld(t)
	dir := t.TempDir()
	_, err := refresh(t, w, dir).Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	remove(t, w, paths[2])
	for host, want := range map[string]string{dir: "its latest report is FAILED; a report of it that the journal saw is vanished", t.TempDir(): "a report of it that the journal saw is vanished"} {
		v := refresh(t, w, host)
		r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
		check(t, err)
		wantUnmet(t, v, r, staging, want)
		if len(r.Rejected) != 1 || r.Rejected[0].Key != paths[2] || !strings.Contains(r.Rejected[0].Reason, "vanished since the journal saw it") {
			t.Errorf("told: %q", r.Rejected)
		}
		wantVerdict(t, v, r, staging, map[bool]string{true: manifest.Failed, false: "VANISHED"}[host == dir], catalog.Vanished)
	}
}

// wantVerdict is what the matrix shows of a site.
func wantVerdict(t *testing.T, v *catalog.View, r *catalog.Reports, site manifest.SiteID, verdict string, lost catalog.Lost) {
	t.Helper()
	rows, err := v.ReleaseStatus(ctx, on, r)
	check(t, err)
	for _, row := range rows {
		if row.Site == site.String() {
			if row.Verdict != verdict || row.Lost != lost || row.Gap != (lost != "") {
				t.Errorf("%s shows as %q, %q, gap %t; want %q, %q", site, row.Verdict, row.Lost, row.Gap, verdict, lost)
			}
			return
		}
	}
	t.Errorf("%s does not show", site)
}

// TestACustomerOverwritesItsReport: by garbage, of the same size or not, or by another good report.
func TestACustomerOverwritesItsReport(t *testing.T) {
	w := published(t)
	w.Validate(on.String())
	path := w.Report(ci.String(), on.String(), manifest.Passed, nil)
	w.Journal(path)
	dir := t.TempDir()
	v := refresh(t, w, dir)
	r, err := v.Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	wantUnmet(t, v, r, ci, "")
	good := w.Object(path)
	other := draft(w, ci)
	other.Result = manifest.Failed
	for name, bytes := range map[string][]byte{"same size": bytes.ToUpper(good), "shorter": good[:10], "longer": append(good[:len(good):len(good)], ' '),
		"another report": w.SignReport(other, w.SiteKeys[ci])} {
		overwrite(t, w, path, bytes)
		for _, host := range []string{dir, t.TempDir()} {
			v := refresh(t, w, host)
			r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
			check(t, err)
			wantUnmet(t, v, r, ci, "a report of it that the journal saw is altered")
			wantVerdict(t, v, r, ci, "ALTERED", catalog.Altered)
			if len(r.Rejected) != 1 || !strings.Contains(r.Rejected[0].Reason, "altered since") {
				t.Errorf("%s: %q", name, r.Rejected)
			}
		}
	}
	overwrite(t, w, path, good)
	v = refresh(t, w, dir)
	r, err = v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	wantUnmet(t, v, r, ci, "")
}

// TestAStolenRetiredKeyReports: what a retired key signs does not count, whatever time it says, even where a careless
// committer records it; what it signed while it was good does.
func TestAStolenRetiredKeyReports(t *testing.T) {
	for name, ago := range map[string]time.Duration{"now": 0, "back-dated": 23 * time.Hour, "before all others": 48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := published(t)
			w.Validate(on.String())
			honest := w.Report(ci.String(), on.String(), manifest.Failed, nil)
			w.Journal(honest)
			w.Now = w.Now.Add(catalogtest.Day)
			site := &w.Registry["enovance"].Sites[0]
			site.Keys[0].ValidTo = w.Now
			site.Keys = append(site.Keys, manifest.SiteKey{Public: catalogtest.NewKey(t).Public().PEM(), ValidFrom: w.Now})
			w.Register()
			forged := draft(w, ci)
			forged.Started, forged.Finished = w.Now.Add(-ago), w.Now.Add(-ago)
			forged.Sequence, forged.Previous = 2, catalogtest.Digest(w.Object(honest))
			key := place(t, w, forged, w.SignReport(forged, w.SiteKeys[ci]))
			v, r := reportsOn(t, w)
			wantRejected(t, r, key, "is not valid now, and the journal has not seen it before")
			wantUnmet(t, v, r, ci, "FAILED")
			w.Journal(key)
			v, r = reportsOn(t, w)
			wantRejected(t, r, key, "was not valid on")
			wantUnmet(t, v, r, ci, "FAILED")
		})
	}
}

// TestABackDatedReport of a good key counts from when it was seen: it does not come before a retirement.
func TestABackDatedReport(t *testing.T) {
	w := published(t)
	w.Validate(on.String())
	old := draft(w, ci)
	old.Started, old.Finished = w.Now.Add(-365*catalogtest.Day), w.Now.Add(-365*catalogtest.Day)
	key := place(t, w, old, w.SignReport(old, w.SiteKeys[ci]))
	w.Now = w.Now.Add(time.Hour)
	w.Journal(key)
	_, r := reportsOn(t, w)
	if latest := r.Latest(ci, on); latest == nil || !latest.Seen.Equal(w.Now) {
		t.Fatalf("%+v", latest)
	}
	w.Registry["enovance"].Sites[0].Keys[0].CompromisedSince = w.Now.Add(-time.Minute) // long after it says it was made
	w.Register()
	_, r = reportsOn(t, w)
	wantRejected(t, r, key, "counts as compromised since")
}

// forbidding is a store that hides some objects by saying that they may not be read.
type forbidding struct {
	storage.Store
	prefix string
	lists  bool // it forbids listing, too
}

func (f *forbidding) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	if !f.lists || !strings.HasPrefix(prefix, f.prefix) {
		return f.Store.List(ctx, prefix, after)
	}
	return func(yield func(storage.Info, error) bool) {
		yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: storage.ErrForbidden})
	}
}

func (f *forbidding) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, storage.Info, error) {
	if strings.HasPrefix(key, f.prefix) {
		return nil, storage.Info{}, &storage.Error{Op: "open", Key: key, Err: storage.ErrForbidden}
	}
	return f.Store.Open(ctx, key, offset, length)
}

// TestAJournalThatIsWithheld: nobody certifies without it, and reports are held to the keys that are valid now.
func TestAJournalThatIsWithheld(t *testing.T) {
	w, _ := journaledWorld(t)
	v := through(t, w, &forbidding{Store: w.Store, prefix: "journal/"})
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	if !errors.Is(r.NoJournal, storage.ErrForbidden) || len(r.All) != 3 || !r.All[0].Seen.IsZero() {
		t.Errorf("%v, %d reports", r.NoJournal, len(r.All))
	}
	assessment, err := v.Certification(ctx, on, catalog.Question{}, r)
	check(t, err)
	unmet := assessment.All(nil)
	if len(unmet) == 0 || unmet[0].Requirement != "the journal" {
		t.Errorf("%q", unmet)
	}
	// A single report that is withheld is a hole, not a pass.
	v = through(t, w, &forbidding{Store: w.Store, prefix: "reports/enovance/"})
	r, err = v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	wantVerdict(t, v, r, ci, "WITHHELD", catalog.Withheld)
	wantUnmet(t, v, r, ci, "a report of it that the journal saw is withheld")
	// To who may neither list nor read another's reports they show as withheld, without a word for each.
	v = through(t, w, &forbidding{Store: w.Store, prefix: "reports/acme/", lists: true})
	r, err = v.Reports(ctx, catalog.ReportFilter{Known: true})
	check(t, err)
	if len(r.Unlisted) != 3 || len(r.Rejected) != 0 || len(r.All) != 1 {
		t.Errorf("unlisted %v, rejected %q", r.Unlisted, r.Rejected)
	}
	wantVerdict(t, v, r, staging, "WITHHELD", catalog.Withheld)
}

// TestAnEndlessSegmentBeneath the newest, of which nobody has said how long it is.
func TestAnEndlessSegmentBeneath(t *testing.T) {
	w, _ := journaledWorld(t)
	key := manifest.JournalObject(2)
	c, store := spoilt(t, w, key, false)
	v, err := c.Refresh(ctx)
	check(t, err)
	_, err = v.Journal(ctx)
	wantKind(t, err, trust.Mismatch)
	if got, most := store.read.Load(), 2*(limit(t, key)+1); got > most { // once ahead of time, once because it is in the chain
		t.Errorf("%d bytes were read, at most %d were to be", got, most)
	}
}
