package storage_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofrs/flock"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

func TestDirectoryReadingCreatesNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "bucket")
	s := openURL(t, "file://"+root, storage.Options{CreateBucket: true})
	if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	storagetest.Keys(t, s, "", "")
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made the directory: %v", err)
	}
}

// TestDirectoryThatIsGone: what is written to a disk that is not mounted does not go into the directory below.
func TestDirectoryThatIsGone(t *testing.T) {
	root := filepath.Join(t.TempDir(), "bucket")
	s := openURL(t, "file://"+root, storage.Options{})
	err := s.Create(t.Context(), "k", bytes.NewReader(nil), 0, "", "")
	_, swapped := s.Swap(t.Context(), "m", "", nil, "", "")
	if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(swapped, storage.ErrUnavailable) {
		t.Errorf("create: %v, swap: %v", err, swapped)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("writing made the directory: %v", err)
	}
}

// TestDirectoryCrash: what a killed writer leaves is never an object, and the next writer removes it; what a writer
// is still busy with stays.
func TestDirectoryCrash(t *testing.T) {
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	storagetest.Put(t, s, "a", []byte("x"))
	left, busy := filepath.Join(root, "_store/tmp", rand.Text()), filepath.Join(root, "_store/tmp", rand.Text())
	for _, path := range []string{left, busy} {
		if err := os.WriteFile(path, []byte("half an obj"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if keys := storagetest.Keys(t, s, "", ""); len(keys) != 1 {
		t.Errorf("listed: %q", keys)
	}
	writer := flock.New(busy)
	if err := writer.Lock(); err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	storagetest.Put(t, s, "b", []byte("x"))
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Errorf("another writer's file is gone: %v", err)
	}
}

// TestDirectoryKilledWriter kills a process in the middle of a large write, again and again.
func TestDirectoryKilledWriter(t *testing.T) {
	const variable = "KITCHEN_TEST_WRITE_TO"
	if root := os.Getenv(variable); root != "" {
		s := openURL(t, "file://"+root, storage.Options{})
		s.Create(t.Context(), "blobs/large", endless{}, 1<<30, "", "")
		return
	}
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDirectoryKilledWriter$")
		cmd.Env = append(os.Environ(), variable+"="+root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			if unfinished, _ := filepath.Glob(filepath.Join(root, "_store/tmp/*")); len(unfinished) > 0 {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		if keys := storagetest.Keys(t, s, "", ""); len(keys) != 0 {
			t.Errorf("half an object is visible: %q", keys)
		}
	}
	storagetest.Put(t, s, "blobs/large", []byte("complete"))
	if left, _ := filepath.Glob(filepath.Join(root, "_store/tmp/*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

type endless struct{}

func (endless) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestDirectoryDiskFull(t *testing.T) {
	root := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root).CombinedOutput(); err != nil {
		t.Skipf("a small file system cannot be mounted here: %s", out)
	}
	defer exec.Command("umount", root).Run()
	s := openURL(t, "file://"+root, storage.Options{})
	data := storagetest.Pattern(4 << 20)
	err := s.Create(t.Context(), "blobs/large", bytes.NewReader(data), int64(len(data)), "", "")
	var e *storage.Error
	if err == nil || !errors.As(err, &e) || !strings.Contains(err.Error(), "disk is full") || e.Hint() == "" {
		t.Errorf("%v, want an error that says that the disk is full, and a hint", err)
	}
	if keys := storagetest.Keys(t, s, "", ""); len(keys) != 0 {
		t.Errorf("left behind: %q", keys)
	}
	storagetest.Put(t, s, "blobs/small", []byte("fits again"))
}

func TestDirectoryOtherFiles(t *testing.T) {
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	storagetest.Put(t, s, "a/b", []byte("x"))
	for link, target := range map[string]string{"loop": ".", "a/dangling": "nowhere", "outside": "/etc"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("mkfifo", filepath.Join(root, "pipe")).Run(); err != nil {
		t.Skipf("NOT tested beside a named pipe: mkfifo: %v", err)
	}
	if keys := storagetest.Keys(t, s, "", ""); len(keys) != 1 {
		t.Errorf("listed: %q", keys)
	}
	for _, key := range []string{"pipe", "a", "loop", "a/dangling"} {
		if _, _, err := s.Open(t.Context(), key, 0, -1); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", key, err)
		}
	}
}

func TestDirectoryTruncatedWhileRead(t *testing.T) {
	root := t.TempDir()
	s := openURL(t, "file://"+root, storage.Options{})
	storagetest.Put(t, s, "large", storagetest.Pattern(3<<20))
	body, _, err := s.Open(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := os.Truncate(filepath.Join(root, "large"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v; want io.ErrUnexpectedEOF after 1 MiB", len(got), err)
	}
}

func TestAddresses(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}[name]
	}
	for _, good := range []string{
		"file:///a", "file://localhost/a", "file:///a/b%20c", "http://h", "https://h:1/p/", "https://user:secret@h/p",
		"s3://bucket", "s3://bucket/", "s3://bucket/pre/fix/", "s3://bucket?region=eu-west-1",
		"s3://bucket/p?endpoint=https://127.0.0.1:7070&region=us-east-1", "s3://bucket/p?endpoint=http%3A%2F%2Fhost%3A9000",
	} {
		s, err := storage.Open(t.Context(), good, storage.Options{Getenv: env})
		if err != nil {
			t.Errorf("%s: %v", good, err)
		} else if strings.Contains(s.URL(), "secret") {
			t.Errorf("%s is shown with its password", good)
		}
	}
	for _, bad := range []string{
		"", "a", "/a/b", "ftp://h/x", "file:a", "file://host/a", "file://", "file:///a?x=y", "file:///a#b", "http://", "http:///p",
		"https://h/p?token=x", "s3://", "s3:///p", "s3://bucket/../p", "s3://bucket/a//b", "s3://bucket?endpoint=host:9000",
		"s3://bucket?endpoint=https://h/path", "s3://bucket?regoin=x", "s3://bucket?region=a&region=b", "s3://k:s@bucket/p", "s3://bucket/%zz",
		"s3://bucket?endpoint=https://k:s@h", "%",
	} {
		_, err := storage.Open(t.Context(), bad, storage.Options{Getenv: env})
		var e *storage.AddressError
		if !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%q: %v, want *AddressError with a hint", bad, err)
		}
	}
}

// forgetful is a store that does not honour one of the conditions.
type forgetful struct {
	storage.Store
	create, swap bool
}

func TestProbeFindsStoresThatOverwrite(t *testing.T) {
	for _, c := range []forgetful{{create: true}, {swap: true}} {
		c.Store = openURL(t, "file://"+t.TempDir(), storage.Options{})
		var broken *storage.ConditionError
		if err := storage.CheckConditionalWrites(t.Context(), c); !errors.As(err, &broken) || broken.Hint() == "" {
			t.Errorf("%+v: %v, want *ConditionError with a hint", c, err)
		}
	}
}

func (f forgetful) Create(ctx context.Context, key string, body io.ReaderAt, size int64, contentType, cacheControl string) error {
	err := f.Store.Create(ctx, key, body, size, contentType, cacheControl)
	if f.create && errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

func (f forgetful) Swap(ctx context.Context, key, etag string, data []byte, contentType, cacheControl string) (string, error) {
	if info, err := f.Stat(ctx, key); f.swap && err == nil {
		etag = info.ETag
	}
	return f.Store.Swap(ctx, key, etag, data, contentType, cacheControl)
}

// TestAddressErrorsKeepSecrets: what looks like a password in an address that cannot be used is not shown.
func TestAddressErrorsKeepSecrets(t *testing.T) {
	for _, address := range []string{
		"s3://b/p?endpoint=http://AKIA:SECRET@127.0.0.1:1&region=x", "s3://b/p?secret=SECRET", "s3://u:SECRET@b/p",
		"https://h/p?X-Amz-Signature=SECRET", "https://u:SECRET@h:99x99/p", "ftp://u:SECRET@h/p", "file:///p?x=SECRET",
	} {
		_, err := storage.Open(t.Context(), address, storage.Options{})
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
