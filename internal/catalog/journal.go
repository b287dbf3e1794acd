package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// Limits of a journal that is read. A segment is a commit that saw something new.
const (
	maxSegments      = 100_000
	maxJournaled     = 2_000_000 // reports
	segmentsAtOnce   = 16        // that are asked for before it is known which of them are in the chain
	journalStateDir  = "journal"
	journalStateFile = journalStateDir + "/%d.%s.json" // number, sha256
)

// Journal is what committers saw of the sites' reports, and when: append-only, chained by digests from the newest
// segment, which the role journal lists, back to the first.
type Journal struct {
	Number int64  // of the newest segment; 0 = nothing was recorded yet
	SHA256 string // of the newest segment

	reports  map[string]journaled // by path
	segments []int64
}

// journaled is one report as it was when it was first seen.
type journaled struct {
	sha256 string
	size   int64
	seen   time.Time
}

// Len is how many reports the journal holds.
func (j *Journal) Len() int { return len(j.reports) }

// Seen is when the report under a path was first seen, and the digest that it had; false when it never was.
func (j *Journal) Seen(path string) (at time.Time, sha256 string, ok bool) {
	entry, ok := j.reports[path]
	return entry.seen, entry.sha256, ok
}

// Journal reads the journal: what the state directory does not hold yet from the store. It is empty when the role
// journal was never signed. Errors: a *trust.Error where it is withheld, rewritten, forked or does not hold
// together; *NotCached offline; the store's.
func (v *View) Journal(ctx context.Context) (*Journal, error) {
	v.journalMu.Lock()
	defer v.journalMu.Unlock()
	if v.journal != nil {
		return v.journal, nil
	}
	role, err := v.Role(manifest.RoleJournal)
	var absent *RoleAbsent
	if errors.As(err, &absent) {
		role, err = &trust.Targets{}, nil
	}
	if err == nil {
		v.journal, err = v.readJournal(ctx, role)
	}
	return v.journal, err
}

// journalToGoOn is Journal for whoever signs it next: one that is right in all but its expiry serves.
func (v *View) journalToGoOn(ctx context.Context) (*Journal, error) {
	if role, _, ok := v.ExpiredRole(manifest.RoleJournal); ok {
		return v.readJournal(ctx, role)
	}
	return v.Journal(ctx)
}

func (v *View) readJournal(ctx context.Context, role *trust.Targets) (*Journal, error) {
	w := &journalWalk{view: v, known: v.catalog.state.segments(), fetched: map[int64][]byte{}}
	if head := JournalHead(role); head.Number > 0 {
		if err := w.run(ctx, head, role.Targets[manifest.JournalObject(head.Number)].Length); err != nil {
			return nil, err
		}
	}
	return w.join(), nil
}

// JournalHead is the one segment that the role journal lists (trust sees to that); the number is 0 for none.
func JournalHead(role *trust.Targets) manifest.JournalLink {
	for path, target := range role.Targets {
		if number, err := manifest.ParseJournalObject(path); err == nil {
			return manifest.JournalLink{Number: number, SHA256: target.SHA256}
		}
	}
	return manifest.JournalLink{}
}

// journalWalk follows the chain from the newest segment back to the first.
type journalWalk struct {
	view    *View
	known   map[int64]string // segments that the state directory holds by name: number → sha256
	fetched map[int64][]byte // by number, whatever they are
	chain   []segment        // the newest first
	reports int
}

// segment is one that is part of the chain.
type segment struct {
	manifest.JournalLink
	*manifest.JournalSegment
	raw []byte // nil: the state directory has it
}

func (w *journalWalk) run(ctx context.Context, at manifest.JournalLink, length int64) error {
	for next := &at; next != nil; length = manifest.MaxObjectSize {
		s, err := w.segment(ctx, *next, length)
		if err != nil {
			return err
		}
		if err := w.follows(s); err != nil {
			return err
		}
		w.chain = append(w.chain, *s)
		next = s.Previous
	}
	return w.keeps()
}

// segment gives one segment of the chain, by number and digest.
func (w *journalWalk) segment(ctx context.Context, link manifest.JournalLink, length int64) (*segment, error) {
	path := manifest.JournalObject(link.Number)
	bad := func(kind trust.Kind, have string, err error) error {
		return &trust.Error{Kind: kind, Role: path, Have: have, Want: "sha256 " + link.SHA256, Err: err}
	}
	raw, mine := w.view.catalog.state.segment(link)
	if !mine && w.view.offline {
		return nil, &NotCached{What: "the journal"}
	}
	if !mine {
		var err error
		raw, err = w.fetch(ctx, link.Number, length)
		switch sha := sha256Hex(raw); {
		case errors.Is(err, storage.ErrNotFound):
			return nil, bad(trust.Missing, "", err)
		case errors.Is(err, storage.ErrTooLarge):
			return nil, bad(trust.Mismatch, "more", err)
		case err != nil:
			return nil, fmt.Errorf("the journal: %w", err)
		case sha != link.SHA256:
			return nil, bad(trust.Mismatch, "sha256 "+sha, nil)
		}
	}
	parsed, err := manifest.ParseJournalSegment(raw)
	if err == nil && parsed.Number != link.Number {
		err = fmt.Errorf("it says that it is segment %d", parsed.Number)
	}
	if err != nil {
		return nil, bad(trust.Malformed, "", err)
	}
	if mine {
		raw = nil
	}
	return &segment{link, parsed, raw}, nil
}

// fetch gives a segment's object. Older ones that are missing here come with it, several at once: most of them are
// the ones that are asked for next.
func (w *journalWalk) fetch(ctx context.Context, number, length int64) ([]byte, error) {
	if raw, ok := w.fetched[number]; ok {
		return raw, nil
	}
	clear(w.fetched)
	raw, err := readListed(ctx, w.view.catalog.store, manifest.JournalObject(number), length)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards fetched
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for n := number - 1; n > max(0, number-segmentsAtOnce) && w.known[n] == ""; n-- {
		group.Go(func() error {
			raw, err := readObject(ctx, w.view.catalog.store, manifest.JournalObject(n))
			if err != nil {
				return ctx.Err() // a number that was skipped; if it is in the chain, it is asked for again
			}
			mu.Lock()
			defer mu.Unlock()
			w.fetched[n] = raw
			return nil
		})
	}
	return raw, group.Wait()
}

// follows holds a segment to the one after it, and to the limits.
func (w *journalWalk) follows(s *segment) error {
	after := w.view.Issued()
	if len(w.chain) > 0 {
		after = w.chain[len(w.chain)-1].Seen
	}
	w.reports += len(s.Reports)
	var err error
	switch {
	case s.Seen.After(after):
		err = fmt.Errorf("it was written at %s, after what comes after it (%s)", stampOf(s.Seen), stampOf(after))
	case len(w.chain) >= maxSegments || w.reports > maxJournaled:
		err = fmt.Errorf("the journal is longer than %d segments or %d reports", maxSegments, maxJournaled)
	default:
		return nil
	}
	return &trust.Error{Kind: trust.Malformed, Role: manifest.JournalObject(s.JournalLink.Number), Err: err}
}

// keeps refuses a chain without the segments that this host read before, and writes down the new ones.
func (w *journalWalk) keeps() error {
	inChain := map[int64]string{}
	for _, s := range w.chain {
		inChain[s.JournalLink.Number] = s.SHA256
	}
	for _, number := range slices.Sorted(maps.Keys(w.known)) {
		link := manifest.JournalLink{Number: number, SHA256: w.known[number]}
		if inChain[number] == link.SHA256 {
			continue
		}
		if _, intact := w.view.catalog.state.segment(link); intact {
			return &trust.Error{Kind: trust.SameVersion, Role: manifest.JournalObject(number), Have: have(inChain[number]), Want: "sha256 " + link.SHA256,
				Err: errors.New("the journal was rewritten: it only grows, and this host has read another one")}
		}
	}
	for _, s := range slices.Backward(w.chain) {
		if s.raw != nil && !w.view.offline {
			if err := w.view.catalog.state.write(segmentFile(s.JournalLink), s.raw); err != nil {
				return err
			}
		}
	}
	return nil
}

func have(sha string) string {
	if sha == "" {
		return "no such segment"
	}
	return "sha256 " + sha
}

// join makes the index of the chain. Of a path that stands in it twice the first counts.
func (w *journalWalk) join() *Journal {
	j := &Journal{reports: make(map[string]journaled, w.reports)}
	for _, s := range w.chain {
		j.segments = append(j.segments, s.JournalLink.Number)
	}
	for _, s := range slices.Backward(w.chain) {
		j.Number, j.SHA256 = s.JournalLink.Number, s.SHA256
		for _, r := range s.Reports {
			if _, twice := j.reports[r.Path]; !twice {
				j.reports[r.Path] = journaled{r.SHA256, r.Size, s.Seen}
			}
		}
	}
	return j
}

// bySite are the paths of every site, in no order.
func (j *Journal) bySite() map[manifest.SiteID][]string {
	sites := map[manifest.SiteID][]string{}
	for path := range j.reports {
		if site, _, _, _, err := manifest.ParseReportObject(path); err == nil {
			sites[site] = append(sites[site], path)
		}
	}
	return sites
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func segmentFile(l manifest.JournalLink) string {
	return fmt.Sprintf(journalStateFile, l.Number, l.SHA256)
}

// segments are those that the state directory holds, by their names alone. Names of no use are passed over.
func (s stateDir) segments() map[int64]string {
	known := map[int64]string{}
	for _, name := range s.names(journalStateDir) {
		number, rest, _ := strings.Cut(name, ".")
		n, err := manifest.ParseJournalObject(manifest.RoleJournal + "/" + number + ".json")
		if sha, ok := strings.CutSuffix(rest, ".json"); err == nil && ok {
			known[n] = sha
		}
	}
	return known
}

// segment reads one; false when it is missing or damaged.
func (s stateDir) segment(l manifest.JournalLink) ([]byte, bool) {
	data, ok := s.readKind(segmentFile(l), manifest.JournalObject(l.Number))
	return data, ok && sha256Hex(data) == l.SHA256
}

// checkJournal refuses a journal that is older than the one this host saw last, or another one of the same age.
// Whether a longer one continues it is for whoever reads it to find: see View.Journal.
func (m *memory) checkJournal(t *trust.Targets) error {
	head := JournalHead(t)
	switch seen := m.Journal; {
	case head.Number < seen.Number:
		return &trust.Error{Kind: trust.Rollback, Role: manifest.RoleJournal, Have: fmt.Sprint(head.Number), Want: fmt.Sprint(seen.Number),
			Err: errors.New("the number of its newest segment; the journal only grows")}
	case head.Number == seen.Number && head.SHA256 != seen.SHA256:
		return &trust.Error{Kind: trust.SameVersion, Role: manifest.JournalObject(head.Number), Have: head.SHA256, Want: seen.SHA256}
	}
	return nil
}
