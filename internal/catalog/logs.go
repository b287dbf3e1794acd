package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// MaxLog is the largest log that is shown, decompressed, in bytes.
const MaxLog = 1 << 30

// maxLogWindow caps the window of a frame, in bytes: with the stored log itself, that is what one decompression holds.
const maxLogWindow = 64 << 20

// NoLog says that a report names no log, or no attachment of that name.
type NoLog struct {
	Site       manifest.SiteID
	Release    manifest.Release
	Attachment string
	Gone       string // the object that the report names and the store does not hold; "" = it names none
}

func (e *NoLog) Error() string {
	if e.Gone != "" {
		return fmt.Sprintf("what the report of %s on %s names is not in the store: %s was never sent, or was removed", e.Site, e.Release, e.Gone)
	}
	if e.Attachment != "" {
		return fmt.Sprintf("the report of %s on %s has no attachment %s", e.Site, e.Release, e.Attachment)
	}
	return fmt.Sprintf("the report of %s on %s has no log", e.Site, e.Release)
}

// ReadLog opens the log of a verified report, decompressed. The stored bytes are compared with the report's digest
// before the first byte is given out; reading ends with an error when there is more or less than the report says
// (LogRef.RawSize), or more than MaxLog. The text is the site's own: escape it before it is shown.
func (v *View) ReadLog(ctx context.Context, r VerifiedReport) (*Log, error) {
	if r.Log == nil {
		return nil, &NoLog{Site: r.Site, Release: r.Release}
	}
	return v.readLog(ctx, r, *r.Log)
}

// ReadAttachment is ReadLog for an attachment, by its name; *NoLog when the report has none of that name.
func (v *View) ReadAttachment(ctx context.Context, r VerifiedReport, name string) (*Log, error) {
	for _, a := range r.Attachments {
		if a.Name == name {
			return v.readLog(ctx, r, a.LogRef)
		}
	}
	return nil, &NoLog{Site: r.Site, Release: r.Release, Attachment: name}
}

func (v *View) readLog(ctx context.Context, r VerifiedReport, ref manifest.LogRef) (*Log, error) {
	if v.offline {
		return nil, &NotCached{What: "the log"}
	}
	key := manifest.LogObject(r.Site, ref.SHA256)
	stored, err := readObject(ctx, v.catalog.store, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, &NoLog{Site: r.Site, Release: r.Release, Gone: key}
	}
	if err != nil {
		return nil, err
	}
	listed := trust.Target{Length: ref.Size, SHA256: ref.SHA256}
	if err := listed.CheckFile(key, stored); err != nil {
		return nil, err
	}
	return openLog(key, stored, ref.RawSize)
}

func openLog(key string, stored []byte, rawSize int64) (*Log, error) {
	if rawSize > MaxLog {
		return nil, fmt.Errorf("%s: %d bytes decompressed, at most %d are shown", key, rawSize, int64(MaxLog))
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxLog), zstd.WithDecoderMaxWindow(maxLogWindow))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	l := &Log{decoder: decoder, key: key, stored: stored, size: rawSize}
	if err := l.Rewind(); err != nil {
		decoder.Close()
		return nil, err
	}
	return l, nil
}

// Log gives out exactly the announced number of bytes, or ends with an error. It holds the stored bytes, and never
// more than a window of the text.
type Log struct {
	decoder *zstd.Decoder
	key     string
	stored  []byte
	size    int64 // of the text, as announced
	left    int64
	err     error // that ended the reading
}

// Rewind begins again: who must not show half a log reads it twice.
func (l *Log) Rewind() error {
	if err := l.decoder.Reset(bytes.NewReader(l.stored)); err != nil {
		return fmt.Errorf("%s: %w", l.key, err)
	}
	l.left, l.err = l.size, nil
	return nil
}

// Read reads the text. After an error there is nothing but that error.
func (l *Log) Read(p []byte) (n int, err error) {
	if l.err == nil {
		n, l.err = l.read(p)
	}
	return n, l.err
}

func (l *Log) read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, l.end()
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.decoder.Read(p)
	l.left -= int64(n)
	switch {
	case err == io.EOF && l.left > 0:
		return n, fmt.Errorf("%s: %d bytes shorter than its report says", l.key, l.left)
	case err == io.EOF:
		return n, nil // the next call ends it
	case err != nil:
		return n, fmt.Errorf("%s: %w", l.key, err)
	}
	return n, nil
}

// end looks for bytes beyond the announced ones.
func (l *Log) end() error {
	var more [1]byte
	n, err := io.ReadFull(l.decoder, more[:])
	switch {
	case n > 0:
		return fmt.Errorf("%s: longer than its report says", l.key)
	case err != io.EOF:
		return fmt.Errorf("%s: %w", l.key, err)
	}
	return io.EOF
}

// Close frees what decompresses.
func (l *Log) Close() error {
	l.decoder.Close()
	return nil
}
