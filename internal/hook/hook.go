// Package hook starts the commands that a site's configuration names, and waits
// for them to the end.
//
// A hook gets its own process group, nothing on stdin, and stdout and stderr on one
// writer, in the order it printed them. When the context ends or the time limit
// passes, the whole group gets SIGTERM, and SIGKILL after the grace period. What a
// hook leaves running in its group when it exits is ended in the same way: a service
// that is to stay belongs to a service manager, or starts with setsid.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultGrace is the time between SIGTERM and SIGKILL when a Spec names none.
const DefaultGrace = 10 * time.Second

// Spec is one command to run.
type Spec struct {
	Argv    []string // command and arguments; a name without "/" is looked up in PATH
	Dir     string   // where it starts
	Env     []string // its whole environment, see Environment
	Output  io.Writer
	Holds   *os.File      // passed on open, so that a lock on it lives as long as the hook; may be nil
	Timeout time.Duration // 0 = no limit
	Grace   time.Duration // 0 = DefaultGrace
	Now     func() time.Time
	Begun   func(group int) // told the process group once the command runs; may be nil
}

// Find tells why a program cannot be started in a folder, as far as its name and rights show; nil when it can.
func Find(program, dir string) error {
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	_, err := exec.LookPath(program)
	if cause, ok := errors.AsType[*exec.Error](err); ok {
		return cause.Err
	}
	return err
}

// Ending says how a hook came to its end.
type Ending int

const (
	// Exited means by itself, with an exit code.
	Exited Ending = iota
	// NotStarted means that the command could not be started at all.
	NotStarted
	// Killed means by a signal that did not come from us.
	Killed
	// TimedOut means that it ran longer than Spec.Timeout and was ended.
	TimedOut
	// Interrupted means that the context ended and the hook was ended with it.
	Interrupted
)

// Result is what became of a hook.
type Result struct {
	Ending    Ending
	ExitCode  int    // valid when Ending is Exited
	Detail    string // in words, "" for exit 0
	Leftovers bool   // processes it had left behind were ended
	Started   time.Time
	Finished  time.Time
}

var errTimeout = errors.New("time limit reached")

// Run starts the command and returns when it and everything in its process group
// have ended. Whatever happens to the command is in the Result; Run has no error.
func Run(ctx context.Context, s Spec) Result {
	r := Result{Started: s.Now()}
	if s.Grace <= 0 {
		s.Grace = DefaultGrace
	}
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, errTimeout)
		defer cancel()
	}
	err := start(ctx, s, &r)
	r.Finished = s.Now()
	r.classify(ctx, s, err)
	return r
}

func start(ctx context.Context, s Spec, r *Result) error {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return &notStarted{errors.New("the command is empty")}
	}
	cmd := exec.CommandContext(ctx, s.Argv[0], s.Argv[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Stdout, cmd.Stderr = s.Output, s.Output
	if s.Holds != nil {
		cmd.ExtraFiles = []*os.File{s.Holds}
	}
	cmd.WaitDelay = s.Grace
	ownGroup(cmd)
	cmd.Cancel = func() error { return terminateGroup(cmd.Process.Pid) }
	if err := cmd.Start(); err != nil {
		return &notStarted{err}
	}
	if s.Begun != nil {
		s.Begun(cmd.Process.Pid)
	}
	err := cmd.Wait()
	r.Leftovers = endGroup(cmd.Process.Pid, s.Grace)
	return err
}

type notStarted struct{ err error }

func (e *notStarted) Error() string { return "cannot start: " + e.err.Error() }

// classify turns what Wait said into an Ending. A command that ended by itself with
// an exit code keeps it, also when the context ended at the same moment.
func (r *Result) classify(ctx context.Context, s Spec, err error) {
	var unable *notStarted
	var exit *exec.ExitError
	switch {
	case errors.As(err, &unable) && ctx.Err() == nil:
		r.Ending, r.Detail = NotStarted, unable.Error()
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		// Exit 0; ErrWaitDelay means that something else still held the output.
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout):
		r.Ending, r.Detail = TimedOut, fmt.Sprintf("ran longer than %s and was ended", s.Timeout)
	case ctx.Err() != nil:
		r.Ending, r.Detail = Interrupted, "interrupted"
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		r.ExitCode, r.Detail = exit.ExitCode(), fmt.Sprintf("exit code %d", exit.ExitCode())
	case errors.As(err, &exit):
		r.Ending, r.Detail = Killed, exit.String()
	default:
		r.Ending, r.Detail = NotStarted, err.Error()
	}
}

// hidden are variables that a kitchen command started by a hook would take for its
// own flags, and secrets that a hook has no business with: it runs what a release brings.
var hidden = map[string]bool{
	"KITCHEN_CONFIG": true, "KITCHEN_CATALOG": true, "KITCHEN_STATE": true, "KITCHEN_OUTPUT": true,
	"IDENTITY_ENDPOINT": true, "IDENTITY_HEADER": true, "IMDS_ENDPOINT": true, "MSI_ENDPOINT": true, "MSI_SECRET": true, // Azure's identity of the host
	"TRANSIT_SECRET_ENGINE_PATH": true,
	"NOTIFY_SOCKET":              true, "WATCHDOG_PID": true, "WATCHDOG_USEC": true, // what a hook would tell is not kitchen's word
}

// hiddenPrefixes begin what the stores and key services are told: credentials, and where they are.
var hiddenPrefixes = []string{"COSIGN_", "SIGSTORE_", "AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "GCE_METADATA_", "VAULT_", "BAO_"}

func isHidden(name string) bool {
	return hidden[name] || slices.ContainsFunc(hiddenPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Environment is the parent's environment without what is hidden from hooks, and
// with own ("NAME=value") in place of variables of the same name.
func Environment(parent, own []string) []string {
	set := make(map[string]bool, len(own))
	for _, kv := range own {
		name, _, _ := strings.Cut(kv, "=")
		set[name] = true
	}
	env := make([]string, 0, len(parent)+len(own))
	for _, kv := range parent {
		name, _, _ := strings.Cut(kv, "=")
		if !set[name] && !isHidden(name) {
			env = append(env, kv)
		}
	}
	return append(env, own...)
}
