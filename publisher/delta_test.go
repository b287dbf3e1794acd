package publisher_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

func TestDeltasFromEarlierReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, cached := range []bool{false, true, true, false} {
		p := w.publisher(t, w.online)
		if cached {
			p.Cache = filepath.Join(w.dir, "..", "cache")
		}
		_, err := p.Publish(ctx, source(t, fmt.Sprintf("openstack@%d.0.0", i+1), map[string]string{"disk": image(i)}), signers(w.engineer))
		check(t, err)
	}
	for i, want := range []int{0, 1, 2, 2} {
		a := &w.manifestOf(t, fmt.Sprintf("openstack@%d.0.0", i+1)).Artifacts[0]
		if len(a.Deltas) != want {
			t.Fatalf("release %d has %d deltas, want %d", i+1, len(a.Deltas), want)
		}
		for n, d := range a.Deltas {
			old := image(i - 1 - n)
			if sum := sha256.Sum256([]byte(old)); d.From != hex.EncodeToString(sum[:]) {
				t.Errorf("delta %d of release %d is from another", n, i+1)
			}
			if s := w.wantContent(t, a, old, image(i)); s.Moved != d.Size || s.Requests != 1 {
				t.Errorf("delta %d of release %d: %+v", n, i+1, s)
			}
		}
	}
	p := w.publisher(t, w.online)
	p.Packing.DeltaFrom = []string{"1.0.0"}
	_, err := p.Publish(ctx, source(t, "openstack@5.0.0", map[string]string{"disk": image(6)}), signers(w.engineer))
	check(t, err)
	if a := w.manifestOf(t, "openstack@5.0.0").Artifacts[0]; len(a.Deltas) != 1 {
		t.Errorf("--delta-from: %+v", a.Deltas)
	}
	p.Packing = publisher.Packing{NoDeltas: true}
	_, err = p.Publish(ctx, source(t, "openstack@6.0.0", map[string]string{"disk": image(7)}), signers(w.engineer))
	check(t, err)
	if a := w.manifestOf(t, "openstack@6.0.0").Artifacts[0]; len(a.Deltas) != 0 {
		t.Errorf("--no-delta: %+v", a.Deltas)
	}
	p.Packing = publisher.Packing{DeltaFrom: []string{"9.9.9"}}
	_, err = p.Publish(ctx, source(t, "openstack@7.0.0", map[string]string{"disk": image(8)}), signers(w.engineer))
	wantError[*publisher.Invalid](t, err, "9.9.9", "not an earlier release that is published")
	_, err = p.Plan(ctx, source(t, "openstack@7.0.0", map[string]string{"disk": image(8)}), signers(w.engineer)...)
	wantError[*publisher.Invalid](t, err, "9.9.9", "not an earlier release that is published")
}

// TestDeltasLeadFromWhatHasTheArtifact: releases without it, or with the same bytes as another, are none of the two published last; and
// a compressed one from which a delta leads is nothing to complain of.
func TestDeltasLeadFromWhatHasTheArtifact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	publish := func(version, path string, edits int) (*manifest.Artifact, string) {
		t.Helper()
		out, err := p.Publish(ctx, source(t, "openstack@"+version, map[string]string{path: image(edits)}), signers(w.engineer))
		check(t, err)
		return &w.manifestOf(t, "openstack@"+version).Artifacts[0], strings.Join(out.Summary, "\n")
	}
	publish("1.0.0", "disk.xz", 0)
	publish("1.1.0", "disk.xz", 1)
	publish("1.1.1", "disk.xz", 1)
	publish("1.1.2", "disk.xz", 1)
	publish("1.1.3", "fix.sh", 3)
	publish("1.1.4", "fix.sh", 4)
	a, said := publish("2.0.0", "disk.xz", 2)
	if len(a.Deltas) != 2 {
		t.Fatalf("%d deltas: %s", len(a.Deltas), said)
	}
	for n, old := range []int{1, 0} {
		if s := w.wantContent(t, a, image(old), image(2)); s.Moved != a.Deltas[n].Size || s.Requests != 1 {
			t.Errorf("from edition %d: %+v", old, s)
		}
	}
	if strings.Contains(said, "is compressed") || strings.Count(said, "a delta of") != 2 || !strings.Contains(said, "from 1.1.2") {
		t.Errorf("it says %s", said)
	}
}

// TestASharedArtifactGetsItsDeltas: bytes that an earlier release stored are not stored again, but whoever has a release that
// came between gets there by a delta as to any other; the deltas that led to them before still do.
func TestASharedArtifactGetsItsDeltas(t *testing.T) {
	t.Parallel()
	for name, network := range map[string]bool{"in a directory": false, "over a network": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var store storage.Store = w.store
			if network {
				store = overNetwork{store}
			}
			p := w.over(t, store, w.online)
			publish := func(version string, edits int) *manifest.Artifact {
				t.Helper()
				_, err := p.Publish(ctx, source(t, "openstack@"+version, map[string]string{"disk": image(edits)}), signers(w.engineer))
				check(t, err)
				return &w.manifestOf(t, "openstack@"+version).Artifacts[0]
			}
			publish("1.0.0", 0)
			second := publish("2.0.0", 1)
			publish("3.0.0", 2)
			again := publish("4.0.0", 1)
			if again.Stored != second.Stored || len(again.Deltas) != 2 {
				t.Fatalf("stored as %+v, with %d deltas", again.Stored, len(again.Deltas))
			}
			for _, old := range []int{0, 2} {
				if s := w.wantContent(t, again, image(old), image(1)); s.Requests != 1 || s.Ranged != 0 {
					t.Errorf("from edition %d: %+v", old, s)
				}
			}
			p.Packing = publisher.Packing{DeltaFrom: []string{"1.0.0"}}
			if a := publish("5.0.0", 2); len(a.Deltas) != 2 {
				t.Errorf("--delta-from: %d deltas", len(a.Deltas))
			}
			p.Packing = publisher.Packing{NoDeltas: true}
			if a := publish("6.0.0", 0); len(a.Deltas) != 0 {
				t.Errorf("--no-delta: %d deltas", len(a.Deltas))
			}
		})
	}
}
