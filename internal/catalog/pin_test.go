package catalog_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
)

func TestNoPin(t *testing.T) {
	w := published(t)
	o := w.Options(t.TempDir())
	o.Root = nil
	_, err := catalog.Open(ctx, o)
	var missing *catalog.NoPin
	if !errors.As(err, &missing) || missing.Hint() == "" {
		t.Fatal(err)
	}
}

func TestFingerprintPin(t *testing.T) {
	w, dir := published(t), t.TempDir()
	o := w.Options(dir)
	o.Root, o.RootFingerprint = nil, strings.ToUpper(catalog.Fingerprint(w.Root1)[:8])+catalog.Fingerprint(w.Root1)[8:]
	c, err := catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	check(t, err)

	o.RootFingerprint = "" // from now on the state directory's own pin serves
	c, err = catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	check(t, err)
	_, err = c.Offline(nil)
	check(t, err)

	for _, bad := range []string{"sha256:12", "12", "md5:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("g", 64)} {
		o.RootFingerprint = bad
		if _, err := catalog.Open(ctx, o); err == nil {
			t.Errorf("fingerprint %q was taken", bad)
		}
	}
}

func TestWrongPin(t *testing.T) {
	w, other := published(t), catalogtest.New(t)
	wrong := catalog.Fingerprint(other.Root1)

	t.Run("of the store", func(t *testing.T) {
		o := w.Options(t.TempDir())
		o.Root, o.RootFingerprint = nil, wrong
		c, err := catalog.Open(ctx, o)
		check(t, err)
		_, err = c.Refresh(ctx)
		wantPinMismatch(t, err, wrong, catalog.Fingerprint(w.Root1))
		if left := files(t, o.Dir); len(left) != 0 {
			t.Fatalf("left behind: %q", left)
		}
	})
	t.Run("root file of another catalog", func(t *testing.T) {
		o := w.Options(t.TempDir())
		o.Root = other.Root1
		c, err := catalog.Open(ctx, o)
		check(t, err)
		_, err = c.Refresh(ctx)
		wantKind(t, err, trust.BadSignature)
		if left := files(t, o.Dir); len(left) != 0 {
			t.Fatalf("left behind: %q", left)
		}
	})
	t.Run("of the state directory", func(t *testing.T) {
		o := w.Options(t.TempDir())
		refresh(t, w, o.Dir)
		o.Root = other.Root1
		_, err := catalog.Open(ctx, o)
		wantPinMismatch(t, err, wrong, catalog.Fingerprint(w.Root1))
		o.Root, o.RootFingerprint = nil, wrong
		_, err = catalog.Open(ctx, o)
		wantPinMismatch(t, err, wrong, catalog.Fingerprint(w.Root1))
	})
	t.Run("file and fingerprint contradict each other", func(t *testing.T) {
		o := w.Options(t.TempDir())
		o.RootFingerprint = wrong
		_, err := catalog.Open(ctx, o)
		wantPinMismatch(t, err, wrong, catalog.Fingerprint(w.Root1))
	})
	t.Run("not a root", func(t *testing.T) {
		o := w.Options(t.TempDir())
		o.Root = []byte("<html>")
		_, err := catalog.Open(ctx, o)
		wantKind(t, err, trust.Malformed)
	})
}

func wantPinMismatch(t *testing.T, err error, fingerprints ...string) {
	t.Helper()
	var mismatch *catalog.PinMismatch
	if !errors.As(err, &mismatch) || kindOf(err) != trust.Mismatch || mismatch.Hint() == "" {
		t.Fatalf("not a pin mismatch: %v", err)
	}
	for _, f := range fingerprints {
		if !strings.Contains(err.Error(), f) {
			t.Errorf("%q does not name %s", err, f)
		}
	}
}

func TestPinsOfTwoVersionsOfOneChain(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir) // pins root 1
	w.RotateOnline()
	w.CommitOnline()
	second := w.RootFile
	o := w.Options(dir)
	o.Root = second
	c, err := catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	check(t, err)

	o.Root, o.RootFingerprint, o.RootVersion = nil, catalog.Fingerprint(w.Root1), 2 // wrong digest for root 2
	c, err = catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	wantPinMismatch(t, err, catalog.Fingerprint(second), catalog.Fingerprint(w.Root1))

	o.RootVersion = 7 // a root that nobody has seen
	c, err = catalog.Open(ctx, o)
	check(t, err)
	_, err = c.Refresh(ctx)
	wantPinMismatch(t, err, catalog.Fingerprint(w.Root1))
}

func TestDamagedPinIsNeverTrusted(t *testing.T) {
	w := published(t)
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			refresh(t, w, dir)
			damage(t, filepath.Join(dir, "pin.json"))
			o := w.Options(dir)
			o.Root = nil
			var missing *catalog.NoPin
			if _, err := catalog.Open(ctx, o); !errors.As(err, &missing) {
				t.Fatalf("opened without a pin: %v", err)
			}
			refresh(t, w, dir) // the configured pin brings it back
			if _, err := catalog.Open(ctx, o); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDamagedPinnedRootHealsByItsDigest(t *testing.T) {
	w, dir := published(t), t.TempDir()
	refresh(t, w, dir)
	check(t, os.WriteFile(filepath.Join(dir, "root", "1.root.json"), catalogtest.New(t).Root1, 0o644))
	o := w.Options(dir)
	o.Root = nil
	c, err := catalog.Open(ctx, o)
	check(t, err)
	if _, err := c.Offline(nil); err == nil {
		t.Fatal("another root was taken offline")
	}
	_, err = c.Refresh(ctx)
	check(t, err)
	_, err = c.Offline(nil)
	check(t, err)
}
