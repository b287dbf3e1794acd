package fetcher

import (
	"bytes"
	"cmp"
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
//	report.json     the signed bundle; once here and whole it is what will be sent, and nothing else
//
// Whoever runs hooks lets them write here, and a disk may lose bytes: what is read is held to the site's keys and to
// the digests that the statement names.
//
// Names of entries begin with the time of the run, so that they are sent in order, and name the release.
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
	broken error  // why its report.json is not the signed statement; nil where it is, or there is none yet
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
	dir := filepath.Join(d.spool(), r.Finished.UTC().Format(spoolTime)+"-"+r.Release.String()+"-"+random)
	if err := os.Rename(draft, dir); err != nil {
		return nil, err
	}
	return &spooled{dir: dir, report: r}, durable.SyncDir(d.spool())
}

// spoolEntries lists what waits, oldest first, and removes drafts that crashed. It is called under the site's lock.
// Those that nothing can be made of are in damaged.
func (d siteDir) spoolEntries(own []*keys.Public) (list []*spooled, damaged []*DamagedResult, err error) {
	names, err := os.ReadDir(d.spool())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range names {
		dir := filepath.Join(d.spool(), e.Name())
		if strings.HasPrefix(e.Name(), durable.TempPrefix) {
			os.RemoveAll(dir)
			continue
		}
		entry, err := readSpooled(dir, own)
		if err != nil {
			damaged = append(damaged, d.damagedResult(dir, err))
			continue
		}
		list = append(list, entry)
	}
	return list, damaged, nil
}

// readSpooled reads an entry. The statement and the signed report each tell what the other says: one of them that was
// damaged is made again from the other.
func readSpooled(dir string, own []*keys.Public) (*spooled, error) {
	statement, err := durable.ReadOwn(filepath.Join(dir, spoolStatement), manifest.MaxStatementSize)
	var report *manifest.Report
	if err == nil {
		report, err = manifest.ParseStatement(statement)
	}
	bundle, unread := durable.ReadOwn(filepath.Join(dir, spoolReport), keys.MaxBundle)
	if errors.Is(unread, fs.ErrNotExist) && err == nil {
		return &spooled{dir: dir, report: report}, nil
	}
	signed, broken := openBundle(bundle, own)
	broken = cmp.Or(unread, broken)
	if err != nil && broken == nil {
		again, unusable := manifest.ParseStatement(signed)
		if unusable == nil && namedFor(dir, again) {
			statement, report, err = signed, again, nil
		}
	}
	if err != nil {
		return nil, err
	}
	s := &spooled{dir: dir, report: report}
	if broken == nil && !bytes.Equal(signed, statement) {
		broken = errors.New("it is signed for another result")
	}
	if s.broken = broken; broken == nil {
		s.signed(bundle)
	}
	return s, nil
}

// namedFor tells whether an entry has its name from that report.
func namedFor(dir string, r *manifest.Report) bool {
	name := filepath.Base(dir)
	release, known := releaseOf(name)
	return strings.HasPrefix(name, r.Finished.UTC().Format(spoolTime)+"-") && (!known || release == r.Release)
}

// releaseOf reads the release in the name of an entry. Those of earlier versions of this program have none.
func releaseOf(name string) (manifest.Release, bool) {
	_, rest, _ := strings.Cut(name, "-")
	release, err := manifest.ParseRelease(rest[:max(0, strings.LastIndexByte(rest, '-'))])
	return release, err == nil
}

// openBundle gives the statement that one of the site's keys signed.
func openBundle(bundle []byte, own []*keys.Public) (statement []byte, err error) {
	err = errors.New("the site has no key")
	for _, public := range own {
		if statement, err = keys.VerifyStatement(bundle, public); err == nil {
			return statement, nil
		}
	}
	return nil, err
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
	statement, err := durable.ReadOwn(filepath.Join(s.dir, spoolStatement), manifest.MaxStatementSize)
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
// sending twice is sending once. A log or an attachment that is lost is noted, and the report goes without it.
func (s *spooled) send(ctx context.Context, store storage.Store, note func(string)) error {
	if store == nil {
		return ErrOffline
	}
	if s.report.Log != nil {
		if err := s.sendFile(ctx, store, "its log", spoolLog, *s.report.Log, note); err != nil {
			return err
		}
	}
	for _, a := range s.report.Attachments {
		if err := s.sendFile(ctx, store, a.Name, attachmentFile(a.SHA256), a.LogRef, note); err != nil {
			return err
		}
	}
	if err := create(ctx, store, s.key, bytes.NewReader(s.bundle), int64(len(s.bundle))); err != nil {
		return err
	}
	return s.remove()
}

func (s *spooled) sendFile(ctx context.Context, store storage.Store, what, name string, ref manifest.LogRef, note func(string)) error {
	file, err := openSigned(filepath.Join(s.dir, name), ref)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrNotRegular) || errors.Is(err, errOtherBytes) {
		note(fmt.Sprintf("the report on %s goes without %s, which is lost: %v", s.report.Release, what, err))
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return create(ctx, store, manifest.LogObject(s.report.Site, ref.SHA256), file, ref.Size)
}

// errOtherBytes says that a file is not the one that a statement names.
var errOtherBytes = errors.New("its bytes are not those that the result names")

// openSigned opens a file of an entry, if it is what the statement says.
func openSigned(path string, ref manifest.LogRef) (*os.File, error) {
	file, err := durable.OpenOwn(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(file, ref.Size+1))
	if err == nil && (size != ref.Size || hex.EncodeToString(sum.Sum(nil)) != ref.SHA256) {
		err = &fs.PathError{Op: "read", Path: path, Err: errOtherBytes}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
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
