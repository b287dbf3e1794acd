package catalog_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// elsewhere makes the bucket of another reader: objects can differ there.
func elsewhere(t *testing.T, w *catalogtest.World) *catalogtest.World {
	t.Helper()
	store, err := storage.Open(ctx, "file://"+copyOf(t, bucketPath(w, "")), storage.Options{})
	check(t, err)
	other := *w
	other.T, other.Store = t, store
	other.Roles, other.RoleKeys, other.Files = maps.Clone(w.Roles), maps.Clone(w.RoleKeys), maps.Clone(w.Files)
	for name, role := range other.Roles {
		other.Roles[name] = role.Clone()
	}
	other.Snapshot = w.Snapshot.Clone()
	return &other
}

// TestTwoReadersShownDifferentBytesOfOneRoleVersion: nobody can tell while each sees his own. The first thing that
// both see convicts: who saw the other bytes refuses the whole snapshot, and shows both digests.
func TestTwoReadersShownDifferentBytesOfOneRoleVersion(t *testing.T) {
	t.Parallel()
	for _, role := range delegated {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w := certified(t)
			fork := elsewhere(t, w)
			change := func(life time.Duration) func(*trust.Targets) {
				return func(all *trust.Targets) { all.Expires = w.Now.Add(life) }
			}
			next(w, role, change(20*catalogtest.Day), w.RoleKeys[role]...)
			w.CommitOnline()
			next(fork, role, change(30*catalogtest.Day), fork.RoleKeys[role]...)
			fork.CommitOnline()
			one, other, lost := t.TempDir(), t.TempDir(), t.TempDir()
			refresh(t, w, one)
			refresh(t, fork, other)
			refresh(t, fork, lost)
			forgetFiles(t, lost)

			w.CommitOnline()
			refresh(t, w, one)
			for _, dir := range []string{other, lost} {
				_, err := w.Open(dir).Refresh(ctx)
				wantKind(t, err, trust.SameVersion)
				for _, want := range []string{role, catalogtest.Digest(w.Files[role]), catalogtest.Digest(fork.Files[role]), "version "} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not show %s", err, want)
					}
				}
			}
		})
	}
}

// TestTwoReadersShownDifferentCatalogs under the same numbers of timestamp and snapshot: neither is taken by who saw
// the other one.
func TestTwoReadersShownDifferentCatalogs(t *testing.T) {
	t.Parallel()
	w := certified(t)
	fork := elsewhere(t, w)
	w.Validate("openstack@1.1.0")
	fork.CommitOnline()
	one, other := t.TempDir(), t.TempDir()
	refresh(t, w, one)
	refresh(t, fork, other)
	for _, c := range []struct {
		at  *catalogtest.World
		dir string
	}{{w, other}, {fork, one}} {
		_, err := c.at.Open(c.dir).Refresh(ctx)
		wantKind(t, err, trust.SameVersion)
		var refused *trust.Error
		if errors.As(err, &refused); !strings.Contains(refused.Hint(), "vendor") || refused.Have == refused.Want {
			t.Errorf("%v: %s", err, refused.Hint())
		}
	}
}

// TestForkThatIsHealedByHigherNumbers shows what remains possible: once every number has grown, a reader of the fork is
// led back and cannot tell by numbers. What counts was remembered all the same: releases, recalls.
func TestForkThatIsHealedByHigherNumbers(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	fork := elsewhere(t, w)
	fork.Recall("openstack@1.0.0", "shown to one reader alone")
	refresh(t, fork, dir)
	next(w, "recalled.openstack", nothing, w.RoleKeys["recalled.openstack"]...)
	next(w, "recalled.openstack", nothing, w.RoleKeys["recalled.openstack"]...)
	w.CommitOnline()
	w.CommitOnline()
	v := refresh(t, w, dir)
	wantRoleKind(t, v, "recalled.openstack", trust.Missing)
	recall, err := v.Recall(release("openstack@1.0.0"))
	if err != nil || recall == nil {
		t.Fatalf("the recall is forgotten: %v", err)
	}
}

// TestRepublishedReleaseShowsBothDigests, whichever role shows the other bytes, with and without the files.
func TestRepublishedReleaseShowsBothDigests(t *testing.T) {
	t.Parallel()
	for _, role := range delegated[:4] {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w, version := certified(t), map[bool]string{true: "1.1.0", false: "1.0.0"}[role == "recalled.openstack"]
			dir, lost := t.TempDir(), t.TempDir()
			refresh(t, w, dir)
			refresh(t, w, lost)
			path := manifest.TargetPath(manifest.RoleStage(role), manifest.Release{Product: "openstack", Version: version})
			honest := w.Roles[role].Targets[path].SHA256
			w.Edit(role, func(all *trust.Targets) {
				target := all.Targets[path]
				target.SHA256 = catalogtest.Digest([]byte("other bytes"))
				all.Targets[path] = target
			})
			w.Commit()
			forgetFiles(t, lost)
			for _, dir := range []string{dir, lost} {
				_, err := refresh(t, w, dir).Role(role)
				wantKind(t, err, trust.Mismatch)
				for _, want := range []string{path, honest, catalogtest.Digest([]byte("other bytes")), "a release never changes"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not show %s", err, want)
					}
				}
			}
		})
	}
}

// TestRecallHiddenFromAFreshHost: the holder of the online key can show who comes fresh an older list of recalls, which
// is right in itself. A certificate that was signed after the recall gives it away: it says which version its signers
// saw (fetcher.TestReady holds the gate to it). Who saw the recall refuses the whole snapshot.
func TestRecallHiddenFromAFreshHost(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir() // 1.1.0 is recalled by version 2, 1.0.0 certified after that
	refresh(t, w, dir)
	w.PutRole("recalled.openstack", 1, w.Object(manifest.RoleObject("recalled.openstack", 1)))
	w.CommitOnline()
	wantRefusal(t, w, dir, trust.Rollback)

	fresh := w.View()
	if recall, err := fresh.Recall(release("openstack@1.1.0")); err != nil || recall != nil {
		t.Fatalf("the fresh host sees %v, %v: the attack is not what it was", recall, err)
	}
	certificate, err := fresh.RoleTarget("ready-to-deploy.openstack", release("openstack@1.0.0"))
	check(t, err)
	signed, err := catalog.RecalledVersion(certificate)
	check(t, err)
	recalls, err := fresh.Role("recalled.openstack")
	check(t, err)
	if signed <= recalls.Version {
		t.Fatalf("the certificate's signers saw version %d, here is %d", signed, recalls.Version)
	}
}

// TestRecallsNeverSigned: a product without a list of recalls is not one without recalls.
func TestRecallsNeverSigned(t *testing.T) {
	t.Parallel()
	w := catalogtest.New(t)
	w.Delegate("product.openstack", 1, catalogtest.NewKey(t))
	w.Delegate("recalled.openstack", 1, catalogtest.NewKey(t))
	w.Commit()
	w.Publish("openstack@1.0.0", catalogtest.Content{})
	if recall, err := w.View().Recall(release("openstack@1.0.0")); err == nil || recall != nil {
		t.Fatalf("not recalled, says a role that is not there: %v", err)
	}
}

// TestTimestampSignedAgainUnderTheSameVersion: one number, two contents, both by the right key; whichever a host saw
// first, the other one is refused and the first still serves.
func TestTimestampSignedAgainUnderTheSameVersion(t *testing.T) {
	t.Parallel()
	w := certified(t)
	first, dir, reverse := w.TimestampFile, t.TempDir(), t.TempDir()
	refresh(t, w, dir)
	w.TimestampNo--
	w.CommitOnline()
	second := w.TimestampFile
	refresh(t, w, reverse)
	for range 2 {
		w.SwapTimestamp(second)
		wantRefusal(t, w, dir, trust.SameVersion)
		w.SwapTimestamp(first)
		refresh(t, w, dir)
		wantRefusal(t, w, reverse, trust.SameVersion)
	}
}

// TestSignaturesAddedToATimestamp change the file and not what it says: it is no second content of its version.
func TestSignaturesAddedToATimestamp(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	payload, sigs, err := trust.ParseEnvelope(w.TimestampFile)
	check(t, err)
	more, err := trust.Sign(ctx, payload, catalogtest.NewKey(t))
	check(t, err)
	file, err := trust.Envelope(payload, append(sigs, more))
	check(t, err)
	w.SwapTimestamp(file)
	refresh(t, w, dir)
}

// TestAnotherRootOfTheSameVersion: two roots of one number, both signed by the holders. A host that saw one refuses the
// other, even when it lost its copy.
func TestAnotherRootOfTheSameVersion(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	fork := elsewhere(t, w)
	w.Root = w.Root.Clone()
	w.NewRoot(w.RootKeys[:2]...)
	refresh(t, w, dir)
	fork.Now = fork.Now.Add(time.Second)
	fork.Root = fork.Root.Clone()
	fork.NewRoot(fork.RootKeys[1:]...)
	refresh(t, fork, dir) // its own copy serves
	check(t, removeAll(dir, "root/2.root.json"))
	_, err := fork.Open(dir).Refresh(ctx)
	wantKind(t, err, trust.SameVersion)
	for _, want := range []string{catalogtest.Digest(w.RootFile), catalogtest.Digest(fork.RootFile), "root"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not show %s", err, want)
		}
	}
}
