package catalog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
)

// Options say which catalog is meant, where its state is kept, and which root is trusted to begin with.
type Options struct {
	Store storage.Store // nil: offline only
	Dir   string        // state directory, one per catalog; made when needed

	// The pinned root: its bytes, its fingerprint, or both. With neither the state directory's own pin serves.
	Root            []byte
	RootFingerprint string // "sha256:<hex>" of metadata/<RootVersion>.root.json
	RootVersion     int64  // of the fingerprint; 0 means 1

	Now      func() time.Time // the host's clock; required
	Progress progress.Sink    // nil is silent
	// Warn is told, once a refresh has ended, what people have to know of this host: a lost memory, a clock that runs
	// behind. nil is silent; the view tells the same.
	Warn func(string)
}

// Catalog opens views. It is safe for concurrent use; processes take turns by the state directory's lock.
type Catalog struct {
	store    storage.Store
	state    stateDir
	pins     pins   // what the configuration pins
	root     []byte // the configured root's bytes, or nil
	now      func() time.Time
	progress progress.Sink
	warn     func(string)
	clock    sync.Once // of the warning
	fresh    bool      // see Afresh: nothing of the reports is kept
}

// Open checks the configured pin against the one that the state directory remembers. It makes no request and
// writes nothing. Errors: *NoPin, *PinMismatch, and what is wrong with the configured pin itself.
func Open(_ context.Context, o Options) (*Catalog, error) {
	if o.Now == nil || o.Dir == "" {
		return nil, errors.New("catalog: a clock and a state directory are required")
	}
	c := &Catalog{store: o.Store, state: stateDir{o.Dir}, root: o.Root, now: o.Now, progress: o.Progress, warn: o.Warn}
	if c.progress == nil {
		c.progress = progress.Silent{}
	}
	var err error
	if c.pins, err = configuredPins(o); err != nil {
		return nil, err
	}
	remembered, problem := c.state.readPin()
	if problem == "" {
		if err := c.pins.add(remembered, "the state directory "+o.Dir); err != nil {
			return nil, err
		}
	}
	if len(c.pins) == 0 {
		return nil, &NoPin{Dir: o.Dir, Reason: problem}
	}
	return c, nil
}

// Close releases what the catalog holds. The store stays open: it belongs to whoever opened it.
func (c *Catalog) Close() error { return nil }

// Dir is the state directory.
func (c *Catalog) Dir() string { return c.state.dir }

// Fingerprint is the form in which a root is pinned: "sha256:" and the digest of its bytes in hex.
func Fingerprint(root []byte) string { return fingerprintPrefix + sha256Hex(root) }

const fingerprintPrefix = "sha256:"

// ParseFingerprint gives the digest (64 lower-case hex digits) of "sha256:<hex>".
func ParseFingerprint(s string) (string, error) {
	digest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), fingerprintPrefix)
	if raw, err := hex.DecodeString(digest); !ok || err != nil || len(raw) != 32 {
		return "", &BadFingerprint{Text: s}
	}
	return digest, nil
}

// configuredPins are those of the options; there may be none.
func configuredPins(o Options) (pins, error) {
	p := pins{}
	if o.RootFingerprint != "" {
		digest, err := ParseFingerprint(o.RootFingerprint)
		if err != nil {
			return nil, err
		}
		version := o.RootVersion
		if version == 0 {
			version = 1
		}
		if version < 0 {
			return nil, fmt.Errorf("root version %d is not a version", version)
		}
		p[version] = digest
	}
	if o.Root != nil {
		session, err := trust.Start(o.Root, o.Now())
		if err != nil {
			return nil, fmt.Errorf("configured root: %w", err)
		}
		found := pin{Version: session.Root().Version, SHA256: sha256Hex(o.Root)}
		if err := p.add(found, "the configured root file"); err != nil {
			return nil, err
		}
	}
	return p, nil
}
