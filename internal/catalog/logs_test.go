package catalog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// openLog uploads a report of acme/staging with these stored bytes as its log, and opens that.
func openLog(t testing.TB, w *catalogtest.World, stored []byte, rawSize int64) (*catalog.Log, error) {
	ref := &manifest.LogRef{SHA256: catalogtest.Digest(stored), Size: int64(len(stored)), RawSize: rawSize}
	w.Put(manifest.LogObject(staging, ref.SHA256), stored)
	w.Report(staging.String(), on.String(), manifest.Passed, func(r *manifest.Report) { r.Log = ref })
	v := w.View()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on, Site: &staging})
	if err != nil {
		t.Fatal(err)
	}
	return v.ReadLog(ctx, *r.Latest(staging, on))
}

func compress(t testing.TB, text []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	e, err := zstd.NewWriter(&out, append(o, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The frames of RFC 8878, by hand.
const zstdMagic = "\x28\xb5\x2f\xfd"

// runs is a frame of n blocks that each repeat one byte 128 KiB times: four bytes a block.
func runs(n int) []byte {
	frame := []byte(zstdMagic + "\x00\x38") // no content size, no checksum; window 128 KiB
	const block = 128 << 10
	for i := range n {
		last := 0
		if i == n-1 {
			last = 1
		}
		head := last | 1<<1 | block<<3
		frame = append(frame, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return frame
}

// singleSegment announces its content size, which is its window as well.
func singleSegment(size uint64) []byte {
	frame := append([]byte(zstdMagic), 0xe0)
	frame = binary.LittleEndian.AppendUint64(frame, size)
	const block = 128 << 10
	for range min(size/block, 8*1024) {
		head := 1<<1 | block<<3
		frame = append(frame, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return append(frame, 1, 0, 0) // last, raw, empty
}

// TestALogThatIsABomb: whatever the frames say, a reader gets an error or what the report announces, and holds no
// more than a window for it.
func TestALogThatIsABomb(t *testing.T) {
	const mib = 1 << 20
	skippable := append([]byte("\x50\x2a\x4d\x18"), binary.LittleEndian.AppendUint32(nil, mib)...)
	dictionary := append([]byte(zstdMagic+"\x03\x38"), 7, 0, 0, 0, 1, 0, 0)
	for name, c := range map[string]struct {
		stored []byte
		raw    int64
		says   string // "": it reads as announced
	}{
		"more than announced":         {runs(8 * 256), 10, "longer than its report says"},
		"nothing announced":           {runs(8 * 256), 0, "longer than its report says"},
		"as announced":                {runs(8 * 256), 256 * mib, ""},
		"less than announced":         {runs(8), 256 * mib, "shorter than its report says"},
		"content of a gibibyte":       {singleSegment(1 << 30), 1 << 30, "exceeds configured limit"},
		"content of an exbibyte":      {singleSegment(1 << 60), 1 << 20, "exceed"},
		"window of 3.75 TiB":          {[]byte(zstdMagic + "\x00\xff\x01\x00\x00"), mib, "window size exceeded"},
		"window of 128 MiB":           {[]byte(zstdMagic + "\x00\x88\x01\x00\x00"), mib, "window size exceeded"},
		"window of 64 MiB":            {[]byte(zstdMagic + "\x00\x80\x01\x00\x00"), 0, ""},
		"many frames":                 {bytes.Repeat(compress(t, []byte("x")), 100_000), 100_000, ""},
		"many frames, one more":       {bytes.Repeat(compress(t, []byte("x")), 100_001), 100_000, "longer"},
		"frames that are skipped":     {bytes.Repeat(append(skippable, make([]byte, mib)...), 8), 0, ""},
		"a frame that skips too much": {append([]byte("\x50\x2a\x4d\x18"), 0xff, 0xff, 0xff, 0xff), 0, "EOF"},
		"a dictionary":                {dictionary, 0, "dictionary"},
		"garbage after the frame":     {append(compress(t, []byte("text")), "garbage"...), 4, "magic"},
		"cut":                         {compress(t, []byte(strings.Repeat("text", 1000)))[:20], 4000, "EOF"},
		"not zstd":                    {[]byte("plain text, and more of it"), 26, "magic"},
		"empty":                       {nil, 0, ""},
		"empty, and announced":        {nil, 5, "shorter than its report says"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certifiable(t)
			log, err := openLog(t, w, c.stored, c.raw)
			check(t, err)
			defer log.Close()
			before := allocated()
			n, err := io.Copy(io.Discard, log)
			spent := allocated() - before
			if c.says == "" && (err != nil || n != c.raw) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%d bytes, then %v", n, err)
			}
			if n > c.raw {
				t.Errorf("%d bytes given out, %d announced", n, c.raw)
			}
			// The text of the biggest has 256 MiB. A window of the largest size is allowed, with what belongs to it.
			if limit := int64(3 * 64 * mib); spent > limit {
				t.Errorf("%d bytes were allocated", spent)
			}
			if err != nil {
				if _, again := log.Read(make([]byte, 1)); again == nil || again == io.EOF {
					t.Errorf("reading on gives %v", again)
				}
			}
		})
	}
}

// allocated counts all bytes ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

func TestALogIsReadTwice(t *testing.T) {
	w := certifiable(t)
	text := strings.Repeat("a line of the log\n", 50_000)
	log, err := openLog(t, w, compress(t, []byte(text)), int64(len(text)))
	check(t, err)
	defer log.Close()
	for _, part := range []int64{0, 10, 1 << 20, -1} {
		check(t, log.Rewind())
		if part >= 0 {
			_, err := io.CopyN(io.Discard, log, part)
			if err != nil && err != io.EOF {
				t.Fatal(err)
			}
			continue
		}
		if got, err := io.ReadAll(log); err != nil || string(got) != text {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// TestALogOtherThanItsReportSays: the store's bytes are held to the report before the first is given out.
func TestALogOtherThanItsReportSays(t *testing.T) {
	w := certifiable(t)
	stored := compress(t, []byte("text"))
	log, err := openLog(t, w, stored, 4)
	check(t, err)
	check(t, log.Close())
	v := w.View()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on, Site: &staging})
	check(t, err)
	latest := *r.Latest(staging, on)
	key := manifest.LogObject(staging, catalogtest.Digest(stored))
	overwrite(t, w, key, compress(t, []byte("tex!")))
	_, err = v.ReadLog(ctx, latest)
	wantKind(t, err, trust.Mismatch)
	overwrite(t, w, key, make([]byte, 65<<20))
	if _, err = v.ReadLog(ctx, latest); !strings.Contains(err.Error(), storage.ErrTooLarge.Error()) {
		t.Error(err)
	}
	latest.Log.RawSize = catalog.MaxLog + 1
	overwrite(t, w, key, stored)
	if _, err = v.ReadLog(ctx, latest); err == nil || !strings.Contains(err.Error(), "at most 1073741824 are shown") {
		t.Error(err)
	}
}

// TestALogThatNeverArrived is said as such, and blames nobody's address.
func TestALogThatNeverArrived(t *testing.T) {
	w := certifiable(t)
	w.Report(staging.String(), on.String(), manifest.Passed, func(r *manifest.Report) {
		r.Log = &manifest.LogRef{SHA256: catalogtest.Digest([]byte("x")), Size: 1, RawSize: 1}
	})
	v := w.View()
	r, err := v.Reports(ctx, catalog.ReportFilter{Release: &on, Site: &staging})
	check(t, err)
	_, err = v.ReadLog(ctx, *r.Latest(staging, on))
	var none *catalog.NoLog
	if !errors.As(err, &none) || !strings.Contains(err.Error(), "was never sent, or was removed") {
		t.Error(err)
	}
}
