package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
)

// A check looks through the whole catalog, as a file system's check does. What it believes it believes for the reasons
// that every reader has: a fresh view of the catalog, verified from the pinned root on. Everything else follows from
// what that view's roles list, and is compared with what the store lists. Nobody's private key is needed, and nothing
// is written but the caller's own state directory.

// Severity says how bad a finding is.
type Severity string

// Severities. A catalog is sound when there is no fault.
const (
	Fault   Severity = "fault"   // something is lost, damaged, expired, or not to be believed
	Warning Severity = "warning" // it will be a fault, or somebody should look
	Note    Severity = "note"    // of no consequence: leftovers, mostly
)

// Codes of findings, for machines. docs/FORMAT.md says what each means.
const (
	CodeRefused          = "metadata-refused"
	CodeMetadataMissing  = "metadata-missing"
	CodeExpired          = "expired"
	CodeExpiresSoon      = "expires-soon"
	CodeWaiverEnded      = "waiver-ended"
	CodeWaiverEnds       = "waiver-ends-soon"
	CodeRootAhead        = "root-ahead"
	CodeHistory          = "history-damaged"
	CodeHistoryMissing   = "history-missing"
	CodeSnapshotGap      = "snapshot-gap"
	CodeStages           = "stages-disagree"
	CodeTargetMissing    = "target-missing"
	CodeTargetAltered    = "target-altered"
	CodeBlobMissing      = "blob-missing"
	CodeBlobAltered      = "blob-altered"
	CodeArtifactMismatch = "artifact-mismatch"
	CodeEvidenceMissing  = "evidence-missing"
	CodeEvidenceAltered  = "evidence-altered"
	CodeJournal          = "journal-refused"
	CodeJournalMissing   = "journal-missing"
	CodeReportMissing    = "report-missing"
	CodeReportAltered    = "report-altered"
	CodeReportSigner     = "report-signer-unknown"
	CodeReportRejected   = "report-rejected"
	CodeReportSite       = "report-site-unknown"
	CodeReportGap        = "report-gap"
	CodeReportsFlooded   = "reports-flooded"
	CodeReportUnseen     = "report-unseen"
	CodeLogMissing       = "log-missing"
	CodeLogAltered       = "log-altered"
	CodeUnreadable       = "unreadable"
	CodePruning          = "prune-interrupted"
	CodeOrphanBlobs      = "orphan-blobs"
	CodeOrphanTargets    = "orphan-targets"
	CodeOrphanEvidence   = "orphan-evidence"
	CodeOrphanMetadata   = "orphan-metadata"
	CodeOrphanJournal    = "orphan-journal"
	CodeOrphanLogs       = "orphan-logs"
	CodeUploads          = "unfinished-uploads"
	CodePending          = "pending"
	CodePendingLeftovers = "pending-leftovers"
	CodeProbes           = "probes"
	CodeForeign          = "foreign"
)

// lostCodes are faults by which something is gone; of all other faults something is there that is not to be trusted.
var lostCodes = []string{CodeMetadataMissing, CodeHistoryMissing, CodeTargetMissing, CodeBlobMissing, CodeEvidenceMissing, CodeJournalMissing, CodeReportMissing, CodeLogMissing}

// Finding is one thing that a check found.
type Finding struct {
	Severity Severity
	Code     string
	Object   string // a key, a role, or a prefix that ends with "/"
	Why      string
	Next     string   // what to do about it, "" for nothing
	Count    int      // of objects that it stands for
	Bytes    int64    // of them, where that is known
	Objects  []string // the keys of the first maxFindings of them, where it stands for those of a kind
}

// maxFindings is how many findings of one code, and objects of one finding, are kept one by one; beyond, they are counted.
const maxFindings = 1000

// CheckRequest says what to check.
type CheckRequest struct {
	ReadData bool   // hash artifacts and logs, too, which are otherwise held to their sizes, and unpack artifacts
	Product  string // only this one's releases and reports; "" = everything
}

// CheckResult is what a check found.
type CheckResult struct {
	Findings  []Finding        // the worst first, then by code and object
	Counts    map[Severity]int // of findings, those included that are not listed
	Left      int              // findings that are not listed: too many of their code
	Checked   Checked
	Unchecked []string // what could not be looked at, and why, in words
	Ended     bool     // before all was looked at
	Untrusted bool     // a fault by which something is not to be trusted
	Lost      bool     // a fault by which something is gone
	Unread    bool     // something that matters may not be read: nobody can say that the catalog is sound
	Issued    time.Time
}

// Checked counts what was looked at.
type Checked struct {
	Roots, Roles, Versions, Targets, Releases, Evidence int
	Blobs                                               int
	BlobBytes                                           int64 // of their sizes
	ReadBytes                                           int64 // that were hashed
	Segments, Reports, Logs                             int
	Objects                                             int // that the store listed
}

// Sound tells that there is no fault, and nothing that would have to be read and was not.
func (r *CheckResult) Sound() bool { return r.Counts[Fault] == 0 && !r.Unread && !r.Ended }

// Check looks through the catalog. The error is the store's, where it does not answer, or the context's, and what was found until
// then is in the result, if anything was looked at; whatever is wrong with the catalog is in the result.
func (p *Publisher) Check(ctx context.Context, req CheckRequest) (*CheckResult, error) {
	scratch, err := os.MkdirTemp(p.Scratch, "check-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	c := &checker{Publisher: p, req: req, result: &CheckResult{Counts: map[Severity]int{}}, hidden: map[string]bool{}, doubtful: map[string]bool{}, listed: map[string]int{}, gathered: map[string]*Finding{}, claims: map[objectID][]claimant{}}
	if c.view, err = c.look(ctx, scratch); err != nil {
		return nil, err
	}
	if c.view != nil {
		if req.Product != "" && !slices.Contains(c.view.Products(), req.Product) {
			return nil, &catalog.UnknownProduct{Product: req.Product}
		}
		c.result.Issued = c.view.Issued()
		if err = c.run(ctx); err != nil {
			c.unchecked("the rest: the check did not come to its end")
			c.result.Ended = true
		}
	}
	c.finish()
	return c.result, err
}

// checker is one check on its way.
type checker struct {
	*Publisher
	req         CheckRequest
	view        *catalog.View    // fresh: all of it came from the store
	seen        int64            // the newest root that this host knew before
	known       map[int64][]byte // the roots as this host pinned or keeps them
	past        *past
	doubtful    map[string]bool // products whose reports cannot be compared with what is published
	unjournaled bool            // the journal cannot be read: which reports it saw, nobody can tell
	hidden      map[string]bool // prefixes that cannot be listed

	mu       sync.Mutex // guards what follows while several objects are read at once
	result   *CheckResult
	listed   map[string]int      // findings by code
	gathered map[string]*Finding // those that stand for many objects, by code
	needs    []need              // blobs
	claims   map[objectID][]claimant
	unknown  bool // what names blobs cannot all be read: which are needed, nobody can tell
	logs     []logRef
}

func (c *checker) run(ctx context.Context) error {
	steps := []func(context.Context) error{c.roots, c.expiries, c.waivers, c.history, c.targets, c.stages, c.evidence, c.blobs, c.reports, c.logObjects}
	if c.req.Product == "" {
		steps = append(steps, c.pending, c.strays)
	} else {
		c.unchecked("with --product: leftovers, and what else nothing needs")
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// refused is the finding for metadata that is not taken. next is what to do about it, "" for having the version that
// is in effect, where it is known, back.
func (c *checker) refused(e *trust.Error, version int64, next string) {
	code := CodeRefused
	switch e.Kind {
	case trust.Expired:
		code = CodeExpired
	case trust.Missing:
		code = CodeMetadataMissing
	}
	c.find(Finding{Severity: Fault, Code: code, Object: e.Role, Why: e.Error(), Next: cmp.Or(next, mend(e, version))})
}

// find adds a finding.
func (c *checker) find(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Severity == Fault {
		if slices.Contains(lostCodes, f.Code) {
			c.result.Lost = true
		} else {
			c.result.Untrusted = true
		}
	}
	c.result.Unread = c.result.Unread || f.Code == CodeUnreadable
	c.result.Counts[f.Severity]++
	if c.listed[f.Code]++; c.listed[f.Code] > maxFindings {
		c.result.Left++
		return
	}
	f.Count = max(f.Count, 1)
	c.result.Findings = append(c.result.Findings, f)
}

// gather adds an object to the one finding that stands for all of its code. why says what they are.
func (c *checker) gather(severity Severity, code, prefix, why, next string, o storage.Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.gathered[code]
	if f == nil {
		f = &Finding{Severity: severity, Code: code, Object: prefix, Why: why, Next: next}
		c.gathered[code] = f
	}
	if f.Bytes += o.Size; f.Count < maxFindings {
		f.Objects = append(f.Objects, o.Key)
	}
	f.Count++
}

// count adds to one of the counters.
func (c *checker) count(counter *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*counter++
}

func (c *checker) unchecked(what string) { c.result.Unchecked = append(c.result.Unchecked, what) }

// unlisted notes that a part of the store cannot be listed. Other errors are the caller's.
func (c *checker) unlisted(prefix string, err error) error {
	if !denied(err) {
		return err
	}
	c.hidden[prefix] = true
	what := "what nothing needs below " + prefix
	if prefix == "" {
		what = "names that are none of Kitchen's"
	}
	var missing *storage.Error
	switch {
	case errors.Is(err, storage.ErrUnsupported):
		what += ": the store cannot be listed"
	case errors.As(err, &missing) && missing.Right != "":
		what += ": it may not be listed (that needs " + missing.Right + ")"
	default:
		what += ": it may not be listed"
	}
	c.unchecked(what)
	return nil
}

const readHint = "run the check with credentials that may read all of the catalog (docs/ACCESS.md)"

// unreadable is an object that may not be read. Other errors are the caller's.
func (c *checker) unreadable(key string, err error) error {
	if !errors.Is(err, storage.ErrForbidden) {
		return err
	}
	c.find(Finding{Severity: Warning, Code: CodeUnreadable, Object: key, Why: "it may not be read, so that nobody can say whether it is right",
		Next: readHint})
	return nil
}

func (c *checker) finish() {
	for _, f := range c.gathered {
		f.Why = fmt.Sprintf("%s: %d", f.Why, f.Count)
		c.find(*f)
	}
	order := map[Severity]int{Fault: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(c.result.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.Severity], order[b.Severity]), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Object, b.Object))
	})
}

// expiries holds everything to its expiry. What expires within the last third of its life is about to.
func (c *checker) expiries(context.Context) error {
	v := c.view
	c.expiry(trust.RoleRoot, v.Root().Expires)
	c.expiry(trust.RoleTimestamp, v.Timestamp().Expires)
	c.expiry(trust.RoleSnapshot, v.Snapshot().Expires)
	for _, name := range append([]string{trust.RoleTargets}, v.Roles()...) {
		c.result.Checked.Roles++
		if t, err := currentRole(v, name); err == nil {
			c.expiry(name, t.Expires)
		}
	}
	for _, broken := range v.Broken() {
		var refused *trust.Error
		switch {
		case errors.As(broken.Err, &refused) && refused.Kind == trust.Expired: // said above
		case errors.As(broken.Err, &refused):
			c.refused(refused, c.newest(broken.Role), "")
		default:
			if err := c.unreadable("role "+broken.Role, broken.Err); err != nil {
				return err
			}
		}
	}
	return nil
}

// waivers tells of certificates that end with a waiver. They are as sound as they were; gates say no.
func (c *checker) waivers(ctx context.Context) error {
	for _, e := range c.waiverExpiries(ctx, c.view, 0) {
		if c.req.Product != "" && e.Release.Product != c.req.Product || !e.Due {
			continue
		}
		f := Finding{Severity: Warning, Code: CodeWaiverEnds, Object: e.Role, Next: strings.Join(e.Commands, ", or ") + ", by its signers",
			Why: fmt.Sprintf("its certificate of %s ends with %s, the last day of the waiver for %s", e.Release, e.Until, strings.Join(e.Sites, ", "))}
		if e.Left <= 0 {
			f.Code, f.Why = CodeWaiverEnded, fmt.Sprintf("its certificate of %s ended with %s, the last day of the waiver for %s: no host deploys it", e.Release, e.Until, strings.Join(e.Sites, ", "))
		}
		c.find(f)
	}
	return nil
}

// RenewBefore is how long before its expiry a role should be signed again: the last third of its life.
func RenewBefore(role string) time.Duration {
	switch role {
	case trust.RoleTimestamp:
		return lifeTimestamp / 3
	case trust.RoleSnapshot:
		return lifeSnapshot / 3
	}
	return lifetime(role) / 3
}

func (c *checker) expiry(role string, expires time.Time) {
	next := signAgain(role)
	if lapsed := c.view.Lapsed(); lapsed != "" && lapsed != role {
		next += "; " + lapsed + " comes first"
	}
	switch left := expires.Sub(c.view.Now()); {
	case left <= 0:
		c.find(Finding{Severity: Fault, Code: CodeExpired, Object: role, Why: "it expired at " + moment(expires), Next: next})
	case left <= RenewBefore(role):
		c.find(Finding{Severity: Warning, Code: CodeExpiresSoon, Object: role, Why: "it expires at " + moment(expires), Next: next})
	}
}

// signAgain is what to do about an expiry.
func signAgain(role string) string {
	if slices.Contains(onlineRoles, role) {
		return "kitchen commit, by the holder of the online key"
	}
	return "kitchen renew --key FILE, by its signers (kitchen renew names them); kitchen commit then brings it into effect"
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
