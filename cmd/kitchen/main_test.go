package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/keys"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// TestMain makes the test binary the kitchen binary too, when it is called by
// that name: the scripts run the real program.
func TestMain(m *testing.M) {
	testscript.Main(sweeping{m}, map[string]func(){"kitchen": kitchenUnderTest})
}

// sweeping removes, in the end, the directories that several tests share.
type sweeping struct{ *testing.M }

func (s sweeping) Run() int { return storagetest.InMemory(s.run) }

func (s sweeping) run() int {
	opened, err := sharedDir("kitchen-opened")
	if err == nil {
		err = os.Setenv(onceVariable, opened)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nowhere to keep opened keys:", err)
		return 1
	}
	code := s.M.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, dir := range shared.dirs {
		os.RemoveAll(dir)
	}
	return code
}

var shared struct {
	mu   sync.Mutex // guards dirs
	dirs []string
}

// sharedDir makes a directory that lives as long as the test binary.
func sharedDir(name string) (string, error) {
	dir, err := os.MkdirTemp("", name)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.dirs = append(shared.dirs, dir)
	return dir, err
}

// What tests tell the program that they start. The program itself knows none of it.
const (
	placeVariable = "KITCHEN_TEST_PLACE" // where it stops itself, see storagetest.ParsePlace
	callsVariable = "KITCHEN_TEST_CALLS" // file that gets a line for every call of the store
	keysVariable  = "KITCHEN_TEST_KEYS"  // directory of private keys that need not be decrypted, see openKeys
	onceVariable  = "KITCHEN_TEST_ONCE"  // directory of what was decrypted, see openOnce
)

// kitchenUnderTest is main, on a store that stops the process at one place, and with keys that are open already.
func kitchenUnderTest() {
	place, err := storagetest.ParsePlace(os.Getenv(placeVariable))
	calls, recorded := os.LookupEnv(callsVariable)
	if err == nil || recorded {
		dial = func(ctx context.Context, at string, o storage.Options) (storage.Store, error) {
			store, err := storage.Open(ctx, at, o)
			if err != nil {
				return nil, err
			}
			return storagetest.Stopping(store, place, recordCalls(calls)), nil
		}
	}
	if dir := os.Getenv(onceVariable); dir != "" {
		openKey = openOnce(dir)
	}
	dir, given := os.LookupEnv(keysVariable)
	if !given {
		main()
		return
	}
	ctx, stop := interruptible(context.Background())
	k := newKitchen()
	if err := openKeys(k, dir); err != nil {
		fmt.Fprintln(os.Stderr, "the test's keys:", err)
		os.Exit(exitFailed)
	}
	code := k.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// openKeys puts the keys of dir/NAME.pem (PKCS #8) under the name dir/NAME.key, as if they were opened: a password
// costs a deliberate fraction of a second, and the tests that kill start hundreds of processes.
func openKeys(k *kitchen, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return err
	}
	k.keys.signers = map[string]*lazySigner{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return fmt.Errorf("%s: no PEM", file)
		}
		signer, err := signerOf(block.Bytes)
		if err != nil {
			return err
		}
		path := strings.TrimSuffix(file, ".pem") + ".key"
		s := &lazySigner{path: path, ring: k.keys, public: signer.Public(), opened: signer}
		k.keys.signers[path] = s
	}
	return nil
}

// openOnce opens a key as keys.Open does, and keeps it in dir for the next process that has the same file and password:
// three quarters of all that the scripts computed were passwords.
func openOnce(dir string) func(context.Context, string, keys.PasswordFunc) (keys.Signer, error) {
	return func(ctx context.Context, name string, ask keys.PasswordFunc) (keys.Signer, error) {
		text, err := os.ReadFile(name)
		block, _ := pem.Decode(text)
		if err != nil || block == nil || keys.IsURI(name) {
			return keys.Open(ctx, name, ask)
		}
		password, err := ask(name)
		if err != nil {
			return nil, fmt.Errorf("password of %s: %w", name, err)
		}
		digest := sha256.Sum256(append(append(text, 0), password...))
		kept := filepath.Join(dir, hex.EncodeToString(digest[:]))
		if der, err := os.ReadFile(kept); err == nil {
			return signerOf(der)
		}
		signer, err := keys.Open(ctx, name, func(string) ([]byte, error) { return password, nil })
		if err != nil {
			return nil, err
		}
		der, err := encrypted.Decrypt(block.Bytes, password)
		if err == nil {
			err = durable.WriteFile(kept, der, 0o600)
		}
		return signer, err
	}
}

func signerOf(der []byte) (keys.Signer, error) {
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	return keys.NewSigner(private.(*ecdsa.PrivateKey))
}

// recordCalls appends "SIDE N OP KEY DIGEST" to a file for both sides of every call. The digest is that of all that is
// on disk at that moment: a process killed there leaves just that. Nil without a file.
func recordCalls(file string) func(storagetest.Call, storagetest.Side) {
	if file == "" {
		return nil
	}
	var one sync.Mutex
	return func(c storagetest.Call, side storagetest.Side) {
		one.Lock()
		defer one.Unlock()
		digest, err := treeDigest(filepath.Dir(file), file)
		if err == nil {
			var f *os.File
			if f, err = os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
				_, err = fmt.Fprintf(f, "%s %d %s %s %s\n", side, c.N, c.Op, c.Key, digest)
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the test's list of calls:", err)
		}
	}
}

// treeDigest is one digest for all names and bytes below a directory, but for one file. What vanishes meanwhile
// counts as absent.
func treeDigest(dir, but string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || path == but {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path)
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		sum.Write(data)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// TestScripts plays one story per persona. Commands beside testscript's own:
//
//	exits CODE COMMAND…   the command ends with exactly this exit code
//	json PATH VALUE       the JSON on stdout has this value, as in `json runs.0.verdict PASSED`; length counts a list
//	vault KEY…            starts a stand-in for Vault with such keys, and tells it to the commands
//	catalog               puts a catalog with keys, one product, customers and sites into the directory
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COSIGN_PASSWORD", "script")
			env.Setenv(onceVariable, os.Getenv(onceVariable))
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"json":    cmdJSON,
			"catalog": cmdCatalog,
			"image":   cmdImage,
			"vault":   cmdVault,
		},
	})
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENTS]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &value); err != nil {
		ts.Fatalf("stdout is not one JSON document: %v", err)
	}
	got := fmt.Sprint(lookUp(ts, value, args[0]))
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %q, want %q", args[0], got, args[1])
	}
}

// lookUp follows a path such as releases.0.stage; length is a list's.
func lookUp(ts *testscript.TestScript, value any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			if step == "length" {
				value = len(v)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				ts.Fatalf("no element %s in a list of %d (%s)", step, len(v), path)
			}
			value = v[i]
		default:
			ts.Fatalf("%s: nothing below %v", path, v)
		}
	}
	return value
}

func cmdCatalog(ts *testscript.TestScript, neg bool, args []string) {
	template, err := catalogTemplate()
	ts.Check(err)
	ts.Check(os.CopyFS(ts.MkAbs("."), os.DirFS(template)))
	// os.CopyFS gives files the modes that umask leaves; keys are private.
	ts.Check(filepath.WalkDir(ts.MkAbs("keys"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".key") {
			err = os.Chmod(path, 0o600)
		}
		return err
	}))
}

// catalogTemplate makes, once, what most stories begin with: openstack (one
// engineer, one validator, two certifiers), and the sites enovance/ci, acme/staging,
// acme/staging-2 (after staging) and acme/prod. vendor.toml has the online key,
// laptop.toml has not.
var catalogTemplate = sync.OnceValues(func() (string, error) {
	dir, err := sharedDir("kitchen-template")
	if err != nil {
		return "", err
	}
	laptop := "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-laptop\"\n"
	if err := os.WriteFile(filepath.Join(dir, "laptop.toml"), []byte(laptop), 0o644); err != nil {
		return "", err
	}
	var lines []string
	for _, who := range strings.Fields("root-a root-b online admin eng eng2 validator ops-a ops-b vendor-ci acme-staging acme-staging-2 acme-prod stranger") {
		lines = append(lines, "key generate keys/"+who)
	}
	lines = append(lines,
		"init --catalog bucket --vendor enovance --root-key keys/root-a.key --root-key keys/root-b.key --online-key keys/online.key --registry-key keys/admin.key --write-root root.json --write-config vendor.toml",
		"product add openstack --engineer keys/eng.pub --validator keys/validator.pub --certifier keys/ops-a.pub --certifier keys/ops-b.pub --key keys/root-a.key --key keys/root-b.key",
		"customer add acme --name ACME --subscribe openstack --key keys/admin.key",
		"site add enovance/ci --kind ci --pub keys/vendor-ci.pub --key keys/admin.key",
		"site add acme/staging --kind ci --pub keys/acme-staging.pub --key keys/admin.key",
		"site add acme/staging-2 --kind ci --after acme/staging --pub keys/acme-staging-2.pub --key keys/admin.key",
		"site add acme/prod --kind production --pub keys/acme-prod.pub --key keys/admin.key",
	)
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] != "key" && words[0] != "init" {
			words = append(words, "--config", "vendor.toml")
		}
		c := exec.Command("kitchen", words...)
		c.Dir = dir
		c.Env = append(os.Environ(), "COSIGN_PASSWORD=script", "HOME="+dir)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("kitchen %s: %w\n%s", line, err, out)
		}
	}
	// The stories use the catalog by a relative path, so that a copy is a catalog.
	config, err := os.ReadFile(filepath.Join(dir, "vendor.toml"))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(config), "catalog")
	_, rest, _ = strings.Cut(rest, "\n")
	if err := os.WriteFile(filepath.Join(dir, "vendor.toml"), []byte("catalog = \"bucket\"\n"+rest), 0o644); err != nil {
		return "", err
	}
	return dir, os.RemoveAll(filepath.Join(dir, "state-vendor"))
})

// cmdImage writes a file of 12 MiB that compresses, edited in some places: image NAME EDITS.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: image NAME EDITS")
	}
	edits, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), madeImage(edits), 0o644))
}

// madeImage is an image of 12 MiB that compresses, edited in so many places.
func madeImage(edits int) []byte {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 12<<20)
	for i := range b {
		b[i] = "abcdefghijklmnop"[r.IntN(16)]
	}
	for i := range edits {
		copy(b[(i+1)*(len(b)/(edits+1)):], fmt.Sprintf("edited in place %d", i))
	}
	return b
}
