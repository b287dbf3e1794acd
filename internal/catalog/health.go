package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// StateHealth is how a state directory looks to somebody who finds out why a host has trouble. Nothing in it is
// verified, and nothing was changed to see it.
type StateHealth struct {
	Used     bool      // a refresh got as far as a timestamp here
	Pin      string    // fingerprint of the root that is remembered; "" with PinLack
	PinLack  string    // why none is: missing or damaged
	Memories int       // intact copies of what must not be forgotten; there are two
	Issued   time.Time // newest time that a timestamp seen here was issued
	Busy     bool      // another process holds the lock
}

// InspectState looks at a state directory; one that is not there is not Used.
func InspectState(dir string) StateHealth {
	s := stateDir{dir}
	h := StateHealth{Used: s.used()}
	remembered, lack := s.readPin()
	if h.PinLack = lack; lack == "" {
		h.Pin = fingerprintPrefix + remembered.SHA256
	}
	for _, m := range s.readMemories() {
		h.Memories++
		if m.Issued.After(h.Issued) {
			h.Issued = m.Issued
		}
	}
	if _, err := os.Lstat(s.path(lockFile)); err == nil {
		if l, err := s.flock(); err == nil {
			free, err := l.TryLock()
			h.Busy = err == nil && !free
			l.Close()
		}
	}
	return h
}

// AcceptClock makes the host's clock the floor of the time, in place of the newest time that a timestamp was issued: a
// dangerous choice, for a host that saw one from a committer whose clock was far ahead, and refuses everything since.
// All else that the host remembers stays: versions, releases, recalls, the journal. The timestamp that it kept goes,
// so that the next refresh asks for it. It does nothing where the clock is not behind what was seen.
//
// What it gives up: a host whose own clock is wrong takes for valid what has expired, until a refresh shows it a newer
// time. Errors: *NotRefreshed without an intact memory of this catalog; those of the disk.
func (c *Catalog) AcceptClock(ctx context.Context) error {
	unlock, err := c.state.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	w := &walk{c: c, source: stateSource{c.state}, copies: c.state.readMemories(), host: c.now()}
	if err := w.firstRoot(ctx); err != nil {
		return &NotRefreshed{Dir: c.state.dir, Reason: err.Error()}
	}
	for more := true; more; {
		if more, err = w.nextRoot(ctx); err != nil {
			return err
		}
	}
	if err := w.recollect(w.session.Root().Version); err != nil {
		return err
	}
	if !w.memory.Issued.After(w.host) {
		return nil
	}
	for _, name := range []string{etagFile, timestampFile} {
		if err := os.Remove(c.state.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	accepted := w.memory.clone()
	accepted.Issued = w.host.UTC().Truncate(time.Second)
	return c.state.writeMemory(accepted)
}

// ClockSlack is how far two clocks may be apart before it is worth saying.
const ClockSlack = clockSlack
