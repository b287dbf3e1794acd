// Package arch holds the project to its own drawing: who may import whom, and
// which calls belong into which room. It has tests only.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/enovance/kitchen"

// arrows lists, for every room, the rooms it may import. "leaf" stands for the
// small leaves that anybody may use.
var arrows = map[string][]string{
	"cmd/kitchen":          {"publisher", "fetcher", "internal/catalog", "internal/transfer", "internal/trust", "internal/storage", "keys", "manifest", "leaf"},
	"cmd/tuf-client":       {"internal/trust", "manifest", "internal/durable"},
	"publisher":            {"internal/catalog", "internal/transfer", "internal/trust", "internal/storage", "keys", "manifest", "leaf"},
	"fetcher":              {"internal/catalog", "internal/transfer", "internal/trust", "internal/storage", "keys", "manifest", "leaf"},
	"internal/catalog":     {"internal/trust", "internal/storage", "keys", "manifest", "leaf"},
	"internal/transfer":    {"internal/storage", "manifest", "leaf"},
	"internal/trust":       {"keys", "manifest"},
	"internal/storage":     {"manifest", "leaf"},
	"keys":                 {"manifest", "leaf"},
	"manifest":             {},
	"internal/durable":     {},
	"internal/progress":    {},
	"internal/hook":        {},
	"internal/poll":        {},
	"internal/render":      {},
	"internal/chunk":       {},
	"internal/delta":       {},
	"internal/arch":        {},
	"testdata":             {},
	"internal/storage/...": {"internal/storage", "manifest", "leaf"}, // its test helpers
}

var leaves = []string{"internal/durable", "internal/progress", "internal/hook", "internal/poll", "internal/render", "internal/chunk", "internal/delta"}

// soleImporters names the only rooms that may touch a foreign module.
var soleImporters = map[string][]string{
	"github.com/minio/minio-go":          {"internal/storage"},
	"github.com/theupdateframework/":     {"internal/trust"},
	"github.com/sigstore/":               {"keys"},
	"github.com/secure-systems-lab/":     {"keys", "internal/trust"},
	"github.com/urfave/cli":              {"cmd/kitchen"},
	"github.com/schollz/progressbar":     {"cmd/kitchen"},
	"golang.org/x/term":                  {"cmd/kitchen"},
	"golang.org/x/sys/unix":              {"cmd/kitchen", "fetcher"},
	"github.com/Masterminds/semver":      {"manifest"},
	"github.com/in-toto/":                {"manifest", "keys"},
	"github.com/ulikunitz/xz":            {"publisher"},
	"github.com/ThalesGroup/crypto11":    {"keys"},
	"github.com/miekg/pkcs11":            {"keys"},
	"github.com/youmark/pkcs8":           {"keys"},
	"github.com/rogpeppe/go-internal":    {},
	"github.com/klauspost/compress/zstd": {"internal/catalog", "internal/chunk", "internal/delta", "internal/transfer", "publisher", "fetcher"},
}

// onlyInCmd are calls that read the world; everywhere else it is passed in.
var onlyInCmd = []string{"time.Now", "time.Since", "time.Until", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Exit", "os.Stdin", "os.Stdout", "os.Stderr", "os.Args", "log.Fatal", "log.Fatalf"}

// excused lists exceptions, each with its reason.
var excused = map[string]string{}

type source struct {
	room string // directory below the module's root
	path string
	test bool // a _test.go file, or part of a package of test helpers
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file of the module, nested modules left out.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") && name != ".." || isModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(rel))
		helper := strings.HasSuffix(file.Name.Name, "test") && !strings.HasSuffix(path, "_test.go")
		all = append(all, source{room: room, path: filepath.ToSlash(rel), test: helper || strings.HasSuffix(path, "_test.go"), file: file, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found: the walk is broken", len(all))
	}
	return all
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (s source) imports() []string {
	var paths []string
	for _, i := range s.file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

func (s source) excused(what string) bool { return excused[s.path+" "+what] != "" }

func TestArrowsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		allowed, known := arrows[s.room]
		if parent := filepath.ToSlash(filepath.Dir(s.room)) + "/..."; !known {
			allowed, known = arrows[parent]
		}
		if !known {
			t.Errorf("%s: the room %s is not on the drawing in DESIGN §11; add it to arrows", s.path, s.room)
			continue
		}
		for _, p := range s.imports() {
			room, ours := strings.CutPrefix(p, module+"/")
			if !ours || slices.Contains(allowed, room) || slices.Contains(allowed, "leaf") && slices.Contains(leaves, room) || s.excused(room) {
				continue
			}
			t.Errorf("%s imports %s; %s may import only %v", s.path, room, s.room, allowed)
		}
	}
}

func TestForeignModulesStayInTheirRoom(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, p := range s.imports() {
			for prefix, rooms := range soleImporters {
				if strings.HasPrefix(p, prefix) && !slices.Contains(rooms, s.room) && !s.excused(p) {
					t.Errorf("%s imports %s, which belongs to %v", s.path, p, rooms)
				}
			}
		}
	}
}

func TestNoTestingInProduction(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range s.imports() {
			if !s.test && (p == "testing" || strings.HasPrefix(p, "testing/")) {
				t.Errorf("%s imports %s outside of tests", s.path, p)
			}
		}
	}
}

func TestOnlyCmdReadsTheWorld(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.room, "cmd/") {
			continue
		}
		imported := s.imports()
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := call.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := pkg.Name + "." + call.Sel.Name
			if slices.Contains(onlyInCmd, name) && slices.Contains(imported, pkg.Name) && !s.excused(name) {
				t.Errorf("%s: %s outside of cmd/", s.fset.Position(call.Pos()), name)
			}
			return true
		})
	}
}

func TestEveryExceptionStillHasAReason(t *testing.T) {
	for what, reason := range excused {
		if reason == "" {
			t.Errorf("%q is excused without a reason", what)
		}
	}
}

func TestOnlyMainExits(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.path == "cmd/kitchen/main.go" || s.path == "cmd/tuf-client/main.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok {
				if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "os" && f.Sel.Name == "Exit" {
					t.Errorf("%s: only main exits", s.fset.Position(call.Pos()))
				}
			}
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "panic" {
				t.Errorf("%s: panic", s.fset.Position(call.Pos()))
			}
			return true
		})
	}
}
