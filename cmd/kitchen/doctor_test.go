package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
)

// ward is a host whose doctor is asked: a catalog that a web server serves, with a clock of the test's own.
type ward struct {
	t      *testing.T
	world  *catalogtest.World
	server *httptest.Server
	date   time.Time // that the server tells
	now    time.Time // of the host
	dir    string
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w, _ := hostileWorld(t)
	bucket := strings.TrimPrefix(w.Store.URL(), "file://")
	h := &ward{t: t, world: w, date: w.Now, now: w.Now, dir: t.TempDir()}
	files := http.FileServer(http.Dir(bucket))
	h.server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		out.Header().Set("Date", h.date.UTC().Format(http.TimeFormat))
		files.ServeHTTP(out, in)
	}))
	t.Cleanup(h.server.Close)
	put(t, filepath.Join(h.dir, "root.json"), w.Root1)
	h.configure("")
	return h
}

func (h *ward) configure(more string) {
	h.t.Helper()
	put(h.t, filepath.Join(h.dir, "kitchen.toml"), []byte("catalog = \""+h.server.URL+"\"\nroot = \"root.json\"\nstate = \"state\"\n"+more))
}

// ask runs a command with the host's clock.
func (h *ward) ask(code int, line ...string) string {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	h.run(code, &stdout, &stderr, line...)
	return stdout.String()
}

// says is ask for what goes to stderr, on one line.
func (h *ward) says(code int, line ...string) string {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	h.run(code, &stdout, &stderr, line...)
	return strings.Join(strings.Fields(stderr.String()), " ")
}

func (h *ward) run(code int, stdout, stderr *bytes.Buffer, line ...string) {
	h.t.Helper()
	k := newKitchen()
	k.stdout, k.progress, k.now = stdout, &display{out: stderr, now: time.Now}, func() time.Time { return h.now }
	k.stderr = k.progress
	k.lookupEnv = func(string) (string, bool) { return "", false }
	got := k.main(h.t.Context(), append([]string{"--config", filepath.Join(h.dir, "kitchen.toml")}, line...))
	if got != code {
		h.t.Fatalf("kitchen %v: exit %d, want %d\n%s%s", line, got, code, stdout, stderr)
	}
}

// lines are the doctor's lines on one area, as "status detail".
func (h *ward) lines(code int, area string, flags ...string) []string {
	h.t.Helper()
	var d doctorDocument
	out := h.ask(code, append([]string{"doctor", "-o", "json"}, flags...)...)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		h.t.Fatal(err)
	}
	var found []string
	for _, line := range d.Checks {
		if line.Area == area {
			found = append(found, strings.Join(append([]string{line.Status, line.Detail}, line.Evidence...), " "))
		}
		if (line.Status == healthOK) != (line.Next == "") {
			h.t.Errorf("%+v: what to do next?", line)
		}
	}
	return found
}

func (h *ward) wants(lines []string, words ...string) {
	h.t.Helper()
	for _, w := range words {
		if !strings.Contains(strings.Join(lines, "\n"), w) {
			h.t.Errorf("no %q in %q", w, lines)
		}
	}
}

// TestDoctorHoldsTheClockToTheStores: a host whose clock is off is told by how much, and that it is the one.
func TestDoctorHoldsTheClockToTheStores(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.wants(h.lines(exitDone, "clock"), "ok ")
	h.date = h.now.Add(3 * time.Minute)
	h.wants(h.lines(exitDone, "clock"), "warning ", "3m behind the store's")
	h.date = h.now.Add(-20 * time.Minute)
	h.wants(h.lines(exitNo, "clock"), "problem ", "20m ahead of the store's")
}

// TestDoctorAcceptsAClock: the whole way of a host that saw a timestamp of a committer whose clock was far ahead.
func TestDoctorAcceptsAClock(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	right := h.world.Now
	h.world.Now = right.Add(80 * catalogtest.Day)
	h.world.CommitOnline()
	h.world.Now = right
	h.wants(h.lines(exitNo, "clock"), "problem ", "the catalog was signed")
	h.world.CommitOnline() // the committer's clock is right again
	h.ask(exitNotTrusted, "refresh")
	h.wants(h.lines(exitNo, "clock"), "ok ", "problem ", "one of the two clocks is wrong")
	h.ask(exitUsage, "doctor", "--accept-clock") // nobody is there to be asked
	h.ask(exitNotTrusted, "refresh")
	h.wants(h.lines(exitDone, "clock", "--accept-clock", "--yes"), "ok accepted: ")
	h.ask(exitDone, "refresh")
	h.wants(h.lines(exitDone, "clock", "--accept-clock", "--yes"), "nothing to accept")
}

// TestACommittersClockThatWasAhead: both readings are said, and to the committer what is left to do there.
func TestACommittersClockThatWasAhead(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	right := h.world.Now
	h.world.Now = right.Add(2 * catalogtest.Day)
	h.world.CommitOnline()
	h.world.Now = right
	until := "counts until " + right.Add(2*catalogtest.Day).UTC().Format("2006-01-02T")
	next := func(words ...string) {
		t.Helper()
		said := h.ask(exitNo, "doctor", "-o", "json")
		for _, w := range words {
			if !strings.Contains(said, w) {
				t.Errorf("no %q in %s", w, said)
			}
		}
	}
	next("this host's clock is as the store's: the committer's was ahead: tell the vendor", until)
	put(t, filepath.Join(h.dir, "online.key"), nil)
	h.configure("[keys]\nonline = [\"online.key\"]\n")
	next("nothing more to do", until)
	h.configure("")
	if ready := h.ask(exitNo, "ready", "openstack@1.0.0"); !strings.Contains(strings.Join(strings.Fields(ready), " "), "later than this host's clock says") || strings.Contains(ready, " ago") {
		t.Errorf("an age that is none: %s", ready)
	}
	said := h.says(exitDone, "refresh")
	for _, w := range []string{"Compare with another clock", "if this host's is behind, set it", "the committer's was ahead"} {
		if !strings.Contains(said, w) {
			t.Errorf("no %q in %s", w, said)
		}
	}
}

// TestDoctorAsksBeforeItAcceptsAClock shows both times and the risk.
func TestDoctorAsksBeforeItAcceptsAClock(t *testing.T) {
	t.Parallel()
	host := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for answer, want := range map[string]bool{"y\n": true, "yes\n": true, "\n": false, "no\n": false} {
		terminal := &typedAnswer{in: strings.NewReader(answer)}
		got, err := askAboutClock(terminal, host, host.Add(80*catalogtest.Day))
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", answer, got, err)
		}
		for _, words := range []string{"2026-03-01T12:00:00Z", "2026-05-20T12:00:00Z", "what has expired will count as valid"} {
			if !strings.Contains(strings.Join(strings.Fields(terminal.String()), " "), words) {
				t.Errorf("the question does not say %q:\n%s", words, terminal)
			}
		}
	}
	if _, err := askAboutClock(&typedAnswer{in: strings.NewReader("")}, host, host); err == nil {
		t.Error("nobody answered, and there is no error")
	}
}

// typedAnswer is a terminal at which somebody types.
type typedAnswer struct {
	bytes.Buffer
	in *strings.Reader
}

func (a *typedAnswer) Read(p []byte) (int, error) { return a.in.Read(p) }

// TestDoctorLooksAtTheState: a directory that others may write, a lost memory, and one copy of it lost.
func TestDoctorLooksAtTheState(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.wants(h.lines(exitDone, "state"), "is not there yet")
	h.wants(h.lines(exitDone, "state"), "both copies of what was seen are intact")
	state := filepath.Join(h.dir, "state")
	if err := os.WriteFile(filepath.Join(state, "memory.a.json"), []byte("rotten"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.wants(h.lines(exitDone, "state"), "warning one of the two copies")
	h.wants(h.lines(exitDone, "state"), "both copies of what was seen are intact") // the refresh healed it
	for _, name := range []string{"memory.a.json", "memory.b.json"} {
		if err := os.Remove(filepath.Join(state, name)); err != nil {
			t.Fatal(err)
		}
	}
	h.wants(h.lines(exitNo, "state"), "problem both copies of what this host has seen")
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	h.wants(h.lines(exitNo, "state"), "problem others may write")
	if err := os.Chmod(filepath.Join(h.dir, "kitchen.toml"), 0o666); err != nil {
		t.Fatal(err)
	}
	h.wants(h.lines(exitNo, "configuration"), "may be written by others")
}

// TestDoctorWithoutAStore: what was verified before still answers; without it there is nothing, and that is said.
func TestDoctorWithoutAStore(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.ask(exitDone, "refresh")
	h.server.Close()
	h.wants(h.lines(exitNo, "catalog"), "problem ", "off line, what was verified before serves")
	if err := os.RemoveAll(filepath.Join(h.dir, "state")); err != nil {
		t.Fatal(err)
	}
	if lines := h.lines(exitNo, "catalog"); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

// TestDoctorLooksAtThePin: another catalog's root, and none in the configuration.
func TestDoctorLooksAtThePin(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.ask(exitDone, "refresh")
	put(t, filepath.Join(h.dir, "kitchen.toml"), []byte("catalog = \""+h.server.URL+"\"\nstate = \"state\"\n"))
	h.wants(h.lines(exitDone, "root"), "warning pinned by the state directory alone sha256:")
	put(t, filepath.Join(h.dir, "root.json"), catalogtest.New(t).Root1)
	h.configure("")
	h.wants(h.lines(exitNo, "root"), "problem ", "is not the pinned one")
}

// TestDoctorLooksAtExpiries of what this host rests on.
func TestDoctorLooksAtExpiries(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.wants(h.lines(exitDone, "expiry"), "ok ")
	h.now = h.now.Add(5 * catalogtest.Day)
	h.date = h.now
	h.wants(h.lines(exitDone, "expiry"), "warning timestamp expires in 2d")
	h.ask(exitDone, "refresh")
	h.now = h.now.Add(3 * catalogtest.Day)
	h.date = h.now
	if text := h.ask(exitNo, "doctor"); !strings.Contains(text, "committer runs kitchen commit") || strings.Contains(text, "into reach") {
		t.Errorf("the catalog, which answers, has expired:\n%s", text)
	}
}

// TestDoctorTriesWhereTheStateIsToBe: that its parent may be written is not what its mode says alone.
func TestDoctorTriesWhereTheStateIsToBe(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("NOT TESTED: a state directory that cannot be made: there is no /proc, which even root cannot write")
	}
	t.Parallel()
	h := newWard(t)
	if text := h.ask(exitNo, "doctor", "--state", "/proc/state"); !strings.Contains(text, "/proc/state is not there, and /proc cannot be written") || strings.Contains(text, "makes it") {
		t.Error(text)
	}
}

// TestDoctorWithoutAStoreTellsWhatExpired, and that nothing is ready, in place of a way that leads nowhere.
func TestDoctorWithoutAStoreTellsWhatExpired(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.ask(exitDone, "refresh")
	h.server.Close()
	h.now = h.now.Add(2 * catalogtest.Day)
	h.wants(h.lines(exitNo, "catalog"), "what was verified before serves")
	h.configure("[gate]\nmax_age = \"1d\"\n")
	h.wants(h.lines(exitNo, "gate"), "problem the catalog's timestamp was signed 2d ago, and [gate] max_age allows 1d")
	if strings.Contains(strings.Join(h.lines(exitNo, "catalog"), " "), "serves") {
		t.Error("and it says that it serves")
	}
	h.now = h.now.Add(7 * catalogtest.Day)
	h.wants(h.lines(exitNo, "expiry"), "problem what this host verified before has expired, too: timestamp")
	if strings.Contains(h.ask(exitNo, "doctor", "-o", "json"), "--offline") {
		t.Error("it recommends what does not work")
	}
}

// TestDoctorLooksAtAPinnedRootsExpiry, on the machine of a holder who signed nothing there yet.
func TestDoctorLooksAtAPinnedRootsExpiry(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	put(t, filepath.Join(h.dir, "kitchen.toml"), []byte("root = \"root.json\"\nstate = \"state\"\n"))
	start := h.now
	root, err := trust.Start(h.world.Root1, start)
	if err != nil {
		t.Fatal(err)
	}
	expires := root.Root().Expires
	for _, c := range []struct {
		now  time.Time
		code int
		want string
	}{
		{expires.Add(-publisher.RenewBefore("root") - catalogtest.Day), exitDone, "ok root 1 is valid until"},
		{expires.Add(-25 * catalogtest.Day), exitDone, "warning root 1 expires on"},
		{expires.Add(5 * catalogtest.Day), exitNo, "problem root 1 expired on"},
	} {
		h.now = c.now
		h.wants(h.lines(c.code, "root"), c.want)
	}
	h.wants([]string{h.ask(exitNo, "doctor", "-o", "json")}, "kitchen renew --key FILE")
}

// TestDoctorSaysWhatToCorrect, and not that the doctor looks for it.
func TestDoctorSaysWhatToCorrect(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	put(t, filepath.Join(h.dir, "kitchen.toml"), []byte("catalog = \""+h.server.URL+"\"\nroot_fingerprint = \"sha256:12\"\nstate = \"state\"\n"))
	answer := h.ask(exitNo, "doctor", "-o", "json")
	h.wants([]string{answer}, "correct root_fingerprint in kitchen.toml", "nothing was seen here yet")
	if strings.Contains(answer, "looks for what is wrong") || strings.Contains(answer, "not behind what") {
		t.Error(answer)
	}
}

// TestDoctorKnowsWhatThisBuildLacks: a key on a token is none for a program without PKCS #11.
func TestDoctorKnowsWhatThisBuildLacks(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	const token = "pkcs11:token=a;object=b?module-path=/lib/token.so"
	h.configure("[keys]\nonline = [\"" + token + "\"]\n")
	if keys.CheckName(token) == nil {
		h.wants(h.lines(exitNo, "key of online"), "not asked here")
		return // this build has it
	}
	h.wants(h.lines(exitNo, "key of online"), "problem key pkcs11:token=a", "built without PKCS #11")
	h.wants([]string{h.ask(exitNo, "doctor", "-o", "json")}, "make build-pkcs11")
}

// TestDoctorLooksAtTheGate: what can never be met here is a problem before it is a no.
func TestDoctorLooksAtTheGate(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.configure("[gate]\nrequire = [\"product\", \"ready-to-deploy.amce\"]\n[gate.pins.product]\nkeys = [\"" + strings.Repeat("a", 64) + "\"]\n")
	answer := h.ask(exitNo, "doctor", "-o", "json")
	for _, want := range []string{"no product of this catalog has the role ready-to-deploy.amce", "[gate.pins] product: too few"} {
		if !strings.Contains(answer, want) {
			t.Errorf("not said: %s\n%s", want, answer)
		}
	}
	h.configure("")
	if answer := h.ask(exitDone, "doctor", "-o", "json"); strings.Contains(answer, "[gate") {
		t.Error(answer)
	}
}

// TestDoctorLooksAtTheSite: a site that nobody registered, one without a key, and a store that takes no reports.
func TestDoctorLooksAtTheSite(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	h.configure("[site]\nid = \"acme/nowhere\"\n")
	h.wants(h.lines(exitNo, "site"), "problem site acme/nowhere is not in the registry", "warning acme/nowhere has no key here")
	h.wants(h.lines(exitNo, "rights"), "problem ", "read-only")
}

// TestDoctorShowsNoPIN: the name of a key on a token may hold its PIN, and what a doctor says is sent on to whoever helps.
func TestDoctorShowsNoPIN(t *testing.T) {
	t.Parallel()
	h := newWard(t)
	token := "pkcs11:token=ours;object=staging?module-path=/lib/token.so&pin-value=918273"
	h.configure("[site]\nid = \"acme/staging\"\nkey = \"" + token + "\"\n[keys]\nonline = [\"" + token + "\"]\n\"product.openstack\" = [\"" + token + "\"]\n")
	for _, form := range []string{"table", "json"} {
		answer := h.ask(exitNo, "doctor", "-o", form)
		if strings.Contains(answer, "918273") || strings.Count(answer, "token=ours") != 3 {
			t.Errorf("%s:\n%s", form, answer)
		}
	}
}
