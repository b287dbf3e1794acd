package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// hostileNames are names of products, versions, customers and sites that mean something else to somebody.
var hostileNames = []string{"", ".", "..", "../acme", "a/b", "/etc/passwd", `a\b`, "%2e%2e", "a%2fb", "a\x00", "a\n", "\x1b[2J", "ACME",
	"acm\u0435", "acme\u200b", "acme\u202e", "cafe\u0301", "caf\u00e9", "\uff41cme", "_logs", "-acme", strings.Repeat("a", 64), "a\xff", "a b", "a+b"}

// TestHostileNamesAskNothing: whatever a caller passes on from a command line or a report, no such name reaches the
// store or the disk.
func TestHostileNamesAskNothing(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	faults := storagetest.NewFaults(t, w.Store)
	o := w.Options(dir)
	o.Store = faults
	c, err := catalog.Open(ctx, o)
	check(t, err)
	v, err := c.Refresh(ctx)
	check(t, err)
	before, asked := files(t, dir), len(faults.Calls())
	for _, name := range hostileNames {
		r := manifest.Release{Product: "openstack", Version: name}
		foreign := manifest.Release{Product: name, Version: "1.0.0"}
		for what, err := range map[string]error{
			"release":          second(v.Release(r)),
			"manifest":         third(v.Manifest(ctx, r)),
			"foreign release":  second(v.Release(foreign)),
			"foreign manifest": third(v.Manifest(ctx, foreign)),
			"releases":         second(v.Releases(name)),
			"customer":         second(v.Customer(ctx, name)),
			"site":             third(v.Site(ctx, manifest.SiteID{Customer: name, Site: "ci"})),
			"agreement":        v.Agreement(r, "validated.openstack"),
			"role":             second(v.Role(name)),
		} {
			if err == nil {
				t.Errorf("%s %q is there", what, name)
			}
		}
	}
	if got := faults.Calls()[asked:]; len(got) > 0 {
		t.Errorf("asked for %v", got)
	}
	if got := files(t, dir); !slices.Equal(got, before) {
		t.Errorf("the state directory has become %q", got)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

// TestNamesInScopeThatAreNoRelease: a role's pattern lets its signers list more than releases. What is no release is
// none for anybody, and harms none that is.
func TestNamesInScopeThatAreNoRelease(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	w.Edit("product.openstack", func(all *trust.Targets) {
		honest := all.Targets["catalog/openstack/1.0.0/manifest.toml"]
		for _, path := range []string{"catalog/openstack/%2e%2e/manifest.toml", "catalog/openstack/\uff11.0.0/manifest.toml",
			"catalog/openstack/1.0.0\u200b/manifest.toml", "catalog/openstack/2.0.0/evil.sh", "catalog/openstack/_tmp-x/manifest.toml",
			"catalog/openstack/" + strings.Repeat("9", 64) + "/manifest.toml", "catalog/openstack/1+1/manifest.toml", "catalog/openstack/.ssh/id_rsa"} {
			all.Targets[path] = honest
		}
	})
	w.Commit()
	v := refresh(t, w, dir)
	all, err := v.Releases("openstack")
	check(t, err)
	if len(all) != 2 || len(v.Broken()) > 0 {
		t.Fatalf("releases %v, broken %v", all, v.Broken())
	}
	wantStage(t, v, "1.0.0", "ready-to-deploy")
}

// TestRoleThatNoKitchenKnows: a delegation that a later Kitchen understands, or a nonsensical one, is its own trouble.
func TestRoleThatNoKitchenKnows(t *testing.T) {
	t.Parallel()
	w, dir := certified(t), t.TempDir()
	refresh(t, w, dir)
	for _, role := range []string{"mirrors", "product.", "product..", "product.a.b", "registry.acme", "ready-to-deploy.openstack.acme.x"} {
		key := catalogtest.NewKey(t)
		w.Delegate(role, 1, key)
		w.Targets.Delegations[len(w.Targets.Delegations)-1].Paths = []string{"elsewhere/*"}
		w.Snapshot.Roles[role] = trust.MetaOf(1, []byte("x"))
		w.Commit()
		for _, dir := range []string{dir, t.TempDir()} {
			v := refresh(t, w, dir)
			onlyThisRole(t, v, role, role, trust.Malformed)
			wantStage(t, v, "1.0.0", "ready-to-deploy")
		}
		w.Targets.Delegations = w.Targets.Delegations[:len(w.Targets.Delegations)-1]
	}
}

// TestRegistryEntriesUnderHostileNames: an administrator's signature does not make a file name out of them.
func TestRegistryEntriesUnderHostileNames(t *testing.T) {
	t.Parallel()
	w, parent := certified(t), t.TempDir()
	dir := filepath.Join(parent, "state")
	honest := w.Roles["registry"].Clone().Targets
	entry := honest["registry/enovance.toml"]
	for _, name := range append(hostileNames, "enovance.toml", "acme") { // an entry that describes another customer, too
		w.Edit("registry", func(all *trust.Targets) { all.Targets = map[string]trust.Target{"registry/" + name + ".toml": entry} })
		if _, err := w.Roles["registry"].Payload(); err != nil || strings.Contains(name, "/") {
			continue // nobody can even sign it, or no reader takes it: see trust.TestPathsThatNoRoleMayList
		}
		w.Commit()
		v := refresh(t, w, dir)
		if customers, err := v.Customers(ctx); err == nil {
			t.Errorf("registry/%s.toml is the entry of %s", name, customers[0].Customer)
		}
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("beside the state directory lies %v, %v", entries, err)
	}
}

// tomlFaults spoil a manifest or a registry entry whose digest and length are listed and signed as they are.
var tomlFaults = map[string]func(string) string{
	"duplicate key":           func(s string) string { return "format = 1\n" + s },
	"unknown key":             func(s string) string { return "surprise = 1\n" + s },
	"deep arrays":             func(s string) string { return "x = " + strings.Repeat("[", 1<<20) + "\n" + s },
	"deep inline tables":      func(s string) string { return "x = " + strings.Repeat("{a=", 1<<18) + "\n" + s },
	"deep dotted key":         func(s string) string { return strings.Repeat("a.", 1<<18) + "b = 1\n" + s },
	"deep table header":       func(s string) string { return s + "\n[" + strings.Repeat("a.", 1<<18) + "b]\n" },
	"huge number":             func(s string) string { return "x = 99999999999999999999999999\n" + s },
	"NaN":                     func(s string) string { return "x = nan\n" + s },
	"infinity":                func(s string) string { return "x = -inf\n" + s },
	"float":                   func(s string) string { return "x = 1e400\n" + s },
	"bad UTF-8":               func(s string) string { return "# \xff\n" + s },
	"NUL":                     func(s string) string { return s + "\x00" },
	"trailing bytes":          func(s string) string { return s + "}" },
	"cut short":               func(s string) string { return s[:len(s)/2] },
	"empty":                   func(string) string { return "\n" },
	"web page":                func(string) string { return "<!DOCTYPE html>" },
	"control character":       func(s string) string { return strings.Replace(s, `"`, "\"\x1b[2J", 1) },
	"bidirectional override":  func(s string) string { return strings.Replace(s, `"`, "\"\u202e", 1) },
	"byte order mark twice":   func(s string) string { return "\ufeff\ufeff" + s },
	"very many empty entries": func(s string) string { return s + strings.Repeat("[[artifact]]\n", 1<<15) },
}

// TestSignedManifestsAreReadStrictly: who may sign a product may not break its readers.
func TestSignedManifestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	w, r := certified(t), release("openstack@3.0.0")
	data, err := w.Manifest(r, catalogtest.Content{}).Encode()
	check(t, err)
	path := manifest.TargetPath(manifest.StageCatalog, r)
	for name, spoil := range tomlFaults {
		bad := []byte(spoil(string(data)))
		w.Put(manifest.TargetObject(path, catalogtest.Digest(bad)), bad)
		w.Edit("product.openstack", func(all *trust.Targets) {
			all.Targets[path] = trust.Target{Length: int64(len(bad)), SHA256: catalogtest.Digest(bad), Custom: map[string]string{catalog.CustomSeq: "3"}}
		})
		w.Commit()
		_, raw, err := w.View().Manifest(ctx, r)
		if kindOf(err) != trust.Malformed || raw != nil || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\x00\u202e") {
			t.Errorf("%s: %d bytes, %.1000v", name, len(raw), err)
		}
	}
}

// TestSignedRegistryEntriesAreReadStrictly, and one bad entry is no reason to count only the others.
func TestSignedRegistryEntriesAreReadStrictly(t *testing.T) {
	t.Parallel()
	w := certified(t)
	data, err := (&manifest.Customer{Customer: "acme", Name: "ACME", Subscribe: []string{"*"}}).Encode()
	check(t, err)
	spoils := map[string]func(string) string{
		"site outside its place": func(s string) string { return s + "\n[[site]]\nname = \"../enovance\"\nkind = \"ci\"\n" },
		"site twice": func(s string) string {
			return s + strings.Repeat("\n[[site]]\nname = \"ci\"\nkind = \"ci\"\n", 2)
		},
		"another customer": func(s string) string { return strings.ReplaceAll(s, "acme", "evil") },
	}
	for name, spoil := range tomlFaults {
		spoils[name] = spoil
	}
	for name, spoil := range spoils {
		bad := []byte(spoil(string(data)))
		if len(bad) > 1<<20 {
			bad = bad[:1<<20] // more is not read at all
		}
		w.Put(manifest.TargetObject("registry/acme.toml", catalogtest.Digest(bad)), bad)
		w.Edit("registry", func(all *trust.Targets) {
			all.Targets["registry/acme.toml"] = trust.Target{Length: int64(len(bad)), SHA256: catalogtest.Digest(bad)}
		})
		w.Commit()
		v := w.View()
		all, err := v.Customers(ctx)
		if kindOf(err) != trust.Malformed || all != nil || len(err.Error()) > 1000 {
			t.Errorf("%s: %v, %.1000v", name, all, err)
		}
		if _, err := v.Vendor(ctx); err == nil {
			t.Errorf("%s: the vendor is believed to be the only one", name)
		}
		if _, err := v.Customer(ctx, "enovance"); err != nil {
			t.Errorf("%s: a good entry cannot be read: %v", name, err)
		}
	}
	var unknown *catalog.UnknownCustomer
	if _, err := w.View().Customer(ctx, "nobody"); !errors.As(err, &unknown) {
		t.Error(err)
	}
}
