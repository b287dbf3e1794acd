package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
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
	"first bit flipped":   func(t *testing.T, path string) { flip(t, path, 0) },
	"another bit flipped": func(t *testing.T, path string) { flip(t, path, 2) },
	"last bit flipped":    func(t *testing.T, path string) { flip(t, path, 4) },
	"grown": func(t *testing.T, path string) {
		change(t, path, func(b []byte) []byte { return append(b, make([]byte, 64<<10)...) })
	},
	"an empty directory": func(t *testing.T, path string) { check(t, os.Remove(path)); check(t, os.Mkdir(path, 0o755)) },
	"a link to another file": func(t *testing.T, path string) {
		victim := filepath.Join(t.TempDir(), "victim")
		check(t, os.WriteFile(victim, []byte("{}"), 0o644))
		t.Cleanup(func() {
			if data, err := os.ReadFile(victim); err != nil || string(data) != "{}" {
				t.Errorf("what a link leads to was changed: %q, %v", data, err)
			}
		})
		check(t, os.Remove(path))
		check(t, os.Symlink(victim, path))
	},
	"a link to nothing": func(t *testing.T, path string) {
		check(t, os.Remove(path))
		check(t, os.Symlink(filepath.Join(t.TempDir(), "nothing"), path))
	},
	"a pipe": func(t *testing.T, path string) { check(t, os.Remove(path)); check(t, syscall.Mkfifo(path, 0o644)) },
}

// flip changes one bit, at so many quarters of a file.
func flip(t *testing.T, path string, quarters int) {
	t.Helper()
	change(t, path, func(b []byte) []byte { b[(len(b)-1)*quarters/4] ^= 1; return b })
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, f(data), 0o644))
}

// lived is a catalog with a host that has everything in its state directory, and what both were one commit before.
type lived struct {
	w             *catalogtest.World
	dir, olderDir string
	older         storage.Store
	names         []string // files in dir
}

func newLived(t *testing.T) *lived {
	t.Helper()
	l := &lived{w: certified(t), dir: t.TempDir()}
	l.w.RotateOnline()
	l.w.CommitOnline()
	l.visit(t)
	l.older, _ = mirror(t, l.w)
	l.olderDir = copyOf(t, l.dir)
	l.w.Publish("openstack@1.2.0", catalogtest.Content{})
	l.w.Recall("openstack@1.2.0", "a later CVE")
	l.w.Certify("openstack@1.0.0")
	l.visit(t)
	if l.names = files(t, l.dir); len(l.names) < 16 {
		t.Fatalf("state directory: %q", l.names)
	}
	return l
}

func (l *lived) visit(t *testing.T) {
	t.Helper()
	v := refresh(t, l.w, l.dir)
	check(t, third(v.Manifest(ctx, release("openstack@1.0.0"))))
	check(t, second(v.Customers(ctx)))
}

// heals: with its state directory damaged as it is, a host is not misled by an older copy of the catalog, and the next
// refresh makes everything as it was.
func (l *lived) heals(t *testing.T, dir, what string) {
	t.Helper()
	offlineNeverTrusts(t, l.w.Open(dir), what)
	if !strings.HasPrefix(what, "manifests/") && !strings.HasPrefix(what, "registry/") && !strings.HasPrefix(what, "roles/") {
		l.isNotRolledBack(t, dir, what)
	}
	v := refresh(t, l.w, dir)
	if len(v.Broken()) > 0 || v.MemoryLost() || stages(t, v)["1.0.0"] != "ready-to-deploy" {
		t.Fatalf("%s: broken %v, memory lost %v", what, v.Broken(), v.MemoryLost())
	}
	if recall, err := v.Recall(release("openstack@1.2.0")); err != nil || recall == nil {
		t.Fatalf("%s: the recall is forgotten: %v", what, err)
	}
	if strings.HasPrefix(what, "manifests/") || strings.HasPrefix(what, "registry/") {
		check(t, third(v.Manifest(ctx, release("openstack@1.0.0"))))
		check(t, second(v.Customers(ctx)))
	}
	check(t, second(l.w.Open(dir).Offline(nil)))
	for _, name := range l.names {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			t.Fatalf("%s: %s did not heal: %v", what, name, err)
		}
	}
	if got := files(t, dir); !slices.Equal(got, l.names) {
		t.Fatalf("%s: the state directory has become %q", what, got)
	}
}

func (l *lived) isNotRolledBack(t *testing.T, dir, what string) {
	t.Helper()
	o := l.w.Options(dir)
	o.Store = l.older
	c, err := catalog.Open(ctx, o)
	check(t, err)
	if _, err := c.Refresh(ctx); kindOf(err) != trust.Rollback {
		t.Fatalf("%s: an older catalog is taken: %v", what, err)
	}
}

func TestEveryDamagedStateFileHeals(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	for how, damage := range damages {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := copyOf(t, l.dir)
			for _, name := range l.names {
				damage(t, filepath.Join(dir, name))
				l.heals(t, dir, name+" "+how)
			}
		})
	}
}

// TestOlderCopyOfAStateFile: one file, or all but one, restored from a backup.
func TestOlderCopyOfAStateFile(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	older := contents(t, l.olderDir)
	dir := copyOf(t, l.dir)
	for _, name := range l.names {
		if data, there := older[name]; there {
			check(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
			l.heals(t, dir, name+" of a backup")
		}
	}
	for _, kept := range []string{"memory.a.json", "memory.b.json"} {
		for name, data := range older {
			if name != kept {
				check(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
			}
		}
		l.heals(t, dir, "everything but "+kept+" of a backup")
	}
	for name, data := range older { // both copies of the memory: the files still know better
		if strings.HasPrefix(name, "memory.") {
			check(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
		}
	}
	l.heals(t, dir, "the whole memory of a backup")
}

// TestStateFileOfAnotherCatalog, whole and intact in itself, is as good as none. That holds for the memory too, with
// however high a generation: its own copy still serves.
func TestStateFileOfAnotherCatalog(t *testing.T) {
	t.Parallel()
	l, other := newLived(t), newLived(t)
	for range 3 {
		other.w.Validate("openstack@1.1.0")
		other.visit(t)
	}
	foreign, dir := contents(t, other.dir), copyOf(t, l.dir)
	for _, name := range l.names {
		data, there := foreign[name]
		if !there || name == "pin.json" {
			continue
		}
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
		l.heals(t, dir, name+" of another catalog")
	}
	check(t, os.WriteFile(filepath.Join(dir, "pin.json"), []byte(foreign["pin.json"]), 0o644))
	_, err := catalog.Open(ctx, l.w.Options(dir))
	wantPinMismatch(t, err, catalog.Fingerprint(l.w.Root1), catalog.Fingerprint(other.w.Root1))

	for _, name := range []string{"memory.a.json", "memory.b.json"} { // both copies: as lost as can be
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(foreign[name]), 0o644))
	}
	check(t, removeAll(dir, "pin.json"))
	_, err = l.w.Open(dir).Offline(nil)
	var missing *catalog.NotRefreshed
	if !errors.As(err, &missing) {
		t.Errorf("offline with another catalog's memory: %v", err)
	}
	if v := refresh(t, l.w, dir); !v.MemoryLost() {
		t.Error("another catalog's memory was taken")
	}
	check(t, second(l.w.Open(dir).Offline(nil)))
}

// TestUnreadableStateFiles: what this user may not read is fetched again and replaced.
func TestUnreadableStateFiles(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	if os.Geteuid() == 0 {
		t.Log("LOUD: the tests run as root, whom no mode keeps out; this shows only that modes do no harm")
	}
	dir := copyOf(t, l.dir)
	for _, name := range l.names {
		check(t, os.Chmod(filepath.Join(dir, name), 0))
		l.heals(t, dir, name+" unreadable")
	}
}

// TestWhatCannotHealSaysWhy: a directory with something in it, a file where a directory belongs, and a lock that is no
// file: nothing is deleted and nothing hangs, the error names the path, and the hint says to move it away.
func TestWhatCannotHealSaysWhy(t *testing.T) {
	t.Parallel()
	l := newLived(t)
	full := func(name string) func(dir string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			return errors.Join(os.RemoveAll(path), os.MkdirAll(filepath.Join(path, "kept"), 0o755))
		}
	}
	for name, spoil := range map[string]func(dir string) error{
		"timestamp.json":   full("timestamp.json"),
		"snapshot.json":    full("snapshot.json"),
		"memory.a.json":    full("memory.a.json"),
		"memory.b.json":    full("memory.b.json"),
		"pin.json":         full("pin.json"),
		"root/1.root.json": full("root/1.root.json"),
		"roles": func(dir string) error {
			return errors.Join(removeAll(dir, "roles"), os.WriteFile(filepath.Join(dir, "roles"), nil, 0o644))
		},
		"lock": func(dir string) error {
			return errors.Join(removeAll(dir, "lock"), syscall.Mkfifo(filepath.Join(dir, "lock"), 0o644))
		},
	} {
		dir := copyOf(t, l.dir)
		check(t, spoil(dir))
		_, err := l.w.Open(dir).Refresh(ctx)
		var damaged *catalog.StateDamaged
		if !errors.As(err, &damaged) || !containsAll(err.Error(), filepath.Join(dir, name)) || !containsAll(damaged.Hint(), "move", filepath.Join(dir, name)) {
			t.Errorf("%s: %v", name, err)
		}
		check(t, os.Rename(filepath.Join(dir, name), filepath.Join(t.TempDir(), "away")))
		l.heals(t, dir, name+" moved away")
	}
	for name, what := range map[string]func(path string) error{
		"a directory":    func(path string) error { return os.Mkdir(path, 0o755) },
		"a link":         func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "elsewhere"), path) },
		"a pipe offline": func(path string) error { return syscall.Mkfifo(path, 0o644) },
	} {
		dir := copyOf(t, l.dir)
		check(t, errors.Join(removeAll(dir, "lock"), what(filepath.Join(dir, "lock"))))
		check(t, second(l.w.Open(dir).Offline(nil))) // the lock is a courtesy there
		var damaged *catalog.StateDamaged
		if err := second(l.w.Open(dir).Refresh(ctx)); !errors.As(err, &damaged) {
			t.Errorf("%s as lock: %v", name, err)
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
	info, err := v.Release(release("openstack@1.0.0"))
	if err == nil {
		_, raw, err := v.Manifest(ctx, info.Release)
		if strings.HasPrefix(what, "manifests/") && !errors.Is(err, catalog.ErrOffline) && catalogtest.Digest(raw) != info.SHA256 {
			t.Fatalf("%s: %d bytes, %v", what, len(raw), err)
		}
	}
	if role, ok := strings.CutPrefix(what, "roles/"); ok {
		role, _, _ = strings.Cut(role, ".json")
		if _, err := v.Role(role); kindOf(err) == "" && catalogtest.Digest(v.RawRole(role)) != v.Snapshot().Roles[role].SHA256 {
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
