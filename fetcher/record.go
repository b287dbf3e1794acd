package fetcher

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/manifest"
)

// maxRecord is the size of one record file, in bytes.
const maxRecord = 4 << 20

// Damaged says that a record of this site cannot be believed (its checksum is wrong).
type Damaged struct {
	Path string
	Err  error
}

func (e *Damaged) Error() string { return fmt.Sprintf("the record %s is damaged: %v", e.Path, e.Err) }

// Unwrap gives what is wrong with it.
func (e *Damaged) Unwrap() error { return e.Err }

// recordFile is how every record is on disk: a document with a checksum over it, so
// that a half-written or altered file is never taken for a record.
type recordFile struct {
	Schema string          `json:"schema"`
	SHA256 string          `json:"sha256"` // of Body, as it stands in the file
	Body   json.RawMessage `json:"body"`
}

const recordSchema = "kitchen.site-record/v1"

func writeRecord(path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	data, err := json.Marshal(recordFile{recordSchema, hex.EncodeToString(sum[:]), raw})
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

// readRecord fills body; fs.ErrNotExist when there is no record, *Damaged when there
// is one that cannot be believed.
func readRecord(path string, body any) error {
	data, err := durable.ReadOwn(path, maxRecord)
	if errors.Is(err, durable.ErrNotRegular) || errors.Is(err, durable.ErrTooLarge) {
		return &Damaged{path, err}
	}
	if err != nil {
		return err
	}
	var file recordFile
	if err := json.Unmarshal(data, &file); err != nil {
		return &Damaged{path, err}
	}
	sum := sha256.Sum256(file.Body)
	if file.Schema != recordSchema || file.SHA256 != hex.EncodeToString(sum[:]) {
		return &Damaged{path, errors.New("its checksum does not fit")}
	}
	if err := json.Unmarshal(file.Body, body); err != nil {
		return &Damaged{path, err}
	}
	return nil
}

// reportRecord is what a site remembers of its last report on a release.
type reportRecord struct {
	Manifest string    `json:"manifest"` // sha256 of the manifest
	Type     string    `json:"type"`
	Verdict  string    `json:"verdict"`
	Sequence int64     `json:"sequence"`
	Report   string    `json:"report"` // sha256 of the signed bundle
	Key      string    `json:"key"`
	Finished time.Time `json:"finished"`
	Lacked   bool      `json:"lacked,omitempty"` // NOT_RUN for what the site did not have then
}

// attempt is one start of the deploy hook, or a deployment done by hand.
type attempt struct {
	Manifest string    `json:"manifest"`
	From     string    `json:"from,omitempty"`
	Sequence int64     `json:"sequence"` // of the report that tells its end
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Verdict  string    `json:"verdict"` // "" = the hook was started; how it ended is not known
}

func (a *attempt) passed() bool { return a.Verdict == manifest.Passed || a.Verdict == manifest.Warned }

// deployRecord is what a production site knows about one product. That the file is
// there means that it knows.
type deployRecord struct {
	Product  string              `json:"product"`
	Current  string              `json:"current"`  // version, "" = nothing is deployed
	Last     string              `json:"last"`     // version of the last attempt
	Attempts map[string]*attempt `json:"attempts"` // by version, the last of each
}

// check refuses what this program never writes.
func (d *deployRecord) check(product string) error {
	if d.Product != product {
		return fmt.Errorf("it is about product %q", d.Product)
	}
	for version, a := range d.Attempts {
		if a == nil || manifest.CheckVersion(version) != nil {
			return fmt.Errorf("its attempt of %q says nothing", version)
		}
	}
	for _, version := range []string{d.Current, d.Last} {
		if version != "" && d.Attempts[version] == nil {
			return fmt.Errorf("it names version %q, of which it has no attempt", version)
		}
	}
	return nil
}

func newDeployRecord(product string) *deployRecord {
	return &deployRecord{Product: product, Attempts: map[string]*attempt{}}
}

// interrupted is the version whose hook was started and whose end is unknown, "" for none.
func (d *deployRecord) interrupted() string {
	for version, a := range d.Attempts {
		if a.Verdict == "" {
			return version
		}
	}
	return ""
}

// begin notes that a hook starts now.
func (d *deployRecord) begin(version string, a attempt) {
	d.Attempts[version], d.Last = &a, version
}

// settle notes how a deployment ended, whether a hook did it or a person.
func (d *deployRecord) settle(r *manifest.Report) {
	v := r.Release.Version
	d.Attempts[v] = &attempt{Manifest: r.ManifestSHA256, From: r.From, Sequence: r.Sequence, Started: r.Started, Finished: r.Finished, Verdict: r.Verdict()}
	d.Last = v
	if d.Attempts[v].passed() {
		d.Current = v
	}
}

// siteDir is a site's own folder in the state directory.
type siteDir string

func (f *Fetcher) siteDir(id manifest.SiteID) siteDir {
	return siteDir(filepath.Join(f.State, "site", id.Customer, id.Site))
}

func (d siteDir) lock() string  { return filepath.Join(string(d), "lock") }
func (d siteDir) seen() string  { return filepath.Join(string(d), "seen.json") }
func (d siteDir) spool() string { return filepath.Join(string(d), "spool") }
func (d siteDir) work() string  { return filepath.Join(string(d), "work") }

func (d siteDir) seeds() string { return filepath.Join(string(d), "seeds") }

// incoming is beside what runs and deployments fetch it, release by release: so that the next one goes on where one
// was interrupted, although its private folder is another.
func (d siteDir) incoming() string { return filepath.Join(string(d), "incoming") }

func (d siteDir) reportPath(r manifest.Release) string {
	return filepath.Join(string(d), "reports", r.String())
}

func (d siteDir) deployPath(product string) string {
	return filepath.Join(string(d), "deploy", product)
}

// report gives the record of the last report, nil when there is none. A damaged one
// counts as none: the store is asked instead.
func (d siteDir) report(r manifest.Release) (*reportRecord, error) {
	var rec reportRecord
	err := readRecord(d.reportPath(r), &rec)
	var damaged *Damaged
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &damaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &rec, nil
}

// keepReport remembers a signed report unless a later one is known. One that was signed again replaces the first.
func (d siteDir) keepReport(r manifest.Release, rec reportRecord) error {
	old, err := d.report(r)
	if err != nil || old != nil && (old.Sequence > rec.Sequence || old.Report == rec.Report) {
		return err
	}
	return writeRecord(d.reportPath(r), rec)
}

// deploy gives the record of a product, nil when there is none; *Damaged is an error here.
func (d siteDir) deploy(product string) (*deployRecord, error) {
	var rec deployRecord
	err := readRecord(d.deployPath(product), &rec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if rec.Attempts == nil {
		rec.Attempts = map[string]*attempt{}
	}
	if err := rec.check(product); err != nil {
		return nil, &Damaged{d.deployPath(product), err}
	}
	return &rec, nil
}

func (d siteDir) keepDeploy(rec *deployRecord) error {
	return writeRecord(d.deployPath(rec.Product), rec)
}

func (f *Fetcher) heldRecords() string { return filepath.Join(f.State, "site", "_held") }

func (f *Fetcher) heldPath(r manifest.Release) string {
	return filepath.Join(f.heldRecords(), r.String())
}

// hold remembers that this release was fetched here, and where: a later yank does not take it away, and the next
// release begins from it.
func (f *Fetcher) hold(r manifest.Release, sha, dir string) error {
	if dir == "" && f.holds(r, sha) {
		return nil
	}
	path := f.heldPath(r)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text := sha + "\n"
	if dir != "" && !strings.ContainsAny(dir, "\r\n") {
		text += dir + "\n"
	}
	return durable.WriteFile(path, []byte(text), 0o600)
}

func (f *Fetcher) holds(r manifest.Release, sha string) bool {
	have, _, err := f.held(r)
	return err == nil && strings.TrimSpace(have) == sha
}

// maxHeld is more than two lines of a file about what was fetched have, in bytes.
const maxHeld = 64 << 10

// held gives the digest of a release that was fetched here, and where to, "" where that is not told.
func (f *Fetcher) held(r manifest.Release) (sha, dir string, err error) {
	data, err := durable.ReadOwn(f.heldPath(r), maxHeld)
	sha, dir, _ = strings.Cut(strings.TrimSuffix(string(data), "\n"), "\n")
	return sha, dir, err
}
