package manifest

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, ok := range map[string]bool{
		"a": true, "openstack": true, "0day": true, "a-b-": true, long: true,
		"": false, "-a": false, "A": false, "a_b": false, "a.b": false, "a/b": false, "ä": false, long + "a": false, "a\n": false, "..": false, "_logs": false,
	} {
		if err := CheckName("product", name); (err == nil) != ok {
			t.Errorf("CheckName(%q): %v", name, err)
		}
	}
	for version, ok := range map[string]bool{
		"1.0.0": true, "2014.1~rc1": true, "Kilo_2-x": true, long: true,
		"": false, ".1": false, "1+2": false, "1/2": false, "1 2": false, "~1": false, long + "1": false, "1\x00": false,
	} {
		if err := CheckVersion(version); (err == nil) != ok {
			t.Errorf("CheckVersion(%q): %v", version, err)
		}
	}
}

func TestParseReleaseAndSite(t *testing.T) {
	r, err := ParseRelease("openstack@2.1.0")
	if err != nil || r != (Release{"openstack", "2.1.0"}) || r.String() != "openstack@2.1.0" {
		t.Errorf("ParseRelease: %v, %v", r, err)
	}
	s, err := ParseSite("acme/staging-2")
	if err != nil || s != (SiteID{"acme", "staging-2"}) || s.String() != "acme/staging-2" {
		t.Errorf("ParseSite: %v, %v", s, err)
	}
	for _, bad := range []string{"", "openstack", "@1", "openstack@", "openstack@1@2", "Open@1", "o@../1"} {
		r, err := ParseRelease(bad)
		if _, typed := errors.AsType[*NameError](err); !typed || r != (Release{}) {
			t.Errorf("ParseRelease(%q): %v, %v", bad, r, err)
		}
	}
	for _, bad := range []string{"", "acme", "/x", "acme/", "acme/a/b", "acme/../b", "acme/_logs"} {
		s, err := ParseSite(bad)
		if _, typed := errors.AsType[*NameError](err); !typed || s != (SiteID{}) {
			t.Errorf("ParseSite(%q): %v, %v", bad, s, err)
		}
	}
}

func TestRolesAndStages(t *testing.T) {
	for _, c := range []struct{ role, kind, product, customer, stage, path string }{
		{RoleProduct("openstack"), "product", "openstack", "", "catalog", "catalog/openstack/*/*"},
		{RoleValidated("openstack"), "validated", "openstack", "", "validated", "validated/openstack/*/*"},
		{RoleReady("openstack"), "ready-to-deploy", "openstack", "", "ready-to-deploy", "ready-to-deploy/openstack/*/*"},
		{RoleReadyFor("openstack", "acme"), "ready-to-deploy", "openstack", "acme", "ready-to-deploy.acme", "ready-to-deploy.acme/openstack/*/*"},
		{RoleRecalled("openstack"), "recalled", "openstack", "", "recalled", "recalled/openstack/*/*"},
		{RoleRegistry, "registry", "", "", "", "registry/*"},
		{RolePolicy, "policy", "", "", "", "policy/*"},
		{RoleJournal, "journal", "", "", "", "journal/*"},
	} {
		kind, product, customer := SplitRole(c.role)
		if kind != c.kind || product != c.product || customer != c.customer {
			t.Errorf("SplitRole(%q) = %q %q %q", c.role, kind, product, customer)
		}
		if stage := RoleStage(c.role); stage != c.stage {
			t.Errorf("RoleStage(%q) = %q", c.role, stage)
		}
		if paths := RolePaths(c.role); len(paths) != 1 || paths[0] != c.path {
			t.Errorf("RolePaths(%q) = %q", c.role, paths)
		}
		if c.stage != "" && StageRole(c.stage, c.product) != c.role {
			t.Errorf("StageRole(%q, %q) = %q", c.stage, c.product, StageRole(c.stage, c.product))
		}
	}
	for _, bad := range []string{"", "root", "targets", "product", "product.", "product.a.b", "registry.a", "ready-to-deploy.a.b.c", "ready-to-deploy.a.", "validated.A", "recalled.a/b"} {
		if kind, product, customer := SplitRole(bad); kind+product+customer != "" || RolePaths(bad) != nil || RoleStage(bad) != "" {
			t.Errorf("SplitRole(%q) = %q %q %q", bad, kind, product, customer)
		}
	}
}

func TestTargetPaths(t *testing.T) {
	r := Release{"openstack", "2.1.0"}
	for _, stage := range []string{StageCatalog, StageValidated, StageReady, StageRecalled, StageReadyFor("acme")} {
		path := TargetPath(stage, r)
		haveStage, haveRelease, err := ParseTargetPath(path)
		if err != nil || haveStage != stage || haveRelease != r {
			t.Errorf("ParseTargetPath(%q) = %q, %v, %v", path, haveStage, haveRelease, err)
		}
	}
	for _, bad := range []string{
		"", "catalog", "catalog/openstack/2.1.0", "catalog/openstack/2.1.0/other.toml", "elsewhere/openstack/2.1.0/manifest.toml",
		"/catalog/openstack/2.1.0/manifest.toml", "catalog/../2.1.0/manifest.toml", "catalog/openstack/../manifest.toml",
		"catalog.acme/openstack/2.1.0/manifest.toml", "ready-to-deploy./openstack/2.1.0/manifest.toml",
		"catalog/openstack/2.1.0/manifest.toml/", "catalog/" + strings.Repeat("a", 600),
	} {
		if _, _, err := ParseTargetPath(bad); err == nil {
			t.Errorf("ParseTargetPath(%q) succeeded", bad)
		}
	}
	if have := TargetObject(TargetPath(StageCatalog, r), "abc"); have != "targets/catalog/openstack/2.1.0/abc.manifest.toml" {
		t.Error(have)
	}
	if have := TargetObject(RegistryTarget("acme"), "abc"); have != "targets/registry/abc.acme.toml" {
		t.Error(have)
	}
}

func TestReportObject(t *testing.T) {
	s, r, sha := SiteID{"acme", "staging"}, Release{"openstack", "2.1.0"}, digest("x")
	key := ReportObject(s, r, noon.In(time.FixedZone("CET", 3600)), sha)
	if want := "reports/acme/staging/openstack/2.1.0/20260131T120000Z-" + sha[:16] + ".json"; key != want {
		t.Fatalf("have %s, want %s", key, want)
	}
	hs, hr, at, sha16, err := ParseReportObject(key)
	if err != nil || hs != s || hr != r || !at.Equal(noon) || sha16 != sha[:16] {
		t.Errorf("have %v %v %v %v %v", hs, hr, at, sha16, err)
	}
	for _, bad := range []string{
		"", "reports/acme/staging/_logs/" + sha + ".zst", strings.ToUpper(key), key + "x", "x" + key,
		strings.Replace(key, "Z-", "-", 1), strings.Replace(key, "20260131", "20260231", 1),
		strings.Replace(key, "acme", "..", 1), strings.Replace(key, sha[:16], sha, 1), strings.Replace(key, "/2.1.0/", "//", 1),
	} {
		if _, _, _, _, err := ParseReportObject(bad); err == nil {
			t.Errorf("ParseReportObject(%q) succeeded", bad)
		}
	}
}

func TestKindOf(t *testing.T) {
	sha, s, r := digest("x"), SiteID{"acme", "staging"}, Release{"openstack", "2.1.0"}
	for key, want := range map[string]string{
		RootObject(1): "root", SnapshotObject(12): "snapshot", TimestampObject: "timestamp", RoleObject("targets", 3): "role",
		RoleObject(RoleRegistry, 1): "role", RoleObject(RoleReadyFor("openstack", "acme"), 9): "role",
		TargetObject(TargetPath(StageCatalog, r), sha): "manifest", TargetObject(TargetPath(StageReadyFor("acme"), r), sha): "manifest",
		TargetObject(RegistryTarget("acme"), sha): "registry", TargetObject(PolicyTarget, sha): "policy",
		BlobObject(sha): "blob", EvidenceObject(sha): "evidence", "journal/4.json": "journal",
		ReportObject(s, r, noon, sha): "report", LogObject(s, sha): "log",
		ProposalObject("registry.2.0123456789abcdef", "proposal.json"):               "proposal",
		SignatureObject("registry.2.0123456789abcdef", "registry", sha, digest("y")): "signature",
		"_kitchen/probe-1/once": "probe",
		"_kitchen/prune.json":   "prune",
	} {
		k, err := KindOf(key)
		if err != nil || k.Name != want || k.MaxSize <= 0 || k.ContentType == "" {
			t.Errorf("KindOf(%q) = %+v, %v; want %s", key, k, err, want)
		}
		if mutable := want == "timestamp" || want == "probe" || want == "prune"; k.Mutable != mutable || (k.CacheControl == "no-store") != mutable {
			t.Errorf("KindOf(%q): mutable %v, cache %q", key, k.Mutable, k.CacheControl)
		}
	}
	for _, bad := range []string{
		"", "/", "targets", "targets/", "metadata", "metadata/", "metadata/root.json", "metadata/0.root.json", "metadata/01.root.json",
		"metadata/1.other.json", "metadata/1.timestamp.json", "metadata/1.snapshot.json.bak", "blobs/sha256/00/" + sha, "blobs/" + sha,
		"targets/registry/acme.toml", "targets/policy/x.policy.toml", "reports", "reports/acme/staging/_logs/x.zst", "pending", "pending/x",
		"journal/x.json", "elsewhere", "blobs/../metadata/timestamp.json", "metadata//timestamp.json", strings.Repeat("a/", 600) + "a", "metadata/\xff",
	} {
		if k, err := KindOf(bad); err == nil {
			t.Errorf("KindOf(%q) = %+v", bad, k)
		}
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\tb\nc": "a b c", "\x1b[31mred": "?[31mred", "bad\xffbyte": "bad?byte", "ééééé": "éééé", "right\u202eleft": "right?le",
	} {
		have := CleanText(in, 9)
		if strings.Contains(in, "\u202e") {
			have = CleanText(in, 8)
		}
		if have != want {
			t.Errorf("CleanText(%q) = %q, want %q", in, have, want)
		}
		if err := checkText("it", have, 9, false); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckRelativePath(t *testing.T) {
	for path, ok := range map[string]bool{
		"a": true, "a/b.c": true, "..a/b..": true, ".hidden": true, "ünïcode/日本": true, "with blank": true, strings.Repeat("s", 255): true,
		"": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/../b": false, "../a": false, "a/./b": false,
		"a\\b": false, "a\x00b": false, "a\nb": false, "a\x7f": false, "\xff": false, strings.Repeat("s", 256): false,
		strings.Repeat("abc/", 1100) + "a": false, strings.Repeat("a/", 128) + "a": false,
	} {
		if err := CheckRelativePath(path); (err == nil) != ok {
			t.Errorf("CheckRelativePath(%q): %v", clip(path), err)
		}
	}
}

func TestFoldPath(t *testing.T) {
	for _, same := range [][2]string{{"A/b", "a/B"}, {"straße", "STRASSE"}, {"u\u0308", "Ü"}, {"ς", "Σ"}, {"\u212a", "k"}} {
		if FoldPath(same[0]) != FoldPath(same[1]) {
			t.Errorf("%q and %q fold apart", same[0], same[1])
		}
	}
	if FoldPath("a") == FoldPath("b") {
		t.Error("a and b fold together")
	}
}
