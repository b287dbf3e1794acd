package fetcher

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
)

const half = 100

func newLog(t *testing.T) *hookLog {
	t.Helper()
	l, err := newHookLog(filepath.Join(t.TempDir(), "log"), half, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func readLog(t *testing.T, l *hookLog) string {
	t.Helper()
	data, err := io.ReadAll(l.content())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// numbered is n bytes of which every stretch is different.
func numbered(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// TestLogKeepsExactlyItsHeadAndTail writes every length in pieces of several sizes.
func TestLogKeepsExactlyItsHeadAndTail(t *testing.T) {
	for _, n := range []int{0, 1, half - 1, half, half + 1, 2*half - 1, 2 * half, 2*half + 1, 3*half - 1, 3 * half, 3*half + 1, 777, 10_000} {
		for _, piece := range []int{1, 7, half - 1, half, half + 1, 2*half + 3, 20_000} {
			text := numbered(n)
			l := newLog(t)
			for rest := text; len(rest) > 0; {
				k := min(piece, len(rest))
				if wrote, err := l.Write([]byte(rest[:k])); wrote != k || err != nil {
					t.Fatalf("wrote %d of %d: %v", wrote, k, err)
				}
				rest = rest[k:]
			}
			want := text
			if n > 2*half {
				want = text[:half] + fmt.Sprintf("\nkitchen: %d bytes of this log are left out here\n", n-2*half) + text[n-half:]
			}
			if got := readLog(t, l); got != want {
				t.Errorf("%d bytes in pieces of %d:\ngot  %q\nwant %q", n, piece, got, want)
			}
			if info, err := l.file.Stat(); err != nil || info.Size() > 2*half {
				t.Errorf("%d bytes in pieces of %d: the file has %d bytes, %v", n, piece, info.Size(), err)
			}
		}
	}
}

func TestLogIsReadFromItsBeginningEveryTime(t *testing.T) {
	l := newLog(t)
	l.Printf("one %d", 1)
	first := readLog(t, l)
	l.Printf("two")
	if second := readLog(t, l); first != "kitchen: one 1\n" || second != first+"kitchen: two\n" {
		t.Errorf("got %q, then %q", first, second)
	}
}

func TestLogDoesNotReplaceAFile(t *testing.T) {
	path := put(t, t.TempDir(), "log", "mine")
	if _, err := newHookLog(path, half, nil); !os.IsExist(err) {
		t.Errorf("got %v", err)
	}
}

// full makes every further write to a log fail, as a full disk does.
func full(t *testing.T, l *hookLog) {
	t.Helper()
	readOnly, err := os.Open(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	l.file.Close()
	l.file = readOnly
}

func TestAFullDiskIsSaidInTheLog(t *testing.T) {
	for _, before := range []int{0, half / 2, 2*half + 30} {
		l := newLog(t)
		text := numbered(before)
		io.WriteString(l, text)
		whole := readLog(t, l)
		full(t, l)
		for range 3 {
			if n, err := l.Write([]byte("lost")); n != 4 || err != nil {
				t.Fatalf("a hook would die of its log: %d, %v", n, err)
			}
		}
		if got := readLog(t, l); !strings.HasPrefix(got, whole+"\nkitchen: the log ends here: ") || strings.Contains(got, "lost") {
			t.Errorf("after %d bytes: %q", before, got)
		}
	}
}

// TestAFullDiskDoesNotFailTheHook closes the log under a running hook.
func TestAFullDiskDoesNotFailTheHook(t *testing.T) {
	l := newLog(t)
	var watched bytes.Buffer
	w := &teeOutput{log: l, watch: &watched}
	l.file.Close()
	if n, err := w.Write([]byte("output")); n != 6 || err != nil || watched.String() != "output" {
		t.Errorf("wrote %d, %v; watched %q", n, err, watched.String())
	}
	gone := &teeOutput{log: newLog(t), watch: writerFunc(func([]byte) (int, error) { return 0, os.ErrClosed })}
	if n, err := gone.Write([]byte("output")); n != 6 || err != nil || readLog(t, gone.log) != "output" {
		t.Errorf("a terminal that went away: %d, %v", n, err)
	}
}

func TestCompressLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.zst")
	text := strings.Repeat("the same line again\n", 10_000)
	ref, err := compressLog(path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if ref.SHA256 != catalogtest.Digest(stored) || ref.Size != int64(len(stored)) || ref.RawSize != int64(len(text)) {
		t.Errorf("described as %+v, stored are %d bytes", ref, len(stored))
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	if raw, err := decoder.DecodeAll(stored, nil); err != nil || string(raw) != text {
		t.Errorf("reads back as %d bytes, %v", len(raw), err)
	}
	if _, err := compressLog(path, strings.NewReader("x")); !os.IsExist(err) {
		t.Errorf("over another log: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("x"), readerFunc(func([]byte) (int, error) { return 0, os.ErrClosed }))
	if ref, err := compressLog(path+"2", broken); err == nil || ref != nil {
		t.Errorf("a log that cannot be read: %+v, %v", ref, err)
	}
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

// TestAHooksUnfinishedLineIsNotGoneOnWith: what kitchen says begins a line of its own.
func TestAHooksUnfinishedLineIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	fmt.Fprint(l, "done? ")
	l.Printf("ERROR")
	fmt.Fprint(l, "more\n")
	l.Printf("end")
	if got, want := readLog(t, l), "done? \nkitchen: ERROR\nmore\nkitchen: end\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
