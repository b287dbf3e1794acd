package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// screen is a terminal of its own, at which a program runs.
type screen struct {
	t       *testing.T
	us, its *os.File
	shown   bytes.Buffer
}

func newScreen(t *testing.T, args ...string) (*screen, *exec.Cmd) {
	t.Helper()
	us, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	noError(t, err)
	t.Cleanup(func() { us.Close() })
	noError(t, unix.IoctlSetPointerInt(int(us.Fd()), unix.TIOCSPTLCK, 0))
	noError(t, unix.IoctlSetWinsize(int(us.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}))
	n, err := unix.IoctlGetInt(int(us.Fd()), unix.TIOCGPTN)
	noError(t, err)
	its, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	noError(t, err)
	t.Cleanup(func() { its.Close() })
	c := exec.Command(args[0], args[1:]...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = t.TempDir(), its, its, its
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COSIGN_PASSWORD=") })
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	noError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return &screen{t: t, us: us, its: its}, c
}

// read takes in what is shown, if anything is within a moment.
func (s *screen) read() bool {
	s.t.Helper()
	ready := []unix.PollFd{{Fd: int32(s.us.Fd()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(ready, 20); n <= 0 {
		return false
	}
	buffer := make([]byte, 4096)
	n, err := s.us.Read(buffer)
	noError(s.t, err)
	s.shown.Write(buffer[:n])
	return true
}

// until reads what is shown till it holds the text and the echo is as wanted.
func (s *screen) until(text string, echo bool) (shown string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		s.read()
		modes, err := unix.IoctlGetTermios(int(s.its.Fd()), unix.TCGETS)
		noError(s.t, err)
		if (modes.Lflag&unix.ECHO != 0) == echo && strings.Contains(s.shown.String(), text) {
			defer s.shown.Reset()
			return s.shown.String()
		}
		if time.Now().After(end) {
			s.t.Fatalf("no %q with echo %v: %q", text, echo, s.shown.String())
		}
	}
}

// Whatever ends the question for a password, the terminal has its echo back, and nobody is shown the program's insides.
func TestAPasswordThatIsNotGivenLeavesTheEcho(t *testing.T) {
	t.Parallel()
	nohup := signal.Ignored(syscall.SIGHUP)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if signal == syscall.SIGHUP && nohup {
			t.Log("SIGHUP is ignored here, as nohup does: left out")
			continue
		}
		s, c := newScreen(t, "kitchen", "key", "generate", "k")
		s.until("new password", false)
		noError(t, c.Process.Signal(signal))
		s.until("interrupted", true)
		if _ = c.Wait(); c.ProcessState.ExitCode() != exitInterrupted {
			t.Errorf("%v: %v", signal, c.ProcessState)
		}
	}
}

// A shell has the terminal between Ctrl-Z and fg, and leaves it with its own modes.
func TestThePasswordIsNotEchoedAfterCtrlZAndFg(t *testing.T) {
	t.Parallel()
	s, _ := newScreen(t, "sh", "-c", "set -m; kitchen key generate k; stty echo; echo shell; fg")
	s.until("new password", false)
	_, err := s.us.WriteString("\x1a")
	noError(t, err)
	s.until("shell", false)
	_, err = s.us.WriteString("geheim\n")
	noError(t, err)
	if shown := s.until("the same again", false); strings.Contains(shown, "geheim") {
		t.Errorf("the password is shown: %q", shown)
	}
}

// rest waits for the program's end and gives the lines that are then to be seen.
func (s *screen) rest(c *exec.Cmd) []string {
	s.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for running := true; ; {
		select {
		case err := <-ended:
			noError(s.t, err)
			running = false // what it wrote last may still be on its way
		default:
		}
		if !s.read() && !running {
			return seen(s.shown.String())
		}
	}
}

// seen are the lines that stand on a terminal that was sent a text: of what moves its cursor, it knows what Kitchen sends.
func seen(sent string) (lines []string) {
	var line []rune
	at := 0
	for sent != "" {
		rest, other := strings.CutPrefix(sent, "\x1b[")
		end := strings.IndexAny(rest, "mK") // of a colour, or of what wipes
		if other && end >= 0 {
			switch rest[:end+1] {
			case "2K":
				clear(line)
			case "0K":
				line = line[:min(at, len(line))]
			}
			sent = rest[end+1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(sent)
		sent = sent[size:]
		switch r {
		case '\r':
			at = 0
		case '\n':
			lines = append(lines, strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " "))
			line, at = nil, 0
		default:
			line = append(line, make([]rune, max(0, at+1-len(line)))...)
			line[at] = r
			at++
		}
	}
	return append(lines, strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " "))
}

// Whatever a bar showed last, and however wide it was, nothing of it stays among the lines of the answer.
func TestNothingOfTheBarStaysOnTheScreen(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready")
	for _, command := range []string{"list", "show openstack@1.0.0", "check"} {
		line := "--config ./laptop.toml --state ./state-fresh " + command
		want := s.start(t, line)
		noError(t, os.RemoveAll(s.path("state-fresh")))
		screen, c := newScreen(t, append([]string{"kitchen"}, s.words(line)...)...)
		if shown := strings.Join(screen.rest(c), "\n"); shown != want.stdout {
			t.Errorf("%s: on a terminal\n%s\nelsewhere\n%s", command, shown, want.stdout)
		}
		noError(t, os.RemoveAll(s.path("state-fresh")))
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
