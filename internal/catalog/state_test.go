package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
)

// damages are what happens to files on disks.
var damages = map[string]func(t *testing.T, path string){
	"removed":   func(t *testing.T, path string) { check(t, os.Remove(path)) },
	"emptied":   func(t *testing.T, path string) { check(t, os.WriteFile(path, nil, 0o644)) },
	"truncated": func(t *testing.T, path string) { change(t, path, func(b []byte) []byte { return b[:len(b)/2] }) },
	"zeroed": func(t *testing.T, path string) {
		change(t, path, func(b []byte) []byte { return make([]byte, len(b)) })
	},
	"flipped": func(t *testing.T, path string) {
		change(t, path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	},
	"grown": func(t *testing.T, path string) {
		change(t, path, func(b []byte) []byte { return append(b, make([]byte, 64<<10)...) })
	},
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, f(data), 0o644))
}

func TestEveryDamagedStateFileHeals(t *testing.T) {
	w := published(t)
	w.Validate("openstack@1.0.0")
	w.RotateOnline()
	w.CommitOnline()
	dir := t.TempDir()
	v := refresh(t, w, dir)
	_, _, err := v.Manifest(ctx, release("openstack@1.0.0"))
	check(t, err)
	_, err = v.Customers(ctx)
	check(t, err)
	names := files(t, dir)
	if len(names) < 14 {
		t.Fatalf("state directory: %q", names)
	}
	for _, name := range names {
		for how, damage := range damages {
			damage(t, filepath.Join(dir, name))
			offlineNeverTrusts(t, w.Open(dir), name+" "+how)
			v := refresh(t, w, dir)
			wantStage(t, v, "1.0.0", "validated")
			if len(v.Broken()) > 0 {
				t.Fatalf("%s %s: %v", name, how, v.Broken())
			}
			_, _, err := v.Manifest(ctx, release("openstack@1.0.0"))
			check(t, err)
			_, err = v.Customers(ctx)
			check(t, err)
			_, err = w.Open(dir).Offline(nil)
			check(t, err)
			if got := files(t, dir); !slices.Equal(got, names) {
				t.Fatalf("%s %s: the state directory has become %q", name, how, got)
			}
		}
	}
}

// offlineNeverTrusts: an offline view over a damaged directory is refused, lacks what was damaged, or (where the
// damaged file does not count) is right.
func offlineNeverTrusts(t *testing.T, c *catalog.Catalog, what string) {
	t.Helper()
	v, err := c.Offline(nil)
	if err != nil {
		var missing *catalog.NotRefreshed
		if kindOf(err) == "" && !errors.As(err, &missing) {
			t.Fatalf("%s: %v", what, err)
		}
		return
	}
	_, raw, err := v.Manifest(ctx, release("openstack@1.0.0"))
	if strings.HasPrefix(what, "manifests/") && !errors.Is(err, catalog.ErrOffline) {
		t.Fatalf("%s: %d bytes, %v", what, len(raw), err)
	}
	if role, ok := strings.CutPrefix(what, "roles/"); ok {
		role, _, _ = strings.Cut(role, ".json")
		if _, err := v.Role(role); kindOf(err) == "" {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func TestOneCopyOfTheMemorySuffices(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	for _, name := range []string{"memory.a.json", "memory.b.json"} {
		check(t, os.Remove(filepath.Join(dir, name)))
		_, err := w.Open(dir).Offline(nil)
		check(t, err)
		refresh(t, w, dir)
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("%s did not heal: %v", name, err)
		}
	}
	for _, name := range []string{"memory.a.json", "memory.b.json"} {
		check(t, os.Remove(filepath.Join(dir, name)))
	}
	_, err := w.Open(dir).Offline(nil)
	var missing *catalog.NotRefreshed
	if !errors.As(err, &missing) || kindOf(err) != trust.Missing || missing.Hint() == "" {
		t.Fatal(err)
	}
}

func TestStateDirectoryThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := published(t).Open(filepath.Join(file, "state")).Refresh(ctx); err == nil {
		t.Fatal("refreshed into a file")
	}
}
