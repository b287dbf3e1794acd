package catalog_test

import (
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// delegated are the roles of a certified release: each must be held to the same rules, whatever it is for.
var delegated = []string{"product.openstack", "validated.openstack", "ready-to-deploy.openstack", "recalled.openstack", "registry"}

// certified is a small World with 1.0.0 validated and certified and 1.1.0 recalled: every delegated role lists something.
func certified(t *testing.T) *catalogtest.World {
	t.Helper()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish("openstack@1.0.0", catalogtest.Content{})
	w.Validate("openstack@1.0.0")
	w.Publish("openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0"}})
	w.Recall("openstack@1.1.0", "CVE")
	w.Certify("openstack@1.0.0")
	return w
}

// next is the next version of a role's content, signed by the given keys and listed, but not committed.
func next(w *catalogtest.World, role string, change func(*trust.Targets), signers ...*catalogtest.Key) {
	w.T.Helper()
	t := w.Roles[role].Clone()
	t.Version++
	change(t)
	w.Roles[role] = t
	w.PutRole(role, t.Version, w.Seal(t, signers...))
}

func nothing(*trust.Targets) {}

// roleFaults spoil one delegated role each, in a snapshot that is right in itself.
var roleFaults = []struct {
	name string
	kind trust.Kind
	play func(t *testing.T, w *catalogtest.World, role string)
}{
	{"expired", trust.Expired, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, func(all *trust.Targets) { all.Expires = w.Now }, w.RoleKeys[role]...)
	}},
	{"not signed", trust.BadSignature, func(t *testing.T, w *catalogtest.World, role string) { next(w, role, nothing) }},
	{"signed by a stranger", trust.BadSignature, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, catalogtest.NewKey(t))
	}},
	{"signed by the online key", trust.BadSignature, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.Online)
	}},
	{"content changed after it was signed", trust.BadSignature, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.RoleKeys[role]...)
		file := strings.Replace(string(w.Files[role]), `"length":`, `"length":1`, 1)
		overwrite(t, w, manifest.RoleObject(role, w.Roles[role].Version), []byte(file))
		w.Snapshot.Roles[role] = trust.MetaOf(w.Roles[role].Version, []byte(file))
	}},
	{"below its threshold", trust.Threshold, func(t *testing.T, w *catalogtest.World, role string) {
		signers := w.RoleKeys[role]
		w.Delegate(role, 2, signers[0], catalogtest.NewKey(t))
		next(w, role, nothing, signers[0])
		w.Commit()
	}},
	{"other bytes of the same length", trust.Mismatch, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.RoleKeys[role]...)
		file := strings.ToUpper(string(w.Files[role]))
		overwrite(t, w, manifest.RoleObject(role, w.Roles[role].Version), []byte(file))
	}},
	{"longer than listed", trust.Mismatch, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.RoleKeys[role]...)
		overwrite(t, w, manifest.RoleObject(role, w.Roles[role].Version), append(w.Files[role], ' '))
	}},
	{"shorter than listed", trust.Mismatch, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.RoleKeys[role]...)
		file := w.Files[role]
		overwrite(t, w, manifest.RoleObject(role, w.Roles[role].Version), file[:len(file)-1])
	}},
	{"of another version than listed", trust.Mismatch, func(t *testing.T, w *catalogtest.World, role string) {
		w.Roles[role].Version++
		w.PutRole(role, w.Roles[role].Version, w.Files[role])
	}},
	{"withheld", trust.Missing, func(t *testing.T, w *catalogtest.World, role string) {
		next(w, role, nothing, w.RoleKeys[role]...)
		remove(t, w, manifest.RoleObject(role, w.Roles[role].Version))
	}},
}

// TestEveryDelegatedRoleIsHeldToTheRules: each fault of each role is an error of that role alone, for who comes fresh
// and for who has an older, good copy of it; the older copy does not stand in. The next good version heals it.
func TestEveryDelegatedRoleIsHeldToTheRules(t *testing.T) {
	t.Parallel()
	for _, role := range delegated {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w, old := certified(t), t.TempDir()
			refresh(t, w, old)
			signers := w.RoleKeys[role]
			authority := w.Targets.Clone()
			for _, fault := range roleFaults {
				life := w.Roles[role].Expires
				fault.play(t, w, role)
				w.CommitOnline()
				for _, dir := range []string{old, old, t.TempDir()} { // the second time nothing changed
					onlyThisRole(t, refresh(t, w, dir), role, fault.name, fault.kind)
				}
				v, err := w.Open(old).Offline(nil)
				check(t, err)
				if _, err := v.Role(role); kindOf(err) == "" {
					t.Fatalf("%s: offline the role serves: %v", fault.name, err)
				}
				d, _ := authority.Delegation(role)
				w.Delegate(role, d.Threshold, signers...)
				next(w, role, func(all *trust.Targets) { all.Expires = life }, signers...)
				w.Commit()
				if broken := refresh(t, w, old).Broken(); len(broken) > 0 {
					t.Fatalf("%s did not heal: %v", fault.name, broken)
				}
			}
		})
	}
}

func onlyThisRole(t *testing.T, v *catalog.View, role, fault string, kind trust.Kind) {
	t.Helper()
	targets, err := v.Role(role)
	if kindOf(err) != kind || targets != nil || v.RawRole(role) != nil {
		t.Fatalf("%s: got %q (%v), want %q", fault, kindOf(err), err, kind)
	}
	if broken := v.Broken(); len(broken) != 1 || broken[0].Role != role {
		t.Fatalf("%s: broken are %v", fault, broken)
	}
}

// TestRollbackOfEveryDelegatedRole: who holds the online key cannot show an older version to a host that saw a newer
// one, with its files or with its memory alone.
func TestRollbackOfEveryDelegatedRole(t *testing.T) {
	t.Parallel()
	for _, role := range delegated {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w := certified(t)
			file, version := w.Files[role], w.Roles[role].Version
			next(w, role, nothing, w.RoleKeys[role]...)
			w.CommitOnline()
			files, alone := t.TempDir(), t.TempDir()
			refresh(t, w, files)
			refresh(t, w, alone)
			forgetFiles(t, alone)
			w.PutRole(role, version, file)
			w.CommitOnline()
			for _, dir := range []string{files, alone} {
				_, err := w.Open(dir).Refresh(ctx)
				wantKind(t, err, trust.Rollback)
				if !strings.HasPrefix(err.Error(), role+": version ") {
					t.Errorf("%q does not begin with the role", err)
				}
			}
		})
	}
}

// TestRotationOfADelegatedRolesKeys: what only the old keys signed ends with the delegation, for everybody; what the
// new ones sign is taken by a host that was there, one that comes fresh and one that was away.
func TestRotationOfADelegatedRolesKeys(t *testing.T) {
	t.Parallel()
	for _, role := range delegated {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w, there, away := certified(t), t.TempDir(), t.TempDir()
			refresh(t, w, there)
			refresh(t, w, away)
			old, stale := w.RoleKeys[role], w.Files[role]
			signers := []*catalogtest.Key{catalogtest.NewKey(t), catalogtest.NewKey(t)}
			refused := func(what string) {
				t.Helper()
				for _, dir := range []string{there, t.TempDir()} {
					v := refresh(t, w, dir)
					if _, err := v.Role(role); kindOf(err) != trust.BadSignature {
						t.Fatalf("%s: %v", what, err)
					}
				}
			}
			w.Delegate(role, 2, signers...)
			w.Commit()
			refused("the file that the old keys signed before")
			next(w, role, nothing, old...)
			w.CommitOnline()
			refused("a file that the old keys sign afterwards")

			next(w, role, nothing, signers...)
			w.CommitOnline()
			for _, dir := range []string{there, away, t.TempDir()} {
				v := refresh(t, w, dir)
				if _, err := v.Role(role); err != nil || len(v.Broken()) > 0 {
					t.Fatalf("the new keys' file: %v, %v", err, v.Broken())
				}
				_, err := w.Open(dir).Offline(nil)
				check(t, err)
			}
			w.PutRole(role, w.Roles[role].Version-2, stale) // a thief of the online key plays the old file again
			w.CommitOnline()
			wantRefusal(t, w, away, trust.Rollback)
			if _, err := w.View().Role(role); kindOf(err) != trust.BadSignature {
				t.Fatalf("fresh: %v", err)
			}
		})
	}
}

// TestFileOfOneRoleInPlaceOfAnother: one person's key may sign several roles; a file of one is none of the other's, not
// even one that lists nothing: an emptied ready-to-deploy is no list without recalls.
func TestFileOfOneRoleInPlaceOfAnother(t *testing.T) {
	t.Parallel()
	w, key := certified(t), catalogtest.NewKey(t)
	for i, role := range delegated {
		w.Delegate(role, 1, key)
		w.Roles[role].Version = int64(100 * (i + 1)) // so that no two files ever have the same number
		w.Edit(role, nil)
	}
	w.Commit()
	right := w.Snapshot.Clone().Roles
	for _, role := range delegated {
		for _, other := range delegated {
			if role == other {
				continue
			}
			file := w.Object(manifest.RoleObject(other, w.Roles[other].Version))
			w.PutRole(role, w.Roles[other].Version, file)
			w.CommitOnline()
			onlyThisRole(t, w.View(), role, other, trust.OutOfScope)
			empty := &trust.Targets{Role: other, Version: w.Roles[other].Version, Expires: w.Now.Add(catalogtest.Day)}
			empty.Version++
			w.PutRole(role, empty.Version, w.Seal(empty, key))
			w.CommitOnline()
			onlyThisRole(t, w.View(), role, other, trust.Mismatch)
			w.Snapshot.Roles[role] = right[role]
		}
	}
}
