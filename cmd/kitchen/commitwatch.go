package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/publisher"
)

// longestCommitPause bounds a committer's pauses while the store is away: it is one of few, and everybody waits for it.
const longestCommitPause = 2 * time.Minute

// commitWatch is commit as a service. What happens is said on one line an event, and what stays as it is only once.
type commitWatch struct {
	voice
	rounds publisher.CommitRounds
	told   map[string]string // proposal → what was said of it
}

// serveCommit is commit --watch. The configuration is read, and the online key opened, once.
func (k *kitchen) serveCommit(ctx context.Context, o commitOptions, p *publisher.Publisher) error {
	if opener, ok := p.Online.(interface{ open() error }); ok {
		if err := opener.open(); err != nil {
			return err
		}
	}
	w := &commitWatch{voice: voice{k: k}, rounds: publisher.CommitRounds{Publisher: p}}
	return k.serve(ctx, o.watch, longestCommitPause, w.round)
}

// round is one commit. Only what no waiting will mend ends the service.
func (w *commitWatch) round(ctx context.Context) (well bool, err error) {
	result, err := w.rounds.Round(ctx)
	if result != nil {
		if err := w.tell(newCommit(result)); err != nil {
			return false, err
		}
	}
	w.k.showWarnings()
	w.k.warnings = nil
	if ctx.Err() != nil || wrongCommitter(err) {
		return false, err
	}
	w.judge(ctx, err)
	return !w.away, nil
}

// wrongCommitter tells errors of this host's own configuration from all others.
func wrongCommitter(err error) bool {
	var (
		usage *usageError
		noPin *catalog.NoPin
		pin   *catalog.PinMismatch
		none  *publisher.NoOnlineKey
		key   *publisher.NotAuthorized
		old   *publisher.OldOnlineKey
	)
	return errors.As(err, &usage) || errors.As(err, &noPin) || errors.As(err, &pin) || errors.As(err, &none) || errors.As(err, &key) || errors.As(err, &old)
}

// tell says what took effect, and what is new among what waits.
func (w *commitWatch) tell(d *commitDocument) error {
	var lines []string
	for _, c := range d.Committed {
		lines = append(lines, "in effect: "+c.ID+": "+strings.Join(outline(&c), "; "))
	}
	if d.Journaled > 0 {
		lines = append(lines, fmt.Sprintf("recorded in the journal: %d report(s)", d.Journaled))
	}
	if d.Renewed {
		lines = append(lines, fmt.Sprintf("signed again: timestamp %d, valid until %s", d.Timestamp, d.Expires))
	}
	old := w.told
	w.told = map[string]string{}
	for _, waiting := range [][]proposalDocument{d.Incomplete, d.Refused, d.Stale} {
		for _, p := range waiting {
			w.told[p.ID] = p.inALine()
			if p.lapsesSoon() {
				w.told[p.ID] += "; it LAPSES at " + p.Expires
			}
			if old[p.ID] != w.told[p.ID] {
				lines = append(lines, p.ID+": "+w.told[p.ID])
			}
		}
	}
	return w.voice.tell(lines, d)
}

// inALine is what becomes of a proposal; of a lost recall, what recalls its release, too.
func (d *proposalDocument) inALine() string {
	if d.notRecalled == "" {
		return d.state()
	}
	return d.notRecalled + ": " + strings.Join(append([]string{d.state()}, d.Again...), "; ")
}

// outline is a change without its evidence, and not all of what is long.
func outline(d *proposalDocument) (lines []string) {
	for _, line := range d.Change {
		if !strings.HasPrefix(line, " ") {
			lines = append(lines, line)
		}
	}
	if more := len(lines) - listedLines; more > 0 {
		lines = append(lines[:listedLines], moreLines(more, d))
	}
	return lines
}
