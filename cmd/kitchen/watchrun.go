package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
)

// runWatch is run as a service. What happens is said on one line an event, and what stays as it is only once.
type runWatch struct {
	voice
	s       *session
	f       *fetcher.Fetcher
	options fetcher.RunOptions
	waiting map[string]string // release → reason, as it was said
}

// round is one refresh and one run. Only what no waiting will mend ends the service.
func (w *runWatch) round(ctx context.Context) (well bool, err error) {
	var result *fetcher.RunResult
	view, err := w.s.catalog.Refresh(ctx)
	if err == nil {
		result, err = w.f.Run(ctx, view, w.options)
	}
	if result != nil && w.options.Only != nil {
		err = notForThisSite(result, err)
	}
	if result != nil {
		if err := w.tell(newRunDocument(result), err == nil); err != nil {
			return false, err
		}
	}
	w.k.showWarnings()
	w.k.warnings = nil
	if errors.As(err, new(*fetcher.HalfDeployed)) && ctx.Err() != nil {
		w.complain(explain(ctx, err), false) // SIGTERM is no error of a service, what it left is
	}
	if ctx.Err() != nil || lasting(err) {
		return false, err
	}
	w.judge(ctx, err)
	return !w.away, nil
}

// lasting tells errors of this site's own configuration and registration from all others, which may be gone at the
// next round: a store that is away or denies access, knowledge that expired or is refused, a single release.
func lasting(err error) bool {
	var (
		usage   *usageError
		noPin   *catalog.NoPin
		pin     *catalog.PinMismatch
		unknown *fetcher.UnknownSite
		key     *fetcher.WrongSiteKey
		locked  *fetcher.UnusableKey
		hook    *fetcher.MissingHook
		gate    *fetcher.GateError
	)
	return errors.As(err, &usage) || errors.As(err, &noPin) || errors.As(err, &pin) || errors.As(err, &unknown) ||
		errors.As(err, &key) || errors.As(err, &locked) || errors.As(err, &hook) || errors.As(err, &gate) || errors.Is(err, fetcher.ErrNoSite)
}

// tell prints what a run did and what is new among what it waits for. Of a run that was cut short by an error, what
// it does not mention may wait still.
func (w *runWatch) tell(d *runDocument, whole bool) error {
	old := w.waiting
	if w.waiting = map[string]string{}; !whole {
		for release, reason := range old {
			w.waiting[release] = reason
		}
	}
	var lines []string
	for _, e := range d.Runs {
		lines = append(lines, e.line())
	}
	for _, r := range d.Resumed {
		lines = append(lines, r.Release+": "+r.Outcome)
	}
	for _, r := range d.Waiting {
		if w.waiting[r.Release] = r.Reason; old[r.Release] != r.Reason {
			lines = append(lines, r.Release+": "+r.Reason)
		}
	}
	return w.voice.tell(lines, d)
}

// namedFailures is how many failed tests one line names.
const namedFailures = 5

// line is the entry on one line.
func (e runEntry) line() string {
	text := e.headline()
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	if n := len(e.Failed); n > 0 {
		text += "; failed: " + strings.Join(e.Failed[:min(n, namedFailures)], ", ")
		if n > namedFailures {
			text += fmt.Sprintf(" and %d more", n-namedFailures)
		}
	}
	if e.Unsent != "" {
		text += "; the report waits on disk: " + e.Unsent
	}
	if e.Outcome != "" {
		text += "; " + e.Outcome
	}
	return text
}
