package manifest

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const goodSource = `product = "openstack"
version = "2.1.0"
kind    = "update"                 # "initial" | "update"
from    = ["2.0.0", ">=2.0.3 <2.1"]
summary = "Kilo, second maintenance release"

[marmite]
path = "marmite.yaml"

[requires]
arch = ["amd64"]
memory_gib = 16
labels = ["ipmi"]

[[artifact]]
path = "images/controller.img"
kind = "image"

[[artifact]]
path = "puppet/"
kind = "configuration"
`

func TestParseSource(t *testing.T) {
	have, err := ParseSource("product.toml", []byte(goodSource))
	if err != nil {
		t.Fatal(err)
	}
	want := &Source{
		Product: "openstack", Version: "2.1.0", Kind: "update", From: []string{"2.0.0", ">=2.0.3 <2.1"},
		Summary: "Kilo, second maintenance release", Marmite: SourceFile{"marmite.yaml"},
		Requires:  Requires{Arch: []string{"amd64"}, MemoryGiB: 16, Labels: []string{"ipmi"}},
		Artifacts: []SourceArtifact{{"images/controller.img", "image", false}, {"puppet/", "configuration", false}},
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v", have)
	}
}

// TestBadSource changes one thing of a good product.toml and wants the line.
func TestBadSource(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		line           int
		says           string
	}{
		{"unknown key", "summary =", "sumary =", 5, `sumary: unknown key`},
		{"unknown key in a table", "memory_gib", "memory", 12, "requires.memory: unknown key; known here: arch, cpus"},
		{"unknown key in the second artifact", "kind = \"configuration\"", "kind = \"configuration\"\nmode = 1", 22, "artifact[1].mode: unknown key"},
		{"unknown table", "[requires]", "[require]", 10, "require: unknown key"},
		{"key in another case", "version =", "Version =", 2, "Version: unknown key"},
		{"same key twice but for case", "version = \"2.1.0\"", "version = \"2.1.0\"\nVersion = \"9\"", 3, "Version: unknown key"},
		{"unknown key after a multi-line list", `["2.0.0", ">=2.0.3 <2.1"]`, "[\n\"2.0.0\", # one\n]\nx = 1", 7, "x: unknown key"},
		{"unknown key after a multi-line string", `"Kilo, second maintenance release"`, "\"\"\"a\\\nb\"\"\"\nx = 1", 7, "x: unknown key"},
		{"unknown key in an inline table", "[marmite]\npath = \"marmite.yaml\"", "marmite = { path = \"marmite.yaml\", x = 1 }", 7, "marmite.x: unknown key"},
		{"wrong type", `version = "2.1.0"`, `version = 2`, 2, "version: wants a string, not the integer 2"},
		{"wrong type in the second artifact", `path = "puppet/"`, `path = ["puppet/"]`, 20, "artifact[1].path: wants a string, not a list"},
		{"table where a list is", "[[artifact]]\npath = \"images/controller.img\"\nkind = \"image\"\n\n[[artifact]]", "[artifact]", 15, "artifact: wants a list"},
		{"float", "memory_gib = 16", "memory_gib = 16.5", 12, "wants an integer, not a float"},
		{"syntax", "[marmite]", "[marmite", 7, "not valid TOML"},
		{"duplicate key", `version = "2.1.0"`, "version = \"2.1.0\"\nversion = \"2.1.0\"", 3, "version"},
		{"unpack of what is not packed", "kind = \"image\"", "kind = \"image\"\nunpack = true", 18, "artifact[0].unpack: is for files whose name ends in .gz"},
		{"unpacks to the name of another", "path = \"puppet/\"\nkind = \"configuration\"", "path = \"images/controller.img.xz\"\nkind = \"image\"\nunpack = true", 20, `path "images/controller.img": is listed twice, as "images/controller.img" and "images/controller.img.xz" have that name once unpacked`},
		{"empty product", `"openstack"`, `""`, 1, `product: is missing: write product = "openstack"`},
		{"bad product", `"openstack"`, `"Open Stack"`, 1, "lower-case letters"},
		{"missing version", "version = \"2.1.0\"\n", "", 0, `version: is missing: write version = "1.0.0"`},
		{"version with plus", "2.1.0", "2.1.0+1", 2, "not allowed"},
		{"unknown kind", `"update"  `, `"upgrade"  `, 3, `"upgrade" is neither`},
		{"from on an initial", `"update"  `, `"initial"  `, 4, "from: is only for"},
		{"no from on an update", "from    = [\"2.0.0\", \">=2.0.3 <2.1\"]\n", "", 0, "from: is missing"},
		{"bad range", ">=2.0.3 <2.1", ">=two", 4, "from[1]"},
		{"ambiguous range", ">=2.0.3 <2.1", "2.x", 4, "write a range with its bounds"},
		{"control character", "Kilo, ", `Kilo\u001b[31m`, 5, "control character"},
		{"absurd memory", "= 16", "= -1", 12, "requires.memory_gib"},
		{"no marmite", "[marmite]\npath = \"marmite.yaml\"", "", 0, "[marmite]"},
		{"marmite is a tree", `"marmite.yaml"`, `"marmite/"`, 8, "must be one file"},
		{"no artifact kind", "kind = \"image\"\n", "", 15, "artifact[0].kind"},
		{"unknown artifact kind", `"image"`, `"picture"`, 17, "is not one of image, provision-data"},
		{"path out of the directory", "images/controller.img", "../controller.img", 16, "plain path below the directory"},
		{"absolute path", "images/controller.img", "/etc/passwd", 16, "is absolute"},
		{"collision by case", "images/controller.img", "PUPPET/x", 20, "collides with \"PUPPET\""},
		{"artifact below an artifact", "images/controller.img", "puppet/x", 20, "something below it"},
		{"artifact twice", "images/controller.img", "puppet", 20, "listed twice"},
		{"artifact is the marmite", "images/controller.img", "Marmite.yaml", 16, "collides"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(goodSource, c.old, c.new, 1)
			if text == goodSource {
				t.Fatal("the case changes nothing")
			}
			s, err := ParseSource("product.toml", []byte(text))
			if s != nil {
				t.Error("a value came with the error")
			}
			where := "product.toml: "
			if c.line > 0 {
				where = fmt.Sprintf("product.toml:%d: ", c.line)
			}
			wantError(t, err, where, c.says)
			if _, ok := errors.AsType[*FileError](err); !ok {
				t.Errorf("%T is not a *FileError", err)
			}
		})
	}
}

func TestNoArtifact(t *testing.T) {
	text := goodSource[:strings.Index(goodSource, "[[artifact]]")]
	_, err := ParseSource("product.toml", []byte(text))
	wantError(t, err, "artifact: is missing")
}

// TestNestingBomb feeds documents that would exhaust a recursive parser.
func TestNestingBomb(t *testing.T) {
	n := 300_000
	for name, text := range map[string]string{
		"lists":          "a = " + strings.Repeat("[", n),
		"tables":         "a = " + strings.Repeat("{a=", n),
		"dotted key":     strings.Repeat("a.", n) + "a = 1",
		"dotted header":  "[" + strings.Repeat("a.", n) + "a]",
		"after a string": "s = \"\"\"\"\"\"\"\"\na = " + strings.Repeat("[", n),
	} {
		_, err := ParseSource("bomb.toml", []byte(text))
		wantError(t, err, "bomb.toml:")
		if !strings.Contains(err.Error(), "levels deep") && !strings.Contains(err.Error(), "segments") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseSource("big.toml", make([]byte, 2<<20)); err == nil {
		t.Error("2 MiB accepted")
	}
}

func TestDecodeTOMLMaps(t *testing.T) {
	var doc struct {
		Keys  map[string][]string `toml:"keys"`
		Flags map[string]bool     `toml:"flags"`
	}
	text := "[keys]\nonline = ['a']\n\"validated.openstack\" = [\"b\", \"c\"]\n[flags]\nx = true\n"
	if err := DecodeTOML("kitchen.toml", []byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(doc.Keys, map[string][]string{"online": {"a"}, "validated.openstack": {"b", "c"}}) || !doc.Flags["x"] {
		t.Errorf("have %+v", doc)
	}
	err := DecodeTOML("kitchen.toml", []byte(text+"y = 'yes'\n"), &doc)
	wantError(t, err, "kitchen.toml:6: flags.y: wants true or false, not a string")
}

func TestAcceptsFrom(t *testing.T) {
	m := &Manifest{Kind: KindUpdate, From: []string{"2.0.0", "kilo", ">=2.0.3 <2.1"}}
	for version, want := range map[string]bool{
		"2.0.0": true, "2.0.3": true, "2.0.99": true, "kilo": true,
		"2.0.1": false, "2.1.0": false, "2.1.0-rc1": false, "juno": false, "2.0.4-rc1": false,
	} {
		if have, err := m.AcceptsFrom(version); err != nil || have != want {
			t.Errorf("AcceptsFrom(%q) = %v, %v", version, have, err)
		}
	}
	if _, err := m.AcceptsFrom("not a version"); err == nil {
		t.Error("accepted a bad version")
	}
}

func TestSampleStaysParsable(t *testing.T) {
	// The document of DESIGN.md §7, kept as a file for readers of FORMAT.md.
	if *update {
		if err := os.WriteFile("testdata/product.toml", []byte(goodSource), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "product.toml", []byte(goodSource))
}

func TestUnpackedPath(t *testing.T) {
	for path, want := range map[string]string{"root.tar.gz": "root.tar", "a/root.tgz": "a/root.tar", "disk.img.xz": "disk.img", "d.txz": "d.tar",
		"d.zst": "d", "d.tzst": "d.tar", "disk.img": "", ".gz": "", "tree.gz/": "", "a/.gz": "", "x.bz2": ""} {
		have, ok := UnpackedPath(path)
		if ok != (want != "") || ok && have != want || !ok && have != path {
			t.Errorf("%q: %q, %t, want %q", path, have, ok, want)
		}
	}
}
