package fetcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// The spool holds results between the end of a hook and the moment the store has
// their report. One entry is one directory, which appears whole by a rename:
//
//	statement.json  what is to be signed: the result itself
//	log.zst         the log, when there is one
//	<sha256>.zst    attachments
//	report.json     the signed bundle; once here it is what will be sent, and nothing else
//
// Names of entries begin with the time of the run, so that they are sent in order.
const (
	spoolStatement = "statement.json"
	spoolLog       = "log.zst"
	spoolReport    = "report.json"
)

// spoolTime orders entries as text.
const spoolTime = "20060102T150405.000000000Z"

// spooled is one entry of the spool.
type spooled struct {
	dir    string
	report *manifest.Report
	bundle []byte // nil until signed
	sha    string // of bundle
	key    string // object name of the report
}

// spoolDraft makes an unfinished entry; its log may be put into it before finish.
func (d siteDir) spoolDraft() (string, error) {
	if err := durable.MkdirAll(d.spool(), 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(d.spool(), durable.TempPrefix+"*")
}

// spoolFinish makes a draft an entry: from then on the result cannot be lost.
func (d siteDir) spoolFinish(draft string, r *manifest.Report) (*spooled, error) {
	statement, err := r.Statement()
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(draft, spoolStatement), statement, 0o600); err != nil {
		return nil, err
	}
	random := strings.TrimPrefix(filepath.Base(draft), durable.TempPrefix)
	dir := filepath.Join(d.spool(), r.Finished.UTC().Format(spoolTime)+"-"+random)
	if err := os.Rename(draft, dir); err != nil {
		return nil, err
	}
	return &spooled{dir: dir, report: r}, durable.SyncDir(d.spool())
}

// spoolEntries lists what waits, oldest first, and removes drafts that crashed. It
// is called under the site's lock. Entries that cannot be read are in the error.
func (d siteDir) spoolEntries() ([]*spooled, error) {
	names, err := os.ReadDir(d.spool())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var list []*spooled
	var problems error
	for _, e := range names {
		dir := filepath.Join(d.spool(), e.Name())
		if strings.HasPrefix(e.Name(), durable.TempPrefix) {
			os.RemoveAll(dir)
			continue
		}
		entry, err := readSpooled(dir)
		if err != nil {
			problems = errors.Join(problems, &Damaged{dir, err})
			continue
		}
		list = append(list, entry)
	}
	return list, problems
}

func readSpooled(dir string) (*spooled, error) {
	statement, err := readCapped(filepath.Join(dir, spoolStatement), manifest.MaxStatementSize)
	if err != nil {
		return nil, err
	}
	report, err := manifest.ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	s := &spooled{dir: dir, report: report}
	bundle, err := readCapped(filepath.Join(dir, spoolReport), 2*manifest.MaxStatementSize)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.signed(bundle)
	return s, nil
}

func readCapped(path string, max int64) ([]byte, error) {
	file, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s is larger than %d bytes", path, max)
	}
	return data, err
}

func (s *spooled) signed(bundle []byte) {
	sum := sha256.Sum256(bundle)
	s.bundle, s.sha = bundle, hex.EncodeToString(sum[:])
	s.key = manifest.ReportObject(s.report.Site, s.report.Release, s.report.Finished, s.sha)
}

// sign signs an entry unless it is signed, and keeps the bundle: one run has one report.
func (s *spooled) sign(ctx context.Context, signer keys.Signer) error {
	if s.bundle != nil {
		return nil
	}
	statement, err := readCapped(filepath.Join(s.dir, spoolStatement), manifest.MaxStatementSize)
	if err != nil {
		return err
	}
	bundle, err := keys.SignStatement(ctx, signer, statement)
	if err != nil {
		return fmt.Errorf("sign the report on %s: %w", s.report.Release, err)
	}
	if err := durable.WriteFile(filepath.Join(s.dir, spoolReport), bundle, 0o600); err != nil {
		return err
	}
	s.signed(bundle)
	return nil
}

// record is what the site remembers of the entry once it is signed.
func (s *spooled) record() reportRecord {
	r := s.report
	return reportRecord{Manifest: r.ManifestSHA256, Type: r.Type, Verdict: r.Verdict(), Sequence: r.Sequence,
		Report: s.sha, Key: s.key, Finished: r.Finished, Lacked: lacked(r)}
}

// send puts the log, the attachments and then the report into the store, and takes the entry out of
// the spool. All are created under names that follow from their bytes, so that
// sending twice is sending once.
func (s *spooled) send(ctx context.Context, store storage.Store) error {
	if store == nil {
		return ErrOffline
	}
	if s.report.Log != nil {
		if err := s.sendFile(ctx, store, spoolLog, *s.report.Log); err != nil {
			return err
		}
	}
	for _, a := range s.report.Attachments {
		if err := s.sendFile(ctx, store, attachmentFile(a.SHA256), a.LogRef); err != nil {
			return err
		}
	}
	if err := create(ctx, store, s.key, bytes.NewReader(s.bundle), int64(len(s.bundle))); err != nil {
		return err
	}
	return s.remove()
}

func (s *spooled) sendFile(ctx context.Context, store storage.Store, name string, ref manifest.LogRef) error {
	file, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	defer file.Close()
	return create(ctx, store, manifest.LogObject(s.report.Site, ref.SHA256), file, ref.Size)
}

// remove takes an entry away by one rename first, so that no half entry is ever read.
func (s *spooled) remove() error {
	gone := filepath.Join(filepath.Dir(s.dir), durable.TempPrefix+filepath.Base(s.dir))
	if err := os.Rename(s.dir, gone); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(gone), durable.SyncDir(filepath.Dir(s.dir)))
}

func create(ctx context.Context, store storage.Writer, key string, body io.ReaderAt, size int64) error {
	kind, err := manifest.KindOf(key)
	if err != nil {
		return err
	}
	if size > kind.MaxSize {
		return fmt.Errorf("%s would have %d bytes, at most %d are allowed", key, size, kind.MaxSize)
	}
	return store.Create(ctx, key, body, size, kind.ContentType, kind.CacheControl)
}
