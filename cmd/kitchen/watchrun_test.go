package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

func TestAWatchTestsWhatIsPublishedAndSaysEachEventOnOneLine(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	w := s.watch(t, "--config ./ci.toml run --watch 100s")
	said, pause := w.round()
	says(t, said, "openstack@1.0.0: PASSED; signed into validated.openstack\n")
	if pause < 90*time.Second || pause > 110*time.Second {
		t.Errorf("it waits %s", pause)
	}
	if said, _ := w.again(); said != "" {
		t.Errorf("nothing happened, and it says %q", said)
	}
	s.ask("--config ./eng.toml publish ./r2").want(t, exitDone)
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\necho '<testsuite name=\"s\"><testcase name=\"boot\"><failure/></testcase></testsuite>' >$KITCHEN_RESULTS/r.xml\n")
	said, _ = w.again()
	says(t, said, "openstack@2.0.0: FAILED, 0 of 1 tests passed: 1 failed test; failed: s/boot\n")
	if code := w.end(syscall.SIGTERM); code != exitDone {
		t.Errorf("SIGTERM between runs: exit %d", code)
	}
	reported(2, "tested.txt", 2)(t, s)
}

func TestAWatchInJSONIsOneDocumentALine(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	w := s.watch(t, "--config ./ci.toml run --watch 100s -o json")
	said, _ := w.round()
	var d runDocument
	if err := json.Unmarshal([]byte(said), &d); err != nil || strings.Count(said, "\n") != 1 || len(d.Runs) != 1 || d.Runs[0].Verdict != "PASSED" {
		t.Errorf("%v: %q", err, said)
	}
	if code := w.end(os.Interrupt); code != exitInterrupted {
		t.Errorf("Ctrl-C: exit %d", code)
	}
}

func TestAStoreThatIsAwayDuringAWatchIsSaidOnceAndSaidToBeBack(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	w := s.watch(t, "--config ./ci.toml run --watch 100s")
	w.round()
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(s.path(from), s.path(to)); err != nil {
			t.Fatal(err)
		}
	}
	move("bucket", "elsewhere")
	said, first := w.again()
	says(t, said, "error: ", "trying again, less and less often")
	if strings.Count(said, "\n") != 1 {
		t.Errorf("more than one line: %q", said)
	}
	last := first
	for range 3 {
		if said, last = w.again(); said != "" {
			t.Errorf("said again: %q", said)
		}
	}
	if first < 100*time.Second || last < 800*time.Second {
		t.Errorf("it waited %s, later %s", first, last)
	}
	move("elsewhere", "bucket")
	said, pause := w.again()
	if said != "the store is back\n" || pause > 110*time.Second {
		t.Errorf("it says %q and waits %s", said, pause)
	}
}

// TestAnS3ServerThatIsKilledDuringAWatch: connections that were open, and those that are refused.
func TestAnS3ServerThatIsKilledDuringAWatch(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	s := chapter(t, "published")
	objects := s.store(t)
	s.at, s.env = server.URL(server.Bucket(t), "watched"), map[string]string{}
	for _, kv := range server.Env() {
		name, value, _ := strings.Cut(kv, "=")
		s.env[name] = value
	}
	upload(t, objects, s.store(t))
	w := s.watch(t, "--config ./ci.toml run --watch 100s")
	said, _ := w.round()
	says(t, said, "openstack@1.0.0: PASSED; signed into validated.openstack\n")
	server.Kill()
	said, _ = w.again()
	says(t, said, "error: ", "out of reach", "trying again, less and less often")
	if said, _ = w.again(); said != "" {
		t.Errorf("said again: %q", said)
	}
	server.Start(t)
	if said, _ = w.again(); said != "the store is back\n" {
		t.Errorf("it says %q", said)
	}
	if code := w.end(syscall.SIGTERM); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// The store goes away while the hook runs: its report waits on disk, and is sent once it is back, exactly once.
func TestAReportThatTheStoreDidNotTakeIsSentByALaterRound(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\nmv bucket elsewhere\ntouch bucket\n")
	w := s.watch(t, "--config ./ci.toml run --watch 100s")
	said, _ := w.round()
	says(t, said, "openstack@1.0.0: PASSED; the report waits on disk: ", "error: 1 signed report on disk")
	if err := os.Remove(s.path("bucket")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path("elsewhere"), s.path("bucket")); err != nil {
		t.Fatal(err)
	}
	said, _ = w.again()
	says(t, said, "well again", "openstack@1.0.0: signed into validated.openstack", "sent the report on openstack@1.0.0 that waited on disk (PASSED of ")
	for range 2 {
		if said, _ := w.again(); said != "" {
			t.Errorf("later it says %q", said)
		}
	}
	w.end(syscall.SIGTERM)
	reported(1, "tested.txt", 1)(t, s)
}

func TestAnErrorOfOneReleaseDoesNotEndAWatch(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	var lost string // its image
	for _, blob := range entries(t, s, "bucket/blobs/sha256/*/*") {
		if info, err := os.Stat(blob); err == nil && info.Size() > 100_000 {
			lost = blob
		}
	}
	if err := os.Rename(lost, s.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	w := s.watch(t, "--config ./ci.toml run --watch 100s")
	said, pause := w.round()
	says(t, said, "error: node.img of openstack@1.0.0 is not in the store")
	if pause > 110*time.Second {
		t.Errorf("the others wait %s for it", pause)
	}
	s.ask("--config ./eng.toml publish ./r2").want(t, exitDone)
	said, _ = w.again()
	says(t, said, "openstack@2.0.0: PASSED")
	if said, _ := w.again(); said != "" {
		t.Errorf("said again: %q", said)
	}
	if err := os.Rename(s.path("elsewhere"), lost); err != nil {
		t.Fatal(err)
	}
	said, _ = w.again()
	says(t, said, "openstack@1.0.0: PASSED", "well again")
}

// What waiting will not mend ends the service, so that somebody looks.
func TestAWatchEndsOnWhatWaitingDoesNotMend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		code         int
		words        string
	}{
		{"unknown site", "[site]\nid = \"acme/nowhere\"\nkey = \"keys/acme-staging.key\"\n[hooks]\ntest = [\"true\"]\n", exitFailed, "site acme/nowhere"},
		{"another site's key", "[site]\nid = \"acme/staging\"\nkey = \"keys/vendor-ci.key\"\n[hooks]\ntest = [\"true\"]\n", exitNotTrusted, "is not the one in the registry"},
		{"no hook", "[site]\nid = \"acme/staging\"\nkey = \"keys/acme-staging.key\"\n", exitFailed, "no [hooks] test"},
		{"no site", "", exitUsage, "needs a site"},
		{"another root", "root_fingerprint = \"sha256:" + strings.Repeat("0", 64) + "\"\n", exitNotTrusted, "pinned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := chapter(t, "validated")
			mustWrite(t, s, "x.toml", "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-x\"\n"+c.config)
			w := s.watch(t, "--config ./x.toml run --watch 100s")
			if code := w.ended(); code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			says(t, strings.Join(strings.Fields(w.stderr.take()), " "), c.words)
		})
	}
	s := chapter(t, "published")
	for _, line := range []string{"run --watch 1ms", "run --watch soon", "run openstack@1.0.0 --again --watch 5m"} {
		s.ask("--config ./ci.toml "+line).want(t, exitUsage, "--watch")
	}
}

// agent is run --watch as a service of its own process, whose manager the test is.
type agent struct {
	t      *testing.T
	cmd    *exec.Cmd
	said   *net.UnixConn
	output sharedText
	wait   func() error
}

func (s scene) agent(t *testing.T, line string, env ...string) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "kitchen-notify") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, said: conn, cmd: s.command(line, append(env, "NOTIFY_SOCKET="+socket)...)}
	a.cmd.Stdout, a.cmd.Stderr = &a.output, &a.output
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.wait = sync.OnceValue(a.cmd.Wait)
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		a.wait()
		conn.Close()
		os.RemoveAll(dir)
	})
	return a
}

// hears waits until the manager is told something that begins so.
func (a *agent) hears(state string) {
	a.t.Helper()
	a.said.SetReadDeadline(time.Now().Add(patience))
	for p := make([]byte, 4096); ; {
		n, err := a.said.Read(p)
		if err != nil {
			a.t.Fatalf("the manager does not hear %s: %v\n%s", state, err, a.output.take())
		}
		if strings.HasPrefix(string(p[:n]), state) {
			return
		}
	}
}

func (a *agent) end(s os.Signal) int {
	a.t.Helper()
	if err := a.cmd.Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
	a.wait()
	return a.cmd.ProcessState.ExitCode()
}

func TestAServiceManagerHearsOfItsService(t *testing.T) {
	t.Parallel()
	for signal, code := range map[os.Signal]int{syscall.SIGTERM: exitDone, os.Interrupt: exitInterrupted} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := chapter(t, "published")
			a := s.agent(t, "--config ./ci.toml run --watch 1h", "WATCHDOG_USEC=20000")
			a.hears("READY=1")
			a.hears("STATUS=waiting; next round in ")
			a.hears("WATCHDOG=1")
			if got := a.end(signal); got != code {
				t.Errorf("exit %d, want %d: %s", got, code, a.output.take())
			}
			a.hears("STOPPING=1")
			reported(1, "tested.txt", 1)(t, s)
		})
	}
}

// TestNothingNewCostsTwoRequests: a thousand agents that poll are a thousand times the next root that is not there and
// a timestamp that has not changed.
func TestNothingNewCostsTwoRequests(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	s.ask("--config ./ci.toml run").want(t, exitDone)
	s.ask("--config ./ci.toml run").want(t, exitDone)
	a := s.agent(t, "--config ./ci.toml run --watch 1s", callsVariable+"="+s.path("calls"))
	for range 3 {
		a.hears("STATUS=waiting")
	}
	a.end(syscall.SIGTERM)
	data, err := os.ReadFile(s.path("calls"))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[0] == "before" {
			counts[f[2]+" "+f[3]]++
		}
	}
	if len(counts) != 2 {
		t.Fatalf("requests: %v", counts)
	}
	for what, n := range counts {
		if n < 3 || !strings.Contains(what, "root.json") && !strings.Contains(what, "timestamp.json") {
			t.Errorf("%s: %d times in 3 rounds", what, n)
		}
	}
}

// TestSIGTERMDuringAHookOfAWatch: the hook gets the signal, its release counts as not tested, and the service ended as
// it was asked to.
func TestSIGTERMDuringAHookOfAWatch(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	mustWrite(t, s, "test.sh", "trap 'echo asked >> asked.txt; exit 0' TERM\nkill -TERM $PPID\nsleep 60 & wait $!\n")
	a := s.agent(t, "--config ./ci.toml run --watch 1h")
	a.hears("STOPPING=1")
	a.wait()
	if code := a.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("exit %d: %s", code, a.output.take())
	}
	if s.lines(t, "asked.txt") != 1 || len(s.reports(t)) != 0 {
		t.Errorf("asked %d times, %d reports", s.lines(t, "asked.txt"), len(s.reports(t)))
	}
	noLeftovers(t, s)
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\n")
	s.start(t, "--config ./ci.toml run").want(t, exitDone, "openstack@1.0.0: PASSED")
	reported(1, "tested.txt", 1)(t, s)
}

// TestTwoAgentsOfOneSite: whoever comes second says so and goes on; each release is tested once.
func TestTwoAgentsOfOneSite(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\nwhile ! test -e go.txt; do sleep 0.05; done\n")
	t.Cleanup(func() { mustWrite(t, s, "go.txt", "") })
	one, other := s.agent(t, "--config ./ci.toml run --watch 1s"), s.agent(t, "--config ./ci.toml run --watch 1s")
	until(t, "one is refused", func() bool {
		return one.output.has("another run of enovance/ci is under way") || other.output.has("another run of enovance/ci is under way")
	})
	mustWrite(t, s, "go.txt", "")
	until(t, "one tests", func() bool { return one.output.has("1.0.0: PASSED") || other.output.has("1.0.0: PASSED") })
	s.ask("--config ./eng.toml publish ./r2").want(t, exitDone)
	until(t, "one tests the next release", func() bool { return one.output.has("2.0.0: PASSED") || other.output.has("2.0.0: PASSED") })
	if a, b := one.end(syscall.SIGTERM), other.end(syscall.SIGTERM); a != exitDone || b != exitDone {
		t.Errorf("exit %d and %d", a, b)
	}
	reported(2, "tested.txt", 2)(t, s)
}
