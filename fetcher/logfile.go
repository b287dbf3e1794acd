package fetcher

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/manifest"
)

// hookLog collects what a hook prints in a file of bounded size: a head, then a ring.
// What a noisier hook prints in between is left out, and the log says how much.
// What is to be redacted never reaches the file. A full disk does not stop the hook;
// it is said in the log's place.
type hookLog struct {
	mu    sync.Mutex
	lines *redactingWriter // nil: nothing is to be redacted
	file  *os.File
	half  int64
	total int64 // bytes written to it
	err   error // the first failure to write
	open  bool  // the last line has no end yet
}

func newHookLog(path string, half int64, redact redactor) (*hookLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := &hookLog{file: file, half: half}
	if len(redact) > 0 {
		l.lines = &redactingWriter{redactor: redact, to: keptPart{l}}
	}
	return l, nil
}

// Write never fails, so that no hook dies of its log.
func (l *hookLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(p)
}

func (l *hookLog) write(p []byte) (int, error) {
	if len(p) > 0 {
		l.open = p[len(p)-1] != '\n'
	}
	if l.lines != nil {
		return l.lines.Write(p)
	}
	return keptPart{l}.Write(p)
}

// keptPart is the file of a log whose lock is held.
type keptPart struct{ *hookLog }

func (l keptPart) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && l.err == nil; {
		at, room := l.total, l.half-l.total
		if l.total >= l.half {
			turn := (l.total - l.half) % l.half
			at, room = l.half+turn, l.half-turn
		}
		n := min(int64(len(rest)), room)
		if _, err := l.file.WriteAt(rest[:n], at); err != nil {
			l.err = err
			break
		}
		l.total += n
		rest = rest[n:]
	}
	return len(p), nil
}

// failure is why the log is not whole, nil when it is.
func (l *hookLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Printf adds a line of kitchen's own.
func (l *hookLog) Printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("kitchen: "+format+"\n", args...)
	if l.open {
		line = "\n" + line
	}
	l.write([]byte(line)) // never fails
}

// content gives the log from its beginning to its end. Nothing is written to it any more.
func (l *hookLog) content() io.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines != nil {
		l.lines.Flush() // never fails
	}
	section := func(at, n int64) io.Reader { return io.NewSectionReader(l.file, at, n) }
	var parts []io.Reader
	switch past := l.total - l.half; {
	case past <= l.half:
		parts = append(parts, section(0, l.total))
	default:
		turn := past % l.half
		cut := fmt.Sprintf("\nkitchen: %d bytes of this log are left out here\n", past-l.half)
		parts = append(parts, section(0, l.half), strings.NewReader(cut), section(l.half+turn, l.half-turn), section(l.half, turn))
	}
	if l.err != nil {
		parts = append(parts, strings.NewReader(fmt.Sprintf("\nkitchen: the log ends here: %v\n", l.err)))
	}
	return io.MultiReader(parts...)
}

// Close closes the file; it stays where it is.
func (l *hookLog) Close() error { return l.file.Close() }

// compressLog writes src to path as zstd and describes it.
func compressLog(path string, src io.Reader) (*manifest.LogRef, error) {
	return compressTo(path, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}

// compressTo writes what fill writes to path as zstd and describes it.
func compressTo(path string, fill func(io.Writer) error) (*manifest.LogRef, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	sum, stored := sha256.New(), &countWriter{}
	enc, err := zstd.NewWriter(io.MultiWriter(file, sum, stored), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	raw := &countWriter{}
	err = fill(io.MultiWriter(enc, raw))
	err = errors.Join(err, enc.Close())
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &manifest.LogRef{SHA256: hex.EncodeToString(sum.Sum(nil)), Size: stored.n, RawSize: raw.n}, nil
}

type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
