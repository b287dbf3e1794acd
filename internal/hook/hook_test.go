package hook

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func spec(t *testing.T, out io.Writer, script string) Spec {
	t.Helper()
	return Spec{Argv: []string{"sh", "-c", script}, Dir: t.TempDir(), Env: []string{"PATH=" + os.Getenv("PATH")},
		Output: out, Grace: 2 * time.Second, Now: time.Now}
}

func TestRunTellsHowAHookEnded(t *testing.T) {
	for _, c := range []struct {
		name, script string
		argv         []string
		want         Ending
		code         int
		detail       string
	}{
		{name: "success", script: "exit 0", want: Exited},
		{name: "failure", script: "exit 3", want: Exited, code: 3, detail: "exit code 3"},
		{name: "no hardware", script: "exit 77", want: Exited, code: 77, detail: "exit code 77"},
		{name: "crash", script: "kill -SEGV $$", want: Killed, detail: "signal"},
		{name: "missing command", argv: []string{"kitchen-has-no-such-command"}, want: NotStarted, detail: "cannot start"},
		{name: "missing file", argv: []string{"./nothing-here"}, want: NotStarted, detail: "cannot start"},
		{name: "empty", argv: []string{}, want: NotStarted, detail: "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec(t, io.Discard, c.script)
			if c.argv != nil {
				s.Argv = c.argv
			}
			r := Run(context.Background(), s)
			if r.Ending != c.want || r.ExitCode != c.code || !strings.Contains(r.Detail, c.detail) {
				t.Errorf("got %+v", r)
			}
			if r.Started.IsZero() || r.Finished.Before(r.Started) {
				t.Errorf("times %s to %s", r.Started, r.Finished)
			}
		})
	}
}

func TestRunKeepsOutputInOrderAndStdinEmpty(t *testing.T) {
	var out bytes.Buffer
	s := spec(t, &out, "echo one; echo two >&2; cat; echo three; pwd")
	if r := Run(context.Background(), s); r.Ending != Exited || r.ExitCode != 0 {
		t.Fatalf("got %+v", r)
	}
	dir, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := "one\ntwo\nthree\n" + dir + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestRunStartsRelativeCommandsInDir(t *testing.T) {
	var out bytes.Buffer
	s := spec(t, &out, "")
	if err := os.WriteFile(filepath.Join(s.Dir, "h.sh"), []byte("#!/bin/sh\necho here $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Argv = []string{"./h.sh", "arg"}
	if r := Run(context.Background(), s); r.Ending != Exited || out.String() != "here arg\n" {
		t.Errorf("got %+v, %q", r, out.String())
	}
}

// waitFor gives a line of a FIFO that the hook writes to when it is ready.
func fifo(t *testing.T, dir string) string {
	t.Helper()
	p := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	var out bytes.Buffer
	s := spec(t, &out, `trap 'echo asked to stop' TERM; (trap "" TERM; echo $$ >child; echo up >fifo; sleep 300) & wait; wait`)
	s.Grace = 300 * time.Millisecond
	ready := fifo(t, s.Dir)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		os.ReadFile(ready)
		cancel()
	}()
	begin := time.Now()
	r := Run(ctx, s)
	if r.Ending != Interrupted {
		t.Errorf("got %+v", r)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s: the child that ignores SIGTERM was waited for", took)
	}
	if !strings.Contains(out.String(), "asked to stop") {
		t.Errorf("the hook never saw SIGTERM: %q", out.String())
	}
}

func TestTimeout(t *testing.T) {
	s := spec(t, io.Discard, "sleep 300")
	s.Timeout = 50 * time.Millisecond
	if r := Run(context.Background(), s); r.Ending != TimedOut || !strings.Contains(r.Detail, "50ms") {
		t.Errorf("got %+v", r)
	}
}

func TestAHookThatForksAndStaysIsEnded(t *testing.T) {
	for name, script := range map[string]string{
		"holding the output": `sleep 300 & echo $! >pid`,
		"silently":           `sleep 300 >/dev/null 2>&1 & echo $! >pid`,
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, io.Discard, script)
			s.Grace = 300 * time.Millisecond
			r := Run(context.Background(), s)
			if r.Ending != Exited || r.ExitCode != 0 || !r.Leftovers {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	got := Environment([]string{"PATH=/bin", "KITCHEN_STATE=x", "KITCHEN_CONFIG=x", "KITCHEN_CATALOG=x", "KITCHEN_OUTPUT=json",
		"COSIGN_PASSWORD=secret", "KITCHEN_PRODUCT=old", "KITCHEN_STATES=kept"}, []string{"KITCHEN_PRODUCT=new"})
	if want := []string{"PATH=/bin", "KITCHEN_STATES=kept", "KITCHEN_PRODUCT=new"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAHookSeesNoCredentials of stores, key services and key files, unless it is given them on purpose.
func TestAHookSeesNoCredentials(t *testing.T) {
	secrets := []string{"COSIGN_PASSWORD", "COSIGN_PKCS11_PIN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH",
		"AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_HEADER", "MSI_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_ACCESS_TOKEN", "VAULT_TOKEN", "VAULT_ADDR", "BAO_TOKEN"}
	parent := []string{"AWSOME=1", "PATH=/bin"}
	for _, name := range secrets {
		parent = append(parent, name+"=secret")
	}
	if got, want := Environment(parent, []string{"AWS_PROFILE=hook"}), []string{"AWSOME=1", "PATH=/bin", "AWS_PROFILE=hook"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestAHookHoldsWhatItWasGiven: a lock of the starter's lives as long as the hook, even if the starter is killed.
func TestAHookHoldsWhatItWasGiven(t *testing.T) {
	held, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	r := Run(t.Context(), Spec{Argv: []string{"sh", "-c", "test -d /dev/fd/3"}, Holds: held,
		Output: io.Discard, Env: os.Environ(), Now: time.Now})
	if r.Ending != Exited || r.ExitCode != 0 {
		t.Errorf("%+v", r)
	}
}
