package catalog_test

import (
	"slices"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// setPolicy has the vendor's administrators sign a certification policy, whatever it says.
func setPolicy(w *catalogtest.World, text string) {
	sha := catalogtest.Digest([]byte(text))
	w.Put(manifest.TargetObject(manifest.PolicyTarget, sha), []byte(text))
	if _, ok := w.Targets.Delegation(manifest.RolePolicy); !ok {
		w.Delegate(manifest.RolePolicy, 2, catalogtest.NewKey(w.T), catalogtest.NewKey(w.T))
	}
	w.Edit(manifest.RolePolicy, func(t *trust.Targets) {
		t.Targets = map[string]trust.Target{manifest.PolicyTarget: {Length: int64(len(text)), SHA256: sha}}
	})
	w.Commit()
}

const strict, lax = "[default]\nrequire = [\"vendor-ci\", \"acme/staging\"]\n", "[default]\nwarned = \"pass\"\n"

// certifiesNothing: neither a certificate nor a look at the policy goes by the default.
func certifiesNothing(t *testing.T, v *catalog.View) {
	t.Helper()
	if p, err := v.Policy(ctx); err == nil {
		t.Errorf("the policy is %+v", p)
	}
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on})
	check(t, err)
	if a, err := v.Certification(ctx, on, catalog.Question{}, r); err == nil {
		t.Errorf("certified on %+v", a.Policy)
	}
}

// The thief of the online key shows the policy of before, which asked for less.
func TestPolicyRollback(t *testing.T) {
	w, _ := journaledWorld(t)
	dir := t.TempDir()
	setPolicy(w, lax)
	before := w.Roles[manifest.RolePolicy].Version
	file := w.Object(manifest.RoleObject(manifest.RolePolicy, before))
	setPolicy(w, strict)
	refresh(t, w, dir)
	w.PutRole(manifest.RolePolicy, before, file)
	w.CommitOnline()
	wantRefusal(t, w, dir, trust.Rollback)
}

// The same, with the old file under the new number.
func TestPolicyOfBeforeUnderANewNumber(t *testing.T) {
	w, _ := journaledWorld(t)
	setPolicy(w, lax)
	before := w.Roles[manifest.RolePolicy].Version
	file := w.Object(manifest.RoleObject(manifest.RolePolicy, before))
	setPolicy(w, strict)
	w.PutRole(manifest.RolePolicy, before+2, file)
	w.CommitOnline()
	certifiesNothing(t, w.View())
}

// Where the policy was, the default is less than was agreed: no way of hiding it leads there.
func TestPolicyHidden(t *testing.T) {
	for name, hide := range map[string]func(t *testing.T, w *catalogtest.World){
		"role withheld": func(t *testing.T, w *catalogtest.World) {
			remove(t, w, manifest.RoleObject(manifest.RolePolicy, w.Roles[manifest.RolePolicy].Version))
		},
		"document withheld": func(t *testing.T, w *catalogtest.World) {
			remove(t, w, manifest.TargetObject(manifest.PolicyTarget, catalogtest.Digest([]byte(strict))))
		},
		"taken out of the role": func(_ *testing.T, w *catalogtest.World) {
			w.Edit(manifest.RolePolicy, func(t *trust.Targets) { clear(t.Targets) })
			w.Commit()
		},
		"signed by one of two": func(_ *testing.T, w *catalogtest.World) {
			w.RoleKeys[manifest.RolePolicy] = w.RoleKeys[manifest.RolePolicy][:1]
			w.Edit(manifest.RolePolicy, nil)
			w.Commit()
		},
		"expired": func(_ *testing.T, w *catalogtest.World) {
			w.Now = w.Now.Add(300 * catalogtest.Day)
			w.NewRoot(w.RootKeys[:2]...)
			w.Delegate(manifest.RoleReadyFor("openstack", "acme"), 1, catalogtest.NewKey(w.T)) // has targets signed anew
			for role := range w.Roles {
				if role != manifest.RolePolicy {
					w.Edit(role, nil)
				}
			}
			w.Commit()
			w.Now = w.Now.Add(80 * catalogtest.Day)
			for role := range w.Roles {
				if role != manifest.RolePolicy {
					w.Edit(role, nil)
				}
			}
			w.Commit()
		},
		"unreadable": func(_ *testing.T, w *catalogtest.World) { setPolicy(w, "[default]\nrequire = [\"nobody\"]\n") },
		"delegation taken away": func(_ *testing.T, w *catalogtest.World) {
			w.Targets = w.Targets.Clone()
			w.Targets.Delegations = slices.DeleteFunc(w.Targets.Delegations, func(d trust.Delegation) bool { return d.Name == manifest.RolePolicy })
			w.Delegate(manifest.RoleReadyFor("openstack", "acme"), 1, catalogtest.NewKey(w.T)) // has targets signed anew
			w.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := journaledWorld(t)
			setPolicy(w, strict)
			hide(t, w)
			certifiesNothing(t, w.View())
		})
	}
	t.Run("dropped from the snapshot", func(t *testing.T) {
		t.Parallel()
		w, _ := journaledWorld(t)
		dir := t.TempDir()
		setPolicy(w, strict)
		refresh(t, w, dir)
		delete(w.Snapshot.Roles, manifest.RolePolicy)
		w.CommitOnline()
		wantRefusal(t, w, dir, trust.Missing)
	})
}

// An older version of the policy is reached by digests from the one in effect: a file that was put in its place is none.
func TestPastPolicyReplaced(t *testing.T) {
	w, _ := journaledWorld(t)
	setPolicy(w, lax)
	past := w.Roles[manifest.RolePolicy].Version
	setPolicy(w, strict)
	sha := catalogtest.Digest([]byte(lax))
	if _, err := w.View().PastPolicy(ctx, past, catalogtest.Digest([]byte(strict))); err == nil {
		t.Error("the old version has the new policy")
	}
	planted := "[default]\nrequire = [\"acme/prod\"]\n"
	forged := catalogtest.Digest([]byte(planted))
	w.Put(manifest.TargetObject(manifest.PolicyTarget, forged), []byte(planted))
	remove(t, w, manifest.RoleObject(manifest.RolePolicy, past))
	w.Put(manifest.RoleObject(manifest.RolePolicy, past), w.Seal(&trust.Targets{Role: manifest.RolePolicy, Version: past, Expires: w.Now.Add(catalogtest.Day),
		Targets: map[string]trust.Target{manifest.PolicyTarget: {Length: int64(len(planted)), SHA256: forged}}}, w.RoleKeys[manifest.RolePolicy]...))
	for _, sha := range []string{sha, forged} {
		if p, err := w.View().PastPolicy(ctx, past, sha); err == nil {
			t.Errorf("%+v", p)
		}
	}
}
