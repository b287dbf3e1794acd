package fetcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/hook"
	"github.com/enovance/kitchen/manifest"
)

// Names of hooks. One of the first two is what a run is about; the others are around it, where the site has them:
// setup before it, on-error after a verdict that is neither PASSED nor WARNED, teardown at the end in any case.
const (
	HookTest     = "test"
	HookDeploy   = "deploy"
	HookSetup    = "setup"
	HookTeardown = "teardown"
	HookOnError  = "on-error"
)

// exitNotRun is the exit code by which a hook says that it could not try.
const exitNotRun = 77

// cleanUpLimit is the time limit of on-error and teardown where the site sets none: they run also when kitchen is told
// to stop, and must not keep it for long.
const cleanUpLimit = 5 * time.Minute

// hookCommand gives a hook's command, or *MissingHook.
func (s *Site) hookCommand(name string) ([]string, error) {
	argv := s.Hooks[name]
	if len(argv) == 0 || argv[0] == "" {
		return nil, &MissingHook{Name: name, Config: s.config()}
	}
	return argv, nil
}

// checkHooks finds the programs of a hook and of those around it before anything starts: *MissingHook when there is
// none, or it is no program.
func (s *Site) checkHooks(main string) error {
	if _, err := s.hookCommand(main); err != nil {
		return err
	}
	for _, name := range []string{HookSetup, main, HookOnError, HookTeardown} {
		argv, err := s.hookCommand(name)
		if err != nil {
			continue // a site need not have it
		}
		if err := hook.Find(argv[0], s.Dir); err != nil {
			return &MissingHook{Name: name, Config: s.config(), Program: argv[0], Err: err}
		}
	}
	return nil
}

// limit is a hook's time limit; 0 means none.
func (s *Site) limit(name string) time.Duration {
	limit, own := s.HookTimeouts[name]
	switch {
	case own:
		return limit
	case name == HookOnError || name == HookTeardown:
		return cleanUpLimit
	}
	return s.HookTimeout
}

// steps runs the job's hooks and judges them. The verdict is that of setup and of the hook itself; what comes after can
// only add to the reason.
func (t *turn) steps(ctx context.Context, j *job, o *outcome) {
	setup, there := t.step(ctx, j, o, HookSetup)
	if there && (setup.Ending != hook.Exited || setup.ExitCode != 0) {
		o.judgeSetup(setup)
	} else {
		main, _ := t.step(ctx, j, o, j.hook)
		reading := ctx
		if j.hook == HookDeploy {
			reading = context.WithoutCancel(ctx) // it happened, and is told
		}
		unread := j.intact()
		if unread == nil {
			unread = o.tests.collectResults(reading, j.dir)
		}
		o.interrupted = main.Ending == hook.Interrupted || unread != nil && reading.Err() != nil
		o.judge(main, unread)
	}
	if lacking := noRoom(j, o.log); lacking != "" && o.verdict != manifest.NotRun {
		o.verdict, o.reason = manifest.Errored, joinReasons(lacking, o.reason)
	}
	o.finished = t.clock()
	ctx = context.WithoutCancel(ctx) // what was begun is put away, whoever wants to stop
	cleanUp := []string{HookOnError, HookTeardown}
	if o.verdict == manifest.Passed || o.verdict == manifest.Warned || o.interrupted && j.hook == HookTest {
		cleanUp = cleanUp[1:] // an interrupted test has no verdict: it will run again
	}
	for _, name := range cleanUp {
		if r, there := t.step(ctx, j, o, name); there && r.Detail != "" {
			o.reason = joinReasons(o.reason, name+" hook: "+r.Detail)
		}
	}
	os.Remove(filepath.Join(j.dir, begunFile)) // else teardown runs once more
}

// noRoom tells why results may not be whole: the disk that they are on took no more. "" when it does.
func noRoom(j *job, log *hookLog) string {
	err := log.failure()
	if err == nil && j.intact() == nil { // else that is the reason already
		err = probe(j.dir)
	}
	switch {
	case err == nil:
		return ""
	case isFull(err):
		return "this host's disk is full: " + err.Error()
	}
	return "this host could not write: " + err.Error()
}

// probe writes a little into a folder in which hooks did as they liked: under a name that nobody had before.
func probe(dir string) error {
	file, err := durable.CreateTemp(dir)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 64<<10))
	return errors.Join(err, file.Close(), os.Remove(file.Name()))
}

// judgeSetup is the verdict where setup did not succeed and the hook itself was not started.
func (o *outcome) judgeSetup(r hook.Result) {
	o.interrupted = r.Ending == hook.Interrupted
	if r.Ending == hook.Exited && r.ExitCode == exitNotRun {
		o.verdict, o.reason = manifest.NotRun, "the setup hook says that it cannot be tried here (exit code 77)"
		return
	}
	o.verdict, o.reason = manifest.Errored, "setup hook: "+r.Detail
}

// step runs one hook, if the site has it.
func (t *turn) step(ctx context.Context, j *job, o *outcome, name string) (hook.Result, bool) {
	argv, err := t.f.Site.hookCommand(name)
	if err != nil {
		return hook.Result{}, false
	}
	o.log.Printf("%s hook on %s at %s", name, j.m.Release(), t.id)
	t.f.sink().Note(fmt.Sprintf("running the %s hook on %s", name, j.m.Release()))
	t.note(j, name, 0)
	r := hook.Run(ctx, hook.Spec{
		Argv: argv, Dir: t.f.Site.Dir, Env: t.environment(j, name, o.verdict), Output: &teeOutput{o.log, j.watch},
		Holds: j.held, Timeout: t.f.Site.limit(name), Grace: t.f.Site.HookGrace, Now: t.clock,
		Begun: func(group int) { t.note(j, name, group) },
	})
	if w, ok := j.watch.(*labelled); ok {
		w.finish()
	}
	if r.Leftovers {
		o.log.Printf("processes that the hook left behind were ended")
	}
	return r, true
}

// environment is what a hook sees of kitchen; docs name every variable. The verdict is known to those that come after
// the hook that it is about.
func (t *turn) environment(j *job, name, verdict string) []string {
	own := []string{
		"KITCHEN_HOOK=" + name,
		"KITCHEN_PRODUCT=" + j.m.Product,
		"KITCHEN_VERSION=" + j.m.Version,
		"KITCHEN_KIND=" + j.m.Kind,
		"KITCHEN_FROM=" + j.from,
		"KITCHEN_DIR=" + filepath.Join(j.dir, "files"),
		"KITCHEN_MANIFEST=" + filepath.Join(j.dir, "manifest.toml"),
		"KITCHEN_RESULTS=" + filepath.Join(j.dir, "results"),
		"KITCHEN_WORK=" + filepath.Join(j.dir, "scratch"),
		"KITCHEN_SITE=" + t.id.String(),
		"KITCHEN_VERDICT=" + verdict,
	}
	return hook.Environment(t.f.Env, own)
}

// teeOutput gives a hook's output to the log and to whoever watches. A terminal that
// went away does not stop the hook.
type teeOutput struct {
	log   *hookLog
	watch io.Writer
}

func (w *teeOutput) Write(p []byte) (int, error) {
	w.watch.Write(p)
	return w.log.Write(p)
}

// labelled puts a label before every line, and passes on whole lines only, so that those of hooks that run in parallel
// do not mix. A line that does not end for long is cut.
type labelled struct {
	to    io.Writer
	one   *sync.Mutex // one line at a time, of all who write to it
	label string
	rest  []byte
}

// longestLine is where a line that does not end is cut, in bytes.
const longestLine = 64 << 10

func (w *labelled) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		at := bytes.IndexByte(w.rest, '\n')
		switch {
		case at >= 0:
			at++
		case len(w.rest) > longestLine:
			at = longestLine
		default:
			return len(p), nil
		}
		w.show(w.rest[:at])
		w.rest = w.rest[at:]
	}
}

func (w *labelled) show(line []byte) {
	w.one.Lock()
	defer w.one.Unlock()
	fmt.Fprintf(w.to, "%s%s\n", w.label, bytes.TrimSuffix(line, []byte("\n")))
}

// finish shows a line that has not ended.
func (w *labelled) finish() {
	if len(w.rest) > 0 {
		w.show(w.rest)
	}
	w.rest = nil
}

// joinReasons puts two reasons one after the other; either may be "".
func joinReasons(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
