package fetcher

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/manifest"
)

// ReportContent says what of a run goes into its report. A limit of 0 is its default.
type ReportContent struct {
	MaxLog         int64 // bytes of the log; 32 MiB
	MaxAttachment  int64 // bytes of one file; 16 MiB
	MaxAttachments int   // files; 100
	MaxTotal       int64 // bytes of all files; 64 MiB
	// Redact are patterns of what must not leave the host. They are looked for line by
	// line in the log, the reason, the names of tests and files, and text attachments.
	Redact redactor
}

// MaxSent bounds MaxLog and MaxAttachment: what is stored must fit into its object, also when it does not compress.
const MaxSent = 63 << 20

func orDefault[T int | int64](n, standard T) T {
	if n > 0 {
		return n
	}
	return standard
}

func (c ReportContent) maxLog() int64        { return orDefault(c.MaxLog, 32<<20) }
func (c ReportContent) maxAttachment() int64 { return orDefault(c.MaxAttachment, 16<<20) }
func (c ReportContent) maxAttachments() int  { return orDefault(c.MaxAttachments, 100) }
func (c ReportContent) maxTotal() int64      { return orDefault(c.MaxTotal, 64<<20) }

// attachments collects files for one report into its draft, under their digests. A file that does not go along is no
// error: it is said, and decides nothing.
type attachments struct {
	content ReportContent
	draft   string
	list    []manifest.Attachment
	left    []string // what does not go along, in words
	total   int64
}

// openResults opens a job's directory of results. A link that the hook put in its place leads nowhere outside.
func openResults(jobDir string) (*os.Root, error) {
	job, err := os.OpenRoot(jobDir)
	if err != nil {
		return nil, err
	}
	defer job.Close()
	return job.OpenRoot("results")
}

// collect takes every file below a directory but JUnit's. The error is one of this host.
func (a *attachments) collect(root *os.Root) error {
	err := walkResults(context.Background(), root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			a.leave(name, err.Error())
			return nil
		}
		if d.IsDir() || strings.EqualFold(path.Ext(name), ".xml") {
			return nil
		}
		return a.take(root, name, d.Type())
	})
	var more *tooMuch
	if errors.As(err, &more) {
		a.leave("the rest", more.Error())
		return nil
	}
	return err
}

// take adds one file, or says why not.
func (a *attachments) take(root *os.Root, name string, mode fs.FileMode) error {
	if !mode.IsRegular() {
		a.leave(name, "is "+kindOfFile(mode))
		return nil
	}
	file, err := openRegular(root, name)
	if err != nil {
		a.leave(name, err.Error())
		return nil
	}
	defer file.Close()
	reason, err := a.add(name, file)
	if reason != "" {
		a.leave(name, reason)
	}
	return err
}

func (a *attachments) leave(name, reason string) {
	name = manifest.CleanText(a.content.Redact.text(name), manifest.MaxAttachmentName)
	a.left = append(a.left, name+" "+strings.TrimPrefix(reason, name+" "))
}

// add stores one file. The reason is why it does not go along; the error is one of this host.
func (a *attachments) add(name string, file io.Reader) (reason string, err error) {
	name = a.content.Redact.text(name)
	if err := manifest.CheckAttachmentName(name); err != nil {
		return "has a name that a report cannot hold: " + err.Error(), nil
	}
	for _, other := range a.list {
		if other.Name == name {
			return "is there twice", nil
		}
	}
	switch {
	case len(a.list) >= min(a.content.maxAttachments(), manifest.MaxAttachments):
		return fmt.Sprintf("is beyond the %d files that a report takes", len(a.list)), nil
	case a.total >= a.content.maxTotal():
		return fmt.Sprintf("is beyond the %d bytes that a report takes", a.content.maxTotal()), nil
	}
	limit, words := a.content.maxAttachment(), "is larger than %d bytes"
	if room := a.content.maxTotal() - a.total; room < limit {
		limit, words = room, "is larger than the %d bytes that are left for it"
	}
	src := &io.LimitedReader{R: file, N: limit + 1}
	at := filepath.Join(a.draft, fmt.Sprintf("attachment-%d", len(a.list)))
	ref, err := compressTo(at, func(w io.Writer) error { return a.content.Redact.copyRedacted(w, src) })
	if err == nil && src.N == 0 {
		return fmt.Sprintf(words, limit), os.Remove(at)
	}
	if err == nil {
		err = os.Rename(at, filepath.Join(a.draft, attachmentFile(ref.SHA256)))
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(at))
	}
	a.total += limit + 1 - src.N
	a.list = append(a.list, manifest.Attachment{Name: name, LogRef: *ref})
	return "", nil
}

// attachmentFile is the name of a stored attachment in the spool.
func attachmentFile(sha string) string { return sha + ".zst" }

// copyRedacted copies a file as it goes along. Text is redacted; a file with a zero byte in its first 8 KiB is none.
func (r redactor) copyRedacted(to io.Writer, from io.Reader) error {
	buffered := bufio.NewReaderSize(from, 8<<10)
	start, _ := buffered.Peek(8 << 10) // an error comes again
	if len(r) == 0 || bytes.IndexByte(start, 0) >= 0 {
		_, err := buffered.WriteTo(to)
		return err
	}
	lines := &redactingWriter{redactor: r, to: to}
	if _, err := buffered.WriteTo(lines); err != nil {
		return err
	}
	return lines.Flush()
}

// drop takes back all of it.
func (a *attachments) drop(why error) error {
	var problems error
	for _, one := range a.list {
		problems = errors.Join(problems, os.RemoveAll(filepath.Join(a.draft, attachmentFile(one.SHA256))))
	}
	a.list, a.left = nil, append(a.left, "nothing of it could be kept: "+why.Error())
	return problems
}

// remark is what a reason says of files that do not go along, "" when all do.
func (a *attachments) remark() string {
	switch len(a.left) {
	case 0:
		return ""
	case 1:
		return "not attached: " + a.left[0]
	}
	return fmt.Sprintf("not attached: %s, and %d more", a.left[0], len(a.left)-1)
}

func kindOfFile(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a link, which is not followed"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode.IsDir():
		return "a directory"
	}
	return "not a regular file"
}
