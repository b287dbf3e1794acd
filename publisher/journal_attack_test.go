package publisher_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// TestAFloodOfGarbageUnderOnePrefix costs a commit a bounded number of reads, keeps nobody else's report out of the
// journal, and is not recorded.
func TestAFloodOfGarbageUnderOnePrefix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	w.report(t, "enovance/ci", w.vendorCI, "openstack@1.0.0", manifest.Passed, nil)
	for i := range 3000 {
		w.put(t, fmt.Sprintf("%s20990101T120000Z-%016x.json", manifest.ReportPrefix(siteID("acme/staging"), release("openstack@1.0.0")), i), []byte("garbage"))
	}
	faults := storagetest.NewFaults(t, w.store)
	result := commit(t, w.over(t, faults, w.online))
	reads := 0
	for _, call := range faults.Calls() {
		if call.Op == "open" && strings.HasPrefix(call.Key, "reports/acme/") {
			reads++
		}
	}
	if passes := 3; reads > passes*200 || result.Journaled < 1 || result.Journaled > 2 {
		t.Errorf("%d objects of the flood were read, %d reports recorded", reads, result.Journaled)
	}
	j, err := w.view(t).Journal(ctx)
	check(t, err)
	reports, err := w.view(t).Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	if latest := reports.Latest(siteID("enovance/ci"), release("openstack@1.0.0")); latest == nil || latest.Seen.IsZero() {
		t.Error("the vendor's report is not recorded")
	}
	if j.Len() > 2 {
		t.Errorf("%d reports are recorded", j.Len())
	}
}

// TestWhatDoesNotVerifyIsNotRecorded: foreign signatures, other products, other bytes.
func TestWhatDoesNotVerifyIsNotRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(t, "openstack@1.0.0")
	w.publish(t, "ceph@1.0.0")
	w.report(t, "acme/staging", w.stranger, "openstack@1.0.0", manifest.Passed, nil)
	w.report(t, "acme/staging", w.stagingCI, "ceph@1.0.0", manifest.Passed, nil) // which acme does not follow
	w.report(t, "enovance/ci", w.vendorCI, "openstack@1.0.0", manifest.Passed, func(r *manifest.Report) { r.ManifestSHA256 = catalogtest.Digest(nil) })
	before := w.view(t).Timestamp().Version
	if result := commit(t, w.publisher(t, w.online)); result.Journaled != 0 || result.Version != before {
		t.Errorf("%+v", result)
	}
	check(t, w.journaled(t, 0))
}

// TestTwoCommittersRecordAtTheSameMoment: every report stands in the journal once, whoever was first.
func TestTwoCommittersRecordAtTheSameMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	for round := range 5 {
		for range 4 {
			w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
		}
		var wg sync.WaitGroup
		results, errs := make([]*publisher.CommitResult, 3), make([]error, 3)
		for i := range results {
			p := w.over(t, openDir(t, w.dir), w.online)
			wg.Go(func() { results[i], errs[i] = p.Commit(ctx) })
		}
		wg.Wait()
		total := 0
		for i, result := range results {
			check(t, errs[i])
			total += result.Journaled
		}
		if total != 4 {
			t.Errorf("round %d: recorded %d times, of 4 reports", round, total)
		}
		check(t, w.journaled(t, 1+4*(round+1)))
	}
}

// TestASegmentThatSomebodyPlanted under the next number is no part of the journal, and is in nobody's way.
func TestASegmentThatSomebodyPlanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	planted := &manifest.JournalSegment{Number: 2, Previous: &manifest.JournalLink{Number: 1, SHA256: catalogtest.Digest(w.object(t, manifest.JournalObject(1)))},
		Seen: w.now, Reports: []manifest.JournalReport{{Path: manifest.ReportObject(siteID("acme/staging"), release("openstack@1.0.0"), w.now, catalogtest.Digest(nil)),
			SHA256: catalogtest.Digest(nil), Size: 1}}}
	data, err := planted.Encode()
	check(t, err)
	w.put(t, manifest.JournalObject(2), data)
	w.put(t, manifest.JournalObject(3), []byte("garbage"))
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	commit(t, w.publisher(t, w.online))
	check(t, w.journaled(t, 2))
	role, err := w.view(t).Role(manifest.RoleJournal)
	check(t, err)
	if head := catalog.JournalHead(role); head.Number != 4 {
		t.Errorf("the newest segment is %d", head.Number)
	}
}

// TestTheJournalIsNoProposal: not even the online key's holder signs one into effect that no commit wrote.
func TestTheJournalIsNoProposal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	id := w.craft(t, crafted{manifest.RoleJournal, func(next *trust.Targets) {
		clear(next.Targets)
		next.Targets[manifest.JournalObject(7)] = trust.Target{Length: 1, SHA256: catalogtest.Digest(nil)}
		next.Expires = w.now.Add(20 * catalogtest.Day)
	}, signers(w.online)})
	result := commit(t, w.publisher(t, w.online))
	if len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, "by commits alone") {
		t.Errorf("%+v", result)
	}
	check(t, w.journaled(t, 1))
}

// TestABrokenJournalStopsNoRecall.
func TestABrokenJournalStopsNoRecall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	write(t, w.dir+"/"+manifest.JournalObject(1), "garbage")
	mustCommit(t)(w.publisher(t, w.online).Recall(ctx, release("openstack@1.0.0"), "CVE", signers(w.engineer)))
}
