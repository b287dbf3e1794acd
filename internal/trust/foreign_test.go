package trust_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/trust"
)

// TestPathsThatNoRoleMayList: signed by the right key, and refused as a whole all the same.
func TestPathsThatNoRoleMayList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, kind := range map[string]trust.Kind{
		"catalog/ceph/1.0/manifest.toml":                trust.OutOfScope, // another product
		"validated/openstack/2.1.0/manifest.toml":       trust.OutOfScope, // another stage
		"ready-to-deploy/openstack/2.1.0/manifest.toml": trust.OutOfScope,
		"recalled/openstack/2.1.0/manifest.toml":        trust.OutOfScope,
		"registry/acme.toml":                            trust.OutOfScope,
		"manifest.toml":                                 trust.OutOfScope,
		"catalog/openstack/2.2.0":                       trust.OutOfScope, // too short
		"catalog/openstack/2.2.0/x/manifest.toml":       trust.OutOfScope, // too deep
		"Catalog/openstack/2.2.0/manifest.toml":         trust.OutOfScope,
		"catalog/OpenStack/2.2.0/manifest.toml":         trust.OutOfScope,
		"catalog/openst\u0430ck/2.2.0/manifest.toml":    trust.OutOfScope, // a Cyrillic a
		"catalog/openstack\u200b/2.2.0/manifest.toml":   trust.OutOfScope, // zero width space
		"catalog\uff0fopenstack/2.2.0/manifest.toml":    trust.OutOfScope, // a full-width solidus is no slash
		"catalog/openstack\u2215x/2.2.0/manifest.toml":  trust.OutOfScope, // nor is a division slash
		"catalog/open%73tack/2.2.0/manifest.toml":       trust.OutOfScope, // nothing is decoded
		"catalog%2fopenstack/2.2.0/manifest.toml":       trust.OutOfScope,
		"catalog/openstack%2f2.2.0/manifest.toml":       trust.OutOfScope,
		"":   trust.Malformed,
		".":  trust.Malformed,
		"..": trust.Malformed,
		"../catalog/openstack/2.2.0/manifest.toml":        trust.Malformed,
		"catalog/openstack/../manifest.toml":              trust.Malformed, // four segments, as the pattern has
		"catalog/openstack/2.2.0/..":                      trust.Malformed,
		"catalog/openstack/./manifest.toml":               trust.Malformed,
		"catalog/ceph/../openstack/2.2.0/manifest.toml":   trust.Malformed,
		"/catalog/openstack/2.2.0/manifest.toml":          trust.Malformed,
		"//catalog/openstack/2.2.0/manifest.toml":         trust.Malformed,
		"catalog/openstack/2.2.0/manifest.toml/":          trust.Malformed,
		"catalog/openstack//manifest.toml":                trust.Malformed,
		`catalog\openstack\2.2.0\manifest.toml`:           trust.Malformed,
		`catalog/openstack/2.2.0\..\x/manifest.toml`:      trust.Malformed,
		"catalog/openstack/2.2.0\x00/manifest.toml":       trust.Malformed,
		"catalog/openstack/2.2.0\n/manifest.toml":         trust.Malformed,
		"catalog/openstack/\x1b[2J/manifest.toml":         trust.Malformed,
		"catalog/openstack/\u0085/manifest.toml":          trust.Malformed, // a control character beyond ASCII
		"catalog/openstack/2.1.0/Manifest.toml":           trust.Malformed, // in case alone
		"catalog/openstack/2.1.0/manife\u017ft.toml":      trust.Malformed, // the long s folds to s
		"catalog/openstack/" + strings.Repeat("9", 256):   trust.Malformed, // longer than a segment
		strings.Repeat("catalog/", 600) + "manifest.toml": trust.Malformed, // longer than a path
		strings.Repeat("a/", 200) + "manifest.toml":       trust.Malformed, // deeper than a path
	} {
		before := w.roles["product.openstack"]
		w.putForged("product.openstack", func(signed map[string]any) {
			files := signed["targets"].(object)
			files[path] = files[w.manifestPath]
		}, w.engineer)
		err := w.fresh()
		if kindOf(err) != kind || (kind != "" && strings.ContainsAny(err.Error(), "\n\x1b\x00")) {
			t.Errorf("%q: got %q (%v), want %q", path, kindOf(err), err, kind)
		}
		w.put("product.openstack", 1, before)
	}
}

// TestPathsThatDifferInFormAlone: what one file system takes for the same name is not two releases.
func TestPathsThatDifferInFormAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, pair := range [][2]string{
		{"1.0-RC1", "1.0-rc1"},
		{"K\u00e9", "Ke\u0301"},    // composed and decomposed
		{"\u212b", "\u00e5"},       // the Ångström sign
		{"stra\u00dfe", "STRASSE"}, // full case folding
		{"\u1e9b\u0323", "\u1e69"}, // marks in another order
		{"\u03c3", "\u03c2"},       // two forms of sigma
	} {
		before := w.roles["product.openstack"]
		w.putForged("product.openstack", func(signed map[string]any) {
			files := signed["targets"].(object)
			for _, version := range pair {
				files["catalog/openstack/"+version+"/manifest.toml"] = files[w.manifestPath]
			}
		}, w.engineer)
		if err := w.fresh(); kindOf(err) != trust.Malformed {
			t.Errorf("%q and %q: got %v", pair[0], pair[1], err)
		}
		w.put("product.openstack", 1, before)
	}
}

// TestNamesThatNoRoleMayHave: role names become file names and object keys.
func TestNamesThatNoRoleMayHave(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "../root", "a/b", `a\b`, "/etc", "root", "targets", "snapshot", "timestamp",
		"product.Openstack", "product.open_stack", "product.open%2fstack", "product.openst\u0430ck", "product.openstack\x00",
		"product.openstack\n", "-product", ".product", strings.Repeat("a", 201)} {
		w := newWorld(t)
		w.putForged("targets", func(signed map[string]any) {
			signed["delegations"].(object)["roles"].([]any)[1].(object)["name"] = name
		}, w.targets...)
		if err := w.fresh(); kindOf(err) != trust.Malformed {
			t.Errorf("a delegation to %q: %v", name, err)
		}
		w = newWorld(t)
		w.forgeSnapshot(func(signed map[string]any) {
			meta := signed["meta"].(object)
			meta[name+".json"] = meta["product.openstack.json"]
		})
		if err := w.fresh(); kindOf(err) != trust.Malformed && name != "targets" {
			t.Errorf("a snapshot that lists %q: %v", name, err)
		}
	}
}

// TestThresholdsThatCannotBe: none, negative, huge, of another type; in root and in a delegation.
func TestThresholdsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, threshold := range []any{0, -1, 4, 1 << 40, trust.MaxInteger, float64(1 << 60), "1", nil, true, []any{1}} {
		w := newWorld(t)
		for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
			file := w.forge(w.rootFile, func(signed map[string]any) {
				signed["roles"].(object)[role].(object)["threshold"] = threshold
			}, w.root...)
			if _, err := trust.Start(file, now); kindOf(err) != trust.Malformed {
				t.Errorf("threshold %v of %s: %v", threshold, role, err)
			}
		}
		w.putForged("targets", func(signed map[string]any) {
			signed["delegations"].(object)["roles"].([]any)[0].(object)["threshold"] = threshold
		}, w.targets...)
		if err := w.fresh(); kindOf(err) != trust.Malformed {
			t.Errorf("threshold %v of a delegated role: %v", threshold, err)
		}
	}
}

// TestDelegationLoops: a role that hands its paths to another, or back, is refused before anybody follows it.
func TestDelegationLoops(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"product.openstack", "validated.openstack", "targets"} {
		w := newWorld(t)
		w.putForged("product.openstack", func(signed map[string]any) {
			from := tree(t, w.roles["targets"])["signed"].(object)["delegations"].(object)
			from["roles"] = from["roles"].([]any)[:1]
			from["roles"].([]any)[0].(object)["name"] = to
			signed["delegations"] = from
		}, w.engineer)
		want := map[bool]trust.Kind{true: trust.Malformed, false: trust.OutOfScope}[to == "targets"]
		wantKind(t, w.fresh(), want)
	}
}

// files are the world's five kinds of role file, each with the way to put another in its place.
func (w *world) files() map[string]func(spoil func([]byte) []byte) {
	role := func(name string) func(func([]byte) []byte) {
		return func(spoil func([]byte) []byte) { w.put(name, w.versions[name], spoil(w.roles[name])); w.sealOnline() }
	}
	return map[string]func(func([]byte) []byte){
		"root":              func(spoil func([]byte) []byte) { w.rootFile = spoil(w.rootFile) },
		"timestamp":         func(spoil func([]byte) []byte) { w.timestamp = spoil(w.timestamp) },
		"snapshot":          func(spoil func([]byte) []byte) { w.snapshotFile = spoil(w.snapshotFile); w.sealTimestamp() },
		"targets":           role("targets"),
		"product.openstack": role("product.openstack"),
	}
}

// TestEveryRoleFileIsStrictJSON: what readers could take in two ways is refused before signatures are looked at, in
// every kind of file, with the file's name in the error.
func TestEveryRoleFileIsStrictJSON(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) func([]byte) []byte {
		return func(file []byte) []byte {
			if !bytes.Contains(file, []byte(old)) {
				t.Fatalf("no %s in %s", old, file)
			}
			return bytes.Replace(file, []byte(old), []byte(new), 1)
		}
	}
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	spoils := map[string]func([]byte) []byte{
		"duplicate key":              replace(`"signed":{`, `"signed":{},"signed":{`),
		"duplicate key deep inside":  replace(`"spec_version":`, `"spec_version":"1.0.31","spec_version":`),
		"escaped duplicate":          replace(`"spec_version":`, `"spec_versio\u006e":"1.0.31","spec_version":`),
		"deep nesting":               replace(`"signed":{`, `"signed":{"x":`+deep+`,`),
		"deep nesting outside":       replace(`{"signatures"`, `{"x":`+deep+`,"signatures"`),
		"endless nesting":            func([]byte) []byte { return bytes.Repeat([]byte("["), 1<<20) },
		"huge number":                replace(`"signed":{`, `"signed":{"x":9007199254740992,`),
		"number of a thousand nines": replace(`"signed":{`, `"signed":{"x":`+strings.Repeat("9", 1000)+`,`),
		"exponent":                   replace(`"signed":{`, `"signed":{"x":1e400,`),
		"float":                      replace(`"signed":{`, `"signed":{"x":1.0,`),
		"NaN":                        replace(`"signed":{`, `"signed":{"x":NaN,`),
		"infinity":                   replace(`"signed":{`, `"signed":{"x":Infinity,`),
		"bad UTF-8":                  replace(`"signed":{`, "\"signed\":{\"x\":\"\xff\","),
		"bad UTF-8 in a key":         replace(`"signed":{`, "\"signed\":{\"\xc0\xaf\":1,"),
		"half a surrogate pair":      replace(`"signed":{`, `"signed":{"x":"\ud800",`),
		"trailing bytes":             func(file []byte) []byte { return append(slices.Clone(file), "{}"...) },
		"trailing NUL":               func(file []byte) []byte { return append(slices.Clone(file), 0) },
		"byte order mark":            func(file []byte) []byte { return append([]byte("\xef\xbb\xbf"), file...) },
		"UTF-16":                     func([]byte) []byte { return []byte("\xff\xfe{\x00}\x00") },
		"null":                       func([]byte) []byte { return []byte("null") },
		"list":                       func([]byte) []byte { return []byte("[]") },
		"empty":                      func([]byte) []byte { return []byte(" ") },
		"web page":                   func([]byte) []byte { return []byte("<!DOCTYPE html><title>404</title>") },
		"cut short":                  func(file []byte) []byte { return file[:len(file)-1] },
		"signed twice in two files":  func(file []byte) []byte { return slices.Concat(file, file) },
		"version as text":            replace(`"spec_version":`, `"spec_version":1,"x":`),
		"no signatures":              replace(`"signatures"`, `"Signatures"`),
		"signatures that are none":   replace(`"signatures":[`, `"signatures":[7,`),
	}
	w := newWorld(t)
	for _, file := range slices.Sorted(maps.Keys(w.files())) {
		for name, spoil := range spoils {
			w := *w
			w.roles, w.versions = maps.Clone(w.roles), maps.Clone(w.versions)
			w.files()[file](spoil)
			err := w.fresh()
			if kindOf(err) != trust.Malformed || !strings.HasPrefix(err.Error(), file+": ") {
				t.Errorf("%s, %s: %v", file, name, err)
			}
		}
	}
}

// TestVersionsThatCannotBe, in every kind of file.
func TestVersionsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, version := range []any{0, -1, float64(1 << 60), "1", nil, true} {
		w := newWorld(t)
		set := func(signed map[string]any) { signed["version"] = version }
		file := w.forge(w.rootFile, set, w.root...)
		_, err := trust.Start(file, now)
		wantKind(t, err, trust.Malformed)
		w.putForged("product.openstack", set, w.engineer)
		wantKind(t, w.fresh(), trust.Malformed)
		w.forgeSnapshot(set)
		wantKind(t, w.fresh(), trust.Malformed)
		w.forgeTimestamp(set)
		wantKind(t, w.fresh(), trust.Malformed)
	}
}

// TestCountBomb: a file may be full of signatures by strangers, up to the cap, and is still judged by those that count.
func TestCountBomb(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	envelope := tree(t, w.timestamp)
	good := envelope["signatures"].([]any)
	strangers := func(n int) []byte {
		sigs := slices.Clone(good)
		for i := range n {
			sigs = append(sigs, map[string]any{"keyid": strings.Repeat("a", i+1), "sig": "00"})
		}
		envelope["signatures"] = sigs
		return marshal(t, envelope)
	}
	w.timestamp = strangers(1000)
	check(t, w.fresh())
	w.timestamp = strangers(1024)
	wantKind(t, w.fresh(), trust.Malformed)
}
