package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/keys"
)

// scene is a directory with a catalog (bucket/) and all that its people have: keys, configurations, releases, state.
type scene struct {
	dir string
	at  string            // the catalog's address, when it is not in bucket/
	env map[string]string // what reaching it takes
}

func (s scene) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// copy is the same scene in a directory of the test's own.
func (s scene) copy(t testing.TB) scene {
	t.Helper()
	c := scene{dir: t.TempDir(), at: s.at, env: s.env}
	if err := c.take(s); err != nil {
		t.Fatal(err)
	}
	return c
}

// take fills c with what other has. Nothing changes a file in place but hooks, who append to *.txt; all others are
// shared, except for those on which processes take locks.
func (s scene) take(other scene) error {
	return filepath.WalkDir(other.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := s.dir + path[len(other.dir):]
		switch {
		case d.IsDir():
			err = os.MkdirAll(to, 0o755)
		case d.Name() == "lock":
		case filepath.Ext(to) == ".txt":
			var data []byte
			if data, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(to, data, 0o644)
			}
		default:
			err = os.Link(path, to)
		}
		return err
	})
}

// write makes a file anew: the old one may be shared.
func (s scene) write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
		return err
	}
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(s.path(name), []byte(text), 0o644)
}

// lines counts the lines of a file; a missing one has none.
func (s scene) lines(t testing.TB, name string) int {
	t.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}

// words splits a command line; "./" begins paths of the scene.
func (s scene) words(line string) []string {
	words := strings.Fields(line)
	for i, w := range words {
		if rest, ok := strings.CutPrefix(w, "./"); ok {
			words[i] = s.path(rest)
		}
	}
	if s.at != "" {
		words = append(words, "--catalog", s.at)
	}
	return words
}

// ended is how a command came to its end.
type ended struct {
	line   string
	code   int // -1 when a signal ended it
	signal syscall.Signal
	stdout string
	stderr string
}

func (e ended) String() string {
	return fmt.Sprintf("kitchen %s: exit %d, signal %d\n%s%s", e.line, e.code, int(e.signal), e.stdout, e.stderr)
}

// want holds a command to its exit code, and to words that it has to say.
func (e ended) want(t testing.TB, code int, words ...string) {
	t.Helper()
	if e.code != code {
		t.Fatalf("want exit %d: %v", code, e)
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(strings.Fields(e.stdout+e.stderr), " "), w) {
			t.Fatalf("it does not say %q: %v", w, e)
		}
	}
}

// command is the program as a process of its own, not started yet.
func (s scene) command(line string, env ...string) *exec.Cmd {
	cmd := exec.Command("kitchen", s.words(line)...)
	cmd.Dir, cmd.WaitDelay = s.dir, 10*time.Second
	cmd.Env = append(os.Environ(), "HOME="+s.dir, keysVariable+"="+s.path("keys"))
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// start runs the program as a process of its own, to its end.
func (s scene) start(t testing.TB, line string, env ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := s.command(line, env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	e := ended{line: line, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.signal = status.Signal()
	}
	return e
}

// ask runs the program's code in this process: quick, for what nobody kills.
func (s scene) ask(line string) ended {
	var stdout, stderr bytes.Buffer
	k, err := s.kitchen(&stdout, &stderr)
	if err != nil {
		return ended{line: line, code: -1, stderr: err.Error()}
	}
	code := k.main(context.Background(), s.words(line))
	return ended{line: line, code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// kitchen is the program for one call in this process.
func (s scene) kitchen(stdout, stderr io.Writer) (*kitchen, error) {
	k := newKitchen()
	k.stdout, k.progress = stdout, &display{out: stderr, now: time.Now}
	k.stderr = k.progress
	k.lookupEnv = func(name string) (string, bool) {
		value, ok := s.env[name]
		return value, ok
	}
	return k, openKeys(k, s.path("keys"))
}

// sees is what a reader with this state directory sees: every release with its stage, and the gate's verdict. All
// roles have to be sound.
func (s scene) sees(t testing.TB, state string) string {
	t.Helper()
	listed := s.ask("--config ./laptop.toml --state ./" + state + " -o json list")
	listed.want(t, exitDone)
	var list listDocument
	decode(t, listed, &list)
	if len(list.Problems) > 0 {
		t.Fatalf("%s sees roles that cannot be used: %v", state, list.Problems)
	}
	text := ""
	for _, r := range list.Releases {
		answer := s.ask("--config ./laptop.toml --state ./" + state + " -o json ready " + r.Release)
		var verdict readyDocument
		decode(t, answer, &verdict)
		text += fmt.Sprintf("%s %s %s ready: %t %v\n", r.Release, r.Stage, r.SHA256, verdict.Ready, verdict.Unmet)
	}
	return text
}

func decode(t testing.TB, e ended, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.stdout), into); err != nil {
		t.Fatalf("not one JSON document (%v): %v", err, e)
	}
}

// store opens the scene's catalog.
func (s scene) store(t testing.TB) storage.Store {
	t.Helper()
	at := s.at
	if at == "" {
		at = "file://" + s.path("bucket")
	}
	store, err := storage.Open(t.Context(), at, storage.Options{Getenv: func(name string) string { return s.env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// reports are all reports in the store. Each has to be valid, and each site's numbers have to go from 1 upwards, for
// each release, without a gap and without a double.
func (s scene) reports(t testing.TB) []catalog.VerifiedReport {
	t.Helper()
	root, err := os.ReadFile(s.path("root.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), catalog.Options{Store: s.store(t), Dir: s.path("state-reports"), Root: root, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	view, err := c.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reports, err := view.Reports(t.Context(), catalog.ReportFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports.Rejected {
		t.Fatalf("report %s does not count: %s", r.Key, r.Reason)
	}
	sequences := map[string][]int64{}
	for _, r := range reports.All {
		name := r.Site.String() + " on " + r.Release.String()
		sequences[name] = append(sequences[name], r.Sequence)
	}
	for name, numbers := range sequences {
		slices.Sort(numbers)
		for i, n := range numbers {
			if n != int64(i)+1 {
				t.Fatalf("the reports of %s have the numbers %v", name, numbers)
			}
		}
	}
	return reports.All
}

// digest is one for all bytes that somebody may read who knows nothing but the catalog's address, reports aside.
func (s scene) digest(t testing.TB) string {
	t.Helper()
	sum := sha256.New()
	store := s.store(t)
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(info.Key, "reports/") {
			continue
		}
		fmt.Fprintln(sum, info.Key, info.Size)
		if strings.HasPrefix(info.Key, "metadata/") || strings.HasPrefix(info.Key, "pending/") {
			data, _, err := storage.ReadAll(t.Context(), store, info.Key, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			sum.Write(data)
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// cast are the people of a scene.
var cast = strings.Fields("root-a root-b online admin eng eng2 validator ops-a ops-b vendor-ci acme-staging acme-prod")

// settings are their configurations.
var settings = map[string]string{
	"laptop.toml": "state = \"state-laptop\"\n",
	"eng.toml":    "state = \"state-eng\"\n[keys]\nonline = [\"keys/online.key\"]\n\"product.openstack\" = [\"keys/eng.key\"]\n",
	"vendor.toml": "state = \"state-vendor\"\n[keys]\nonline = [\"keys/online.key\"]\n",
	"ci.toml": "state = \"state-ci\"\n[site]\nid = \"enovance/ci\"\nkey = \"keys/vendor-ci.key\"\nfollow = \"published\"\n" +
		"[hooks]\ntest = [\"sh\", \"./test.sh\"]\n[keys]\nonline = [\"keys/online.key\"]\n\"validated.openstack\" = [\"keys/validator.key\"]\n",
	"staging.toml": "state = \"state-staging\"\n[site]\nid = \"acme/staging\"\nkey = \"keys/acme-staging.key\"\n[hooks]\ntest = [\"sh\", \"./test.sh\"]\n",
	"prod.toml":    "state = \"state-prod\"\n[site]\nid = \"acme/prod\"\nkey = \"keys/acme-prod.key\"\nauto = true\n[hooks]\ndeploy = [\"sh\", \"./deploy.sh\"]\n",
}

// chapters are the scenes that tests begin with: each is the one before it and a few commands more.
var chapters = []struct {
	name  string
	lines string
}{
	{"empty", "--config ./laptop.toml --catalog ./bucket init --vendor enovance --root-key ./keys/root-a.key --root-key ./keys/root-b.key " +
		"--online-key ./keys/online.key --registry-key ./keys/admin.key --write-root ./root.json\n" +
		"--config ./vendor.toml product add openstack --engineer ./keys/eng.pub --engineer ./keys/eng2.pub --validator ./keys/validator.pub " +
		"--certifier ./keys/ops-a.pub --certifier ./keys/ops-b.pub --key ./keys/root-a.key --key ./keys/root-b.key\n" +
		"--config ./vendor.toml customer add acme --name ACME --subscribe openstack --key ./keys/admin.key\n" +
		"--config ./vendor.toml site add enovance/ci --kind ci --pub ./keys/vendor-ci.pub --key ./keys/admin.key\n" +
		"--config ./vendor.toml site add acme/staging --kind ci --pub ./keys/acme-staging.pub --key ./keys/admin.key\n" +
		"--config ./vendor.toml site add acme/prod --kind production --pub ./keys/acme-prod.pub --key ./keys/admin.key\n" +
		"--config ./laptop.toml refresh\n--config ./laptop.toml --state ./state-old list"},
	{"published", "--config ./eng.toml publish ./r1"},
	{"validated", "--config ./ci.toml run"},
	{"tested", "--config ./staging.toml run"},
	{"half-certified", "--config ./laptop.toml certify openstack@1.0.0 --key ./keys/ops-a.key"},
	{"certified", "--config ./laptop.toml sign ready-to-deploy.openstack --yes --key ./keys/ops-b.key"},
	{"ready", "--config ./vendor.toml commit"},
}

var stage = struct {
	mu     sync.Mutex // guards what is made
	scenes map[string]scene
}{scenes: map[string]scene{}}

// chapter gives a copy of a scene, which is made once.
func chapter(t testing.TB, name string) scene {
	t.Helper()
	stage.mu.Lock()
	defer stage.mu.Unlock()
	for i := range chapters {
		if _, made := stage.scenes[chapters[i].name]; !made {
			s, err := write(i)
			if err != nil {
				t.Fatal(err)
			}
			stage.scenes[chapters[i].name] = s
		}
		if chapters[i].name == name {
			return stage.scenes[name].copy(t)
		}
	}
	t.Fatalf("no scene %s", name)
	return scene{}
}

// write makes the ith chapter out of the one before it.
func write(i int) (scene, error) {
	dir, err := sharedDir("kitchen-scene")
	if err != nil {
		return scene{}, err
	}
	s := scene{dir: dir}
	if i == 0 {
		err = s.furnish()
	} else {
		err = s.take(stage.scenes[chapters[i-1].name])
	}
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(chapters[i].lines) {
		if e := s.ask(strings.TrimSpace(line)); e.code != exitDone && e.code != exitNotInEffect {
			return s, fmt.Errorf("scene %s: %v", chapters[i].name, e)
		}
	}
	return s, nil
}

// furnish gives everybody keys, a configuration, and the releases r1 and r2. An image is larger than any buffer and
// does not compress.
func (s scene) furnish() error {
	image := make([]byte, 300_000)
	mathrand.NewChaCha8([32]byte{1}).Read(image)
	files := map[string]string{
		"test.sh":   "echo tested $KITCHEN_VERSION >> tested.txt\n",
		"deploy.sh": "echo deployed $KITCHEN_VERSION >> deployed.txt\n",
	}
	for name, text := range settings {
		files[name] = "catalog = \"bucket\"\nroot = \"root.json\"\n" + text
	}
	for i, version := range []string{"1.0.0", "2.0.0"} {
		dir := fmt.Sprintf("r%d/", i+1)
		files[dir+"product.toml"] = "product = \"openstack\"\nversion = \"" + version + "\"\nkind = \"initial\"\nsummary = \"release " + version + "\"\n" +
			"[marmite]\npath = \"marmite.yaml\"\n[[artifact]]\npath = \"node.img\"\nkind = \"image\"\n[[artifact]]\npath = \"puppet/\"\nkind = \"configuration\"\n"
		files[dir+"marmite.yaml"] = "version: " + version + "\n"
		files[dir+"node.img"] = version + string(image)
		files[dir+"puppet/site.pp"] = "node default {}\n"
	}
	for name, text := range files {
		if err := s.write(name, text); err != nil {
			return err
		}
	}
	for _, who := range cast {
		if err := s.key(who); err != nil {
			return err
		}
	}
	return nil
}

func (s scene) key(who string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	signer, err := keys.NewSigner(private)
	if err != nil {
		return err
	}
	return errors.Join(s.write("keys/"+who+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		s.write("keys/"+who+".pub", signer.Public().PEM()))
}
