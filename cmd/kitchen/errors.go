package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/enovance/kitchen/fetcher"
	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// The exit codes. 3 and 8 are answers, not errors: their document is on stdout.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNo          = 3
	exitNotTrusted  = 4
	exitLostRace    = 5
	exitUnavailable = 6
	exitNotInEffect = 8
	exitInterrupted = 130
)

var exitCodeWords = []struct {
	code  int
	words string
}{
	{exitDone, "done, in effect, yes"},
	{exitFailed, "failed"},
	{exitUsage, "usage: the command line is wrong"},
	{exitNo, "no: not ready, not OK, not certified"},
	{exitNotTrusted, "not trusted: signature, digest, rollback, expiry; or a key that may not sign this"},
	{exitLostRace, "lost to concurrent writers after several tries"},
	{exitUnavailable, "the store, or a key service, is out of reach or denies access"},
	{exitNotInEffect, "accepted, not in effect yet: signatures or the committer are outstanding"},
	{exitInterrupted, "interrupted"},
}

// usageError is a command line that makes no sense: exit 2.
type usageError struct {
	what string
	hint string
}

func usagef(format string, args ...any) *usageError {
	return &usageError{what: fmt.Sprintf(format, args...)}
}

func (e *usageError) Error() string { return e.what }
func (e *usageError) Hint() string  { return e.hint }

// hinted adds a hint to an error that has none.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }
func (e hinted) Hint() string  { return e.hint }

// answer ends a command whose document is already on stdout with that exit code.
type answer int

func (a answer) Error() string { return fmt.Sprintf("answer %d", int(a)) }

// failure is an error as it is shown: the one mapping from error values to exit
// code, words, hint and JSON.
type failure struct {
	Schema  string `json:"schema"`
	Code    int    `json:"exit_code"`
	Kind    string `json:"kind"`
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`

	Evidence []string `json:"evidence,omitempty"` // what is to be compared, such as whole key ids, a line each
	Warnings []string `json:"warnings,omitempty"` // of this host, which have not been shown yet

	lines []string // Message for people, safe to print
}

func explain(ctx context.Context, err error) failure {
	f := failure{Schema: "kitchen.error/v1", Message: err.Error(), lines: errorLines(err)}
	f.Code, f.Kind = exitCode(ctx, err)
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		f.Hint = h.Hint()
	}
	var shows interface{ Evidence() []string }
	if errors.As(err, &shows) {
		f.Evidence = shows.Evidence()
	}
	if f.Code == exitInterrupted {
		f.Message, f.lines = "interrupted", nil
		f.Hint = "nothing is left half-done; run the same command again to go on"
		if _, ok := errors.AsType[anew](err); ok {
			f.Hint = "nothing was changed; run it again: a check begins anew each time"
		}
		if _, ok := errors.AsType[packsAnew](err); ok {
			f.Hint = "nothing is left half-done; run the same command again: it begins anew, and sends nothing again that is stored already"
		}
		if kept, ok := errors.AsType[*fetcher.Interrupted](err); ok {
			f.Message += "; " + kept.Words()
		}
		if half, ok := errors.AsType[*fetcher.HalfDeployed](err); ok {
			f.Message += " while the deploy hook ran on " + half.Release.String()
			f.Hint = half.Hint()
		}
	}
	return f
}

// errorLines are an error's words, safe to print: a line for each of several errors, and none that begins in a text that
// somebody else wrote.
func errorLines(err error) []string {
	var several interface {
		error
		Unwrap() []error
	}
	if !errors.As(err, &several) {
		return []string{render.Line(err.Error())}
	}
	var lines, plain []string
	for _, one := range several.Unwrap() {
		lines, plain = append(lines, errorLines(one)...), append(plain, one.Error())
	}
	before, after, ok := strings.Cut(err.Error(), strings.Join(plain, "\n"))
	if !ok { // not of errors.Join
		return []string{render.Line(err.Error())}
	}
	lines[0] = render.Line(before) + lines[0]
	lines[len(lines)-1] += render.Line(after)
	return lines
}

// nextStep is what to do about an error of a command that has no hint of its own, by what kind of error it is.
func nextStep(command string, code int, err error) string {
	var request *publisher.Invalid
	var file *manifest.FileError
	switch {
	case code == exitUsage, errors.As(err, &request):
		return "see `" + command + " --help`"
	case errors.As(err, &file):
		return "correct that file; docs/FORMAT.md says what may stand in it"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return "name a file that is there; paths start at the folder you are in, those in kitchen.toml at that file's own"
	case errors.Is(err, fs.ErrPermission):
		return "give this user the right to it (ls -l shows whose it is), or name another"
	case errors.Is(err, fs.ErrExist):
		return "nothing is overwritten: name a file that does not exist yet"
	case errors.Is(err, syscall.ENOSPC):
		return "free some space, and run the same command again"
	}
	return "`kitchen doctor` looks for what is wrong with this host; `" + command + " --help` tells more about the command"
}

// beforeInit adds to a catalog that is not there what its vendor, who has the online key, may have forgotten.
func (k *kitchen) beforeInit(err error) error {
	var gone *catalog.NoCatalog
	if errors.As(err, &gone) && !gone.Known && gone.Left == "" && !gone.Begun && k.config != nil && len(k.config.keyFiles("online")) > 0 {
		return hinted{err, gone.Hint() + "; `kitchen init` makes a new catalog"}
	}
	return err
}

// exitCode sorts an error. What is not trusted comes before everything that may
// have been its occasion; an error that nobody classified is a plain failure.
func exitCode(ctx context.Context, err error) (int, string) {
	var (
		usage     *usageError
		untrusted *trust.Error
		signature *keys.BadSignature
		refused   *publisher.NotAuthorized
		race      *publisher.LostRace
		refusal   *publisher.Refused
		foreign   *publisher.NotASigningFile
		files     *fetcher.FilesDiffer
		bytes     *fetcher.Mismatch
		siteKey   *fetcher.WrongSiteKey
		pinned    *fetcher.PinnedKeys
		locked    *fetcher.UnusableKey
		address   *storage.AddressError
		gone      *catalog.NoCatalog
		stored    *storage.Error
		keyName   *keys.BadName
		keyHolder *keys.Unavailable
		exchanged *publisher.NothingToExchange
	)
	switch {
	case errors.As(err, &usage), errors.As(err, &address), errors.As(err, &keyName), errors.As(err, &exchanged), errors.As(err, new(*publisher.BadWaiver)), errors.As(err, new(*publisher.OldOnlineKey)):
		return exitUsage, "usage"
	case errors.As(err, &untrusted), errors.As(err, &signature), errors.As(err, &files), errors.As(err, &bytes), errors.As(err, &siteKey),
		errors.As(err, &foreign), errors.As(err, &pinned), errors.As(err, new(*publisher.CeremonyTooOld)):
		return exitNotTrusted, "not trusted"
	case errors.As(err, &refused), errors.As(err, &refusal), errors.As(err, new(*publisher.SignsNoRole)):
		return exitNotTrusted, "not authorized"
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted, "interrupted"
	case errors.As(err, &locked):
		return exitNotTrusted, "not trusted"
	case errors.Is(err, storage.ErrTooLarge) && errors.As(err, &stored) && stored.Op == "read":
		return exitNotTrusted, "not trusted"
	case errors.As(err, &gone):
		return exitUnavailable, "store unreachable"
	case errors.As(err, &keyHolder):
		return exitUnavailable, "key unreachable"
	case errors.As(err, &race):
		return exitLostRace, "lost race"
	case errors.Is(err, storage.ErrForbidden):
		return exitUnavailable, "access denied"
	case errors.Is(err, storage.ErrUnavailable):
		return exitUnavailable, "store unreachable"
	}
	return exitFailed, "failed"
}

// write prints the failure on stderr, as lines or as one JSON document. A line is wrapped to width columns, 0 for
// whatever is no terminal: programs look for lines.
func (f failure) write(w io.Writer, asJSON bool, width int) {
	if asJSON {
		if data, err := json.Marshal(f); err == nil {
			fmt.Fprintf(w, "%s\n", render.JSON(data))
			return
		}
	}
	lines := f.lines
	if lines == nil {
		lines = []string{render.Line(f.Message)}
	}
	for i, line := range lines {
		fmt.Fprintln(w, errorLine([]string{"error: ", "  "}[min(i, 1)], line, width))
	}
	for _, line := range f.Evidence {
		fmt.Fprintln(w, "  "+render.Line(line))
	}
	if f.Hint != "" {
		fmt.Fprintln(w, errorLine("hint: ", render.Line(f.Hint), width))
	}
}

// errorLine wraps a text that is safe to print. Hints are Kitchen's own words, unless something in them had to be escaped.
func errorLine(label, text string, width int) string {
	if width <= 0 || len(label)+render.Width(text) <= width {
		return label + text
	}
	margin := label[:len(label)-len(strings.TrimLeft(label, " "))]
	fold := render.FoldMixed
	if label == "hint: " && !strings.Contains(text, `\`) {
		fold = render.Fold
	}
	return margin + strings.Join(fold(label+text, width-2), "\n  ")
}
