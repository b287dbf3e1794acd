package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/storage"
)

// Run is the conformance suite. open gives an empty store and a function that opens the same place once more, as
// another process would.
func Run(t *testing.T, open func(t *testing.T) (store storage.Store, again func() storage.Store)) {
	RunReader(t, func(t *testing.T) storage.Store {
		store, _ := open(t)
		for key, data := range Seed() {
			Put(t, store, key, data)
		}
		return store
	})
	for name, test := range map[string]func(*testing.T, storage.Store, func() storage.Store){
		"create only":                            createOnly,
		"create, twenty at once":                 createRace,
		"create above the multipart limit":       createLarge,
		"create from a body that ends early":     createShort,
		"create from a body that knows its sum":  createDigested,
		"create below or above another":          createNested,
		"write under bad keys":                   writeBadKeys,
		"restore":                                restored,
		"swap":                                   swap,
		"swap, twenty at once":                   swapRace,
		"delete":                                 deleted,
		"delete what others create beside":       deleteRace,
		"delete against create of the same key":  deleteSameKey,
		"list":                                   list,
		"list an empty store":                    listEmpty,
		"list more than a thousand":              listMany,
		"cancelled writes":                       cancelledWrites,
		"conditional writes are proven to hold":  provenConditions,
		"capped reads of a mutable object":       cappedSwapped,
		"what one handle writes the other reads": twoHandles,
	} {
		runOne(t, name, open, test)
	}
}

func runOne(t *testing.T, name string, open func(*testing.T) (storage.Store, func() storage.Store), test func(*testing.T, storage.Store, func() storage.Store)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		store, again := open(t)
		test(t, store, again)
	})
}

// Put creates an object.
func Put(t testing.TB, store storage.Store, key string, data []byte) {
	t.Helper()
	if err := create(t.Context(), store, key, data); err != nil {
		t.Fatal(err)
	}
}

func create(ctx context.Context, store storage.Store, key string, data []byte) error {
	return store.Create(ctx, key, bytes.NewReader(data), int64(len(data)), "application/octet-stream", "max-age=31536000, immutable")
}

func expect(t testing.TB, store storage.Store, key string, want []byte) {
	t.Helper()
	got, _, err := storage.ReadAll(t.Context(), store, key, 64<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes %.40q, %v; want %d bytes %.40q", key, len(got), got, err, len(want), want)
	}
}

func createOnly(t *testing.T, store storage.Store, _ func() storage.Store) {
	const key = "metadata/7.snapshot.json"
	first := []byte("first content")
	Put(t, store, key, first)
	Put(t, store, key, first) // the same again is fine
	for _, other := range []string{"other content", "first content and more", "first", ""} {
		err := create(t.Context(), store, key, []byte(other))
		if !errors.Is(err, storage.ErrExists) {
			t.Errorf("create over it with %q: %v, want ErrExists", other, err)
		}
		checkError(t, err, key)
	}
	expect(t, store, key, first)
	Put(t, store, "empty", nil)
	Put(t, store, "empty", nil)
	if err := create(t.Context(), store, "empty", first); !errors.Is(err, storage.ErrExists) {
		t.Errorf("create over an empty object: %v, want ErrExists", err)
	}
	expect(t, store, "empty", nil)
}

func createRace(t *testing.T, _ storage.Store, again func() storage.Store) {
	const writers = 20
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			errs[i] = create(t.Context(), again(), "metadata/1.root.json", fmt.Appendf(nil, "writer %d", i))
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Errorf("writers %d and %d both created it", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, storage.ErrExists):
			t.Errorf("writer %d: %v, want ErrExists", i, err)
		}
	}
	expect(t, again(), "metadata/1.root.json", fmt.Appendf(nil, "writer %d", won))
}

func createLarge(t *testing.T, store storage.Store, _ func() storage.Store) {
	data := Pattern(20 << 20)
	Put(t, store, "blobs/sha256/aa/x", data)
	Put(t, store, "blobs/sha256/aa/x", data)
	other := bytes.Clone(data)
	other[len(other)-1]++
	if err := create(t.Context(), store, "blobs/sha256/aa/x", other); !errors.Is(err, storage.ErrExists) {
		t.Errorf("create over a large object: %v, want ErrExists", err)
	}
	expect(t, store, "blobs/sha256/aa/x", data)
	if err := store.Create(t.Context(), "y", bytes.NewReader(nil), storage.MaxObject+1, "", ""); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("create more than fits one object: %v, want ErrTooLarge", err)
	}
}

func createShort(t *testing.T, store storage.Store, _ func() storage.Store) {
	for _, size := range []int64{1, 100, 1 << 20} {
		err := store.Create(t.Context(), "blobs/short", bytes.NewReader(Pattern(int(size)-1)), size, "", "")
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes announced, one missing: %v, want io.ErrUnexpectedEOF", size, err)
		}
	}
	if keys := Keys(t, store, "", ""); len(keys) != 0 {
		t.Errorf("left behind: %q", keys)
	}
}

// summed is a body that claims a SHA-256, right or wrong.
type summed struct {
	*bytes.Reader
	sum string
}

func (s summed) SHA256() string { return s.sum }

func createDigested(t *testing.T, store storage.Store, _ func() storage.Store) {
	for _, size := range []int{0, 100, 1 << 20} {
		data := Pattern(size)
		sum := sha256.Sum256(data)
		put := func(key, sum string) error {
			return store.Create(t.Context(), key, summed{bytes.NewReader(data), sum}, int64(size), "", "")
		}
		key := fmt.Sprintf("blobs/%d", size)
		if err := put(key+"-wrong", strings.Repeat("0", 64)); err == nil {
			t.Errorf("%d bytes with another sum are stored", size)
		}
		if err := put(key, hex.EncodeToString(sum[:])); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		expect(t, store, key, data)
	}
	if keys := Keys(t, store, "", ""); len(keys) != 3 {
		t.Errorf("there are %q", keys)
	}
}

// createNested allows a store to take both names, as Amazon's does, but not to lose one.
func createNested(t *testing.T, store storage.Store, _ func() storage.Store) {
	Put(t, store, "a/b", []byte("the object"))
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		if err := create(t.Context(), store, key, []byte("another")); err == nil {
			expect(t, store, key, []byte("another"))
		} else if !errors.Is(err, storage.ErrExists) {
			t.Errorf("%s beside a/b: %v, want ErrExists", key, err)
		}
	}
	expect(t, store, "a/b", []byte("the object"))
}

func writeBadKeys(t *testing.T, store storage.Store, _ func() storage.Store) {
	for _, key := range BadKeys() {
		var bad *storage.KeyError
		if err := create(t.Context(), store, key, []byte("x")); !errors.As(err, &bad) {
			t.Errorf("create %q: %v, want *KeyError", key, err)
		}
		if _, err := store.Swap(t.Context(), key, "", []byte("x"), "", ""); !errors.As(err, &bad) {
			t.Errorf("swap %q: %v, want *KeyError", key, err)
		}
	}
	if keys := Keys(t, store, "", ""); len(keys) != 0 {
		t.Errorf("left behind: %q", keys)
	}
}

func swap(t *testing.T, store storage.Store, _ func() storage.Store) {
	const key = "metadata/timestamp.json"
	try := func(old, data string) (string, error) {
		return store.Swap(t.Context(), key, old, []byte(data), "application/json", "no-store")
	}
	if _, err := try("0123456789abcdef0123456789abcdef", "no"); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("swap what is absent: %v, want ErrConflict", err)
	}
	one, err := try("", "one")
	if err != nil || one == "" {
		t.Fatalf("first: %q, %v", one, err)
	}
	if _, err := try("", "no"); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("first again: %v, want ErrConflict", err)
	}
	if info, err := store.Stat(t.Context(), key); err != nil || info.ETag != one {
		t.Errorf("stat: %+v, %v; want the tag that the swap gave, %s", info, err, one)
	}
	two, err := try(one, "two")
	if err != nil || two == one {
		t.Fatalf("second: %q after %q, %v", two, one, err)
	}
	_, err = try(one, "no")
	if !errors.Is(err, storage.ErrConflict) {
		t.Errorf("stale tag: %v, want ErrConflict", err)
	}
	checkError(t, err, key)
	expect(t, store, key, []byte("two"))
	Put(t, store, "created", []byte("by create"))
	info, err := store.Stat(t.Context(), "created")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Swap(t.Context(), "created", info.ETag, []byte("by swap"), "", ""); err != nil {
		t.Errorf("swap of a created object: %v", err)
	}
	expect(t, store, "created", []byte("by swap"))
}

// swapRace lets twenty writers start each round from the same tag.
func swapRace(t *testing.T, store storage.Store, again func() storage.Store) {
	const key, writers, rounds = "metadata/timestamp.json", 20, 6
	handles := make([]storage.Store, writers)
	for i := range handles {
		handles[i] = again()
	}
	tag := ""
	for round := range rounds {
		tags, errs := make([]string, writers), make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				tags[i], errs[i] = handles[i].Swap(t.Context(), key, tag, fmt.Appendf(nil, "round %d writer %d", round, i), "application/json", "no-store")
			})
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Fatalf("round %d: writers %d and %d both won", round, won, i)
			case err == nil:
				won = i
			case !errors.Is(err, storage.ErrConflict):
				t.Errorf("round %d, writer %d: %v, want ErrConflict", round, i, err)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		expect(t, store, key, fmt.Appendf(nil, "round %d writer %d", round, won))
		tag = tags[won]
	}
}

// Keys lists a store.
func Keys(t testing.TB, store storage.Store, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range store.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func list(t *testing.T, store storage.Store, _ func() storage.Store) {
	all := []string{"a-b", "a.c/d", "a/b", "a/b-c", "a/c/d", "a/c0", "a0", "b", "reports/acme/ci/_logs/x", "reports/acme/ci/p/1", "reports/acme-2/ci/p/1", "ü/x"}
	slices.Sort(all)
	for _, key := range all {
		Put(t, store, key, []byte(key))
	}
	if _, err := store.Swap(t.Context(), "a/b2", "", []byte("x"), "", ""); err != nil {
		t.Fatal(err)
	}
	all = append(all, "a/b2")
	slices.Sort(all)
	prefixes := []string{"", "a", "a/", "a/b", "a/c", "reports/acme/", "reports/acme", "zzz", "a/b/none", "../"}
	for _, prefix := range prefixes {
		for _, after := range append([]string{"", "a/", "a/b", "a/b-", "zzzz", "reports/acme/ci"}, all...) {
			var want []string
			for _, key := range all {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			if got := Keys(t, store, prefix, after); !slices.Equal(got, want) {
				t.Errorf("list %q after %q:\n got %q\nwant %q", prefix, after, got, want)
			}
		}
	}
	for info, err := range store.List(t.Context(), "a", "") { // a consumer may stop
		if err != nil || info.Size != int64(len(info.Key)) {
			t.Errorf("%+v, %v", info, err)
		}
		break
	}
}

func listEmpty(t *testing.T, store storage.Store, _ func() storage.Store) {
	if keys := Keys(t, store, "", ""); len(keys) != 0 {
		t.Errorf("an empty store lists %q", keys)
	}
}

func listMany(t *testing.T, store storage.Store, _ func() storage.Store) {
	const n = 1050
	var want []string
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		key := fmt.Sprintf("pending/%d/%04d", i%3, i)
		want = append(want, key)
		g.Go(func() error { return create(t.Context(), store, key, []byte("x")) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := Keys(t, store, "", ""); !slices.Equal(got, want) {
		t.Errorf("%d keys, want %d in ascending order", len(got), len(want))
	}
	if got := Keys(t, store, "pending/", want[1020]); !slices.Equal(got, want[1021:]) {
		t.Errorf("%d keys after the 1,021st, want %d", len(got), n-1021)
	}
}

func cancelledWrites(t *testing.T, store storage.Store, _ func() storage.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, swapErr := store.Swap(ctx, "s", "", []byte("x"), "", "")
	var listErr error
	for _, err := range store.List(ctx, "", "") {
		listErr = err
	}
	for name, err := range map[string]error{"create": create(ctx, store, "c", []byte("x")), "swap": swapErr, "list": listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	data := Pattern(8 << 20)
	err := store.Create(ctx, "blobs/cancelled", cancelAt{bytes.NewReader(data), 4 << 20, cancel}, int64(len(data)), "", "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("create, cancelled half-way: %v, want context.Canceled", err)
	}
	if keys := Keys(t, store, "", ""); len(keys) != 0 {
		t.Errorf("left behind: %q", keys)
	}
}

// cancelAt cancels when it is read from an offset on.
type cancelAt struct {
	io.ReaderAt
	at     int64
	cancel context.CancelFunc
}

func (c cancelAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.at {
		c.cancel()
	}
	return c.ReaderAt.ReadAt(p, off)
}

func provenConditions(t *testing.T, store storage.Store, _ func() storage.Store) {
	for range 2 {
		if err := storage.CheckConditionalWrites(t.Context(), store); err != nil {
			t.Error(err)
		}
	}
}

func cappedSwapped(t *testing.T, store storage.Store, _ func() storage.Store) {
	if _, err := store.Swap(t.Context(), "metadata/timestamp.json", "", Pattern(1000), "", ""); err != nil {
		t.Fatal(err)
	}
	body, info, err := store.OpenIfChanged(t.Context(), "metadata/timestamp.json", "")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := storage.ReadBody(body, info, 999); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("one byte too many: %v, want ErrTooLarge", err)
	}
	if _, err := store.Swap(t.Context(), "large", "", Pattern(2<<20), "", ""); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("swap a large object: %v, want ErrTooLarge", err)
	}
}

func twoHandles(t *testing.T, store storage.Store, again func() storage.Store) {
	Put(t, store, "a/b", []byte("x"))
	expect(t, again(), "a/b", []byte("x"))
	tag, err := again().Swap(t.Context(), "t", "", []byte("1"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Swap(t.Context(), "t", tag, []byte("2"), "", ""); err != nil {
		t.Error(err)
	}
	if again().URL() != store.URL() {
		t.Errorf("%s and %s", again().URL(), store.URL())
	}
}
