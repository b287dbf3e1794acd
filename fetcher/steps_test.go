package fetcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// noted is a hook that notes itself and the verdict it knows, and then does something.
func noted(then string) []string {
	return []string{"sh", "-c", "echo $KITCHEN_HOOK:$KITCHEN_VERDICT >>steps; " + then}
}

// withSteps gives a host all hooks; the main one does what is said.
func withSteps(f *follower, main string) *follower {
	f.Site.Hooks = map[string][]string{HookSetup: noted(""), HookTest: noted(main), HookDeploy: noted(main), HookOnError: noted(""), HookTeardown: noted("")}
	return f
}

// noInterpreter makes a program that looks as if it could be started.
func (f *follower) noInterpreter(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.Site.Dir, "no-interpreter"), []byte("#!/nowhere/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestTheHooksAroundAHook(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, main string
		change     func(*Site)
		verdict    string
		reason     string
		steps      string
	}{
		{name: "passed", main: "exit 0", verdict: manifest.Passed, steps: "setup: test: teardown:PASSED"},
		{name: "failed", main: "exit 3", verdict: manifest.Failed, reason: "exit code 3", steps: "setup: test: on-error:FAILED teardown:FAILED"},
		{name: "no hardware", main: "exit 77", verdict: manifest.NotRun, reason: "exit code 77", steps: "setup: test: on-error:NOT_RUN teardown:NOT_RUN"},
		{name: "too slow", main: "sleep 300", verdict: manifest.Errored, reason: "ran longer than 1s", steps: "setup: test: on-error:ERROR teardown:ERROR",
			change: func(s *Site) { s.HookTimeouts = map[string]time.Duration{HookTest: time.Second} }},
		{name: "its own limit is the longer one", main: "sleep 0.2", verdict: manifest.Passed, steps: "setup: test: teardown:PASSED",
			change: func(s *Site) {
				s.HookTimeout, s.HookTimeouts = time.Nanosecond, map[string]time.Duration{HookTest: time.Minute, HookSetup: time.Minute}
			}},
		{name: "setup fails", verdict: manifest.Errored, reason: "setup hook: exit code 4", steps: "setup: on-error:ERROR teardown:ERROR",
			change: func(s *Site) { s.Hooks[HookSetup] = noted("exit 4") }},
		{name: "setup finds no hardware", verdict: manifest.NotRun, reason: "setup hook", steps: "setup: on-error:NOT_RUN teardown:NOT_RUN",
			change: func(s *Site) { s.Hooks[HookSetup] = noted("exit 77") }},
		{name: "setup cannot start", verdict: manifest.Errored, reason: "setup hook: cannot start", steps: "on-error:ERROR teardown:ERROR",
			change: func(s *Site) { s.Hooks[HookSetup] = []string{"./no-interpreter"} }},
		{name: "teardown fails", verdict: manifest.Passed, reason: "teardown hook: exit code 5", steps: "setup: test: teardown:PASSED",
			change: func(s *Site) { s.Hooks[HookTeardown] = noted("exit 5") }},
		{name: "teardown hangs", main: "exit 3", verdict: manifest.Failed, reason: "exit code 3; teardown hook: ran longer than 1s", steps: "setup: test: on-error:FAILED teardown:FAILED",
			change: func(s *Site) {
				s.Hooks[HookTeardown] = noted("sleep 300")
				s.HookTimeouts = map[string]time.Duration{HookTeardown: time.Second}
			}},
		{name: "only a teardown", verdict: manifest.Passed, steps: "test: teardown:PASSED",
			change: func(s *Site) { delete(s.Hooks, HookSetup); delete(s.Hooks, HookOnError) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := withSteps(at(t, w, "acme/staging", ""), c.main)
			if c.change != nil {
				c.change(f.Site)
			}
			f.noInterpreter(t)
			e := f.run(t, RunOptions{}).Runs[0]
			if e.Verdict != c.verdict || !strings.Contains(e.Reason, c.reason) || (c.reason == "") != (e.Reason == "") {
				t.Errorf("%s: %s", e.Verdict, e.Reason)
			}
			if got := f.line(t, "steps"); !slices.Equal(got, strings.Fields(c.steps)) {
				t.Errorf("ran %v, want %s", got, c.steps)
			}
			report := onlyReport(t, w, "acme/staging", r1)
			if report.Verdict() != c.verdict || report.Reason != e.Reason {
				t.Errorf("report %+v", report.Report)
			}
		})
	}
}

// interrupted runs something whose main hook is interrupted once it has printed a line.
func (f *follower) interrupted(t *testing.T, o RunOptions) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	because := errors.New("stopped")
	f.Stderr = writerFunc(func(p []byte) (int, error) { cancel(because); return len(p), nil })
	if _, err := f.Run(ctx, f.view(t), o); !errors.Is(err, because) {
		t.Errorf("it ended with %v", err)
	}
}

func TestTeardownComesAfterAnInterruptionToo(t *testing.T) {
	t.Parallel()
	for site, steps := range map[string]string{
		"acme/staging": "setup: test: teardown:ERROR", // the test runs again: nothing has failed
		"acme/prod":    "setup: deploy: on-error:ERROR teardown:ERROR",
	} {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := withSteps(at(t, w, site, ""), "echo up; sleep 300")
			f.interrupted(t, RunOptions{})
			if got := f.line(t, "steps"); !slices.Equal(got, strings.Fields(steps)) {
				t.Errorf("ran %v, want %s", got, steps)
			}
			if sent := reports(t, w); len(sent) > 0 {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// TestADeploymentWhoseSetupFailed is an attempt like any other: it is reported, and not repeated by itself.
func TestADeploymentWhoseSetupFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := withSteps(at(t, w, "acme/prod", ""), "exit 0")
	f.Site.Hooks[HookSetup] = noted("exit 1")
	if e := f.run(t, RunOptions{}).Runs[0]; e.Verdict != manifest.Errored || e.Reason != "setup hook: exit code 1" {
		t.Errorf("got %+v", e)
	}
	f.Site.Hooks[HookSetup] = noted("")
	if again := f.run(t, RunOptions{}); len(again.Runs) > 0 || len(again.Waiting) != 1 {
		t.Errorf("a later run: %+v", again)
	}
	if got := f.line(t, "steps"); slices.Contains(got, "deploy:") {
		t.Errorf("ran %v", got)
	}
}
