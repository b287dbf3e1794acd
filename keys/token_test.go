//go:build pkcs11key && cgo

package keys

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// softHSM makes a token of SoftHSM with a P-256 key "eng", a P-384 key "large" and an RSA key "rsa", and gives its library.
func softHSM(t *testing.T) (module string) {
	t.Helper()
	for _, at := range []string{os.Getenv("KITCHEN_TEST_SOFTHSM"), "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(at); err == nil {
			module = at
			break
		}
	}
	tools := errors.Join(look("softhsm2-util"), look("pkcs11-tool"))
	if module == "" || tools != nil {
		t.Skipf("NOT TESTED: PKCS #11 needs SoftHSM and OpenSC (Debian: softhsm2, opensc); library %q, %v", module, tools)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tokens"), 0o700), os.WriteFile(conf, []byte("directories.tokendir = "+dir+"/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	run(t, "softhsm2-util", "--init-token", "--free", "--label", "kitchen token", "--pin", "1234", "--so-pin", "5678")
	for id, key := range [][2]string{{"EC:prime256v1", "eng"}, {"EC:secp384r1", "large"}, {"rsa:2048", "rsa"}} {
		run(t, "pkcs11-tool", "--module", module, "--token-label", "kitchen token", "--login", "--pin", "1234",
			"--keypairgen", "--key-type", key[0], "--label", key[1], "--id", "0"+string(rune('1'+id)))
	}
	return module
}

func look(program string) error { _, err := exec.LookPath(program); return err }

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// TestToken has one token for all its parts: the library keeps to one for the life of a program. What a login changes comes
// first.
func TestToken(t *testing.T) {
	module := softHSM(t)
	t.Run("refuses", func(t *testing.T) { testTokenRefuses(t, module) })
	t.Run("signs", func(t *testing.T) { testTokenSigns(t, module) })
}

// testTokenSigns: a key on a token signs statements like any other, whichever way it and its PIN are named.
func testTokenSigns(t *testing.T, module string) {
	pinFile := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pinFile, []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	pw := func(string) ([]byte, error) { asked++; return []byte("1234"), nil }
	var first *Public
	for _, uri := range []string{
		"pkcs11:token=kitchen%20token;object=eng?module-path=" + module,
		"pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;token=kitchen%20token;id=%01;object=eng;type=private?module-path=" + module,
		"pkcs11:token=kitchen%20token;id=%01?module-path=" + module + "&pin-source=file:" + pinFile,
		"pkcs11:token=kitchen%20token;id=%01?pin-source=" + pinFile + "&module-path=" + module,
		"pkcs11:token=kitchen%20token;object=eng?module-path=" + module + "&pin-value=1234",
	} {
		s, err := Open(t.Context(), uri, pw)
		if err != nil {
			t.Fatalf("%s: %v", uri, err)
		}
		if first == nil {
			first = s.Public()
		}
		if have, err := VerifyStatement(signed(t, s), first); err != nil || string(have) != statement {
			t.Errorf("%s: %q, %v", uri, have, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked for the PIN %d times, want 2", asked)
	}
}

// testTokenRefuses: each refusal says which key, and what is wrong.
func testTokenRefuses(t *testing.T, module string) {
	at := func(key string) string { return "pkcs11:token=kitchen%20token;" + key + "?module-path=" + module }
	open := func(uri, pin string) error {
		t.Helper()
		s, err := Open(t.Context(), uri, password(pin))
		if err == nil || s != nil || !strings.Contains(err.Error(), Shown(uri)) {
			t.Errorf("%s: %v", uri, err)
		}
		return err
	}
	wrong, ok := errors.AsType[*WrongPassword](open(at("object=eng"), "4321"))
	if !ok || !strings.Contains(wrong.Error(), "PIN") || !strings.Contains(wrong.Hint(), "lock") {
		t.Errorf("a wrong PIN: %v", wrong)
	}
	for name, says := range map[string]string{"object=large": "P-256", "object=rsa": "RSA"} {
		if err := open(at(name), "1234"); !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		} else if _, ok := errors.AsType[*CannotSign](err); !ok {
			t.Errorf("%s: %T", name, err)
		}
	}
	for _, uri := range []string{at("object=none"), "pkcs11:token=none;object=eng?module-path=" + module, "pkcs11:token=kitchen%20token;object=eng?module-path=/nowhere/lib.so"} {
		if _, ok := errors.AsType[*Unavailable](open(uri, "1234")); !ok {
			t.Errorf("%s is not unavailable", uri)
		}
	}
	never := func(string) ([]byte, error) {
		t.Error("asked for the PIN of a token that is not there")
		return nil, errors.New("asked")
	}
	notALibrary := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(notALibrary, []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	for uri, says := range map[string]string{
		"pkcs11:token=kitchen%20token;object=eng?module-path=/nowhere/lib.so": "module-path: stat /nowhere/lib.so: no such file",
		"pkcs11:token=kitchen%20token;object=eng?module-path=" + notALibrary:  "cannot be loaded as a PKCS #11 library",
		"pkcs11:token=none;object=eng?module-path=" + module:                  "could not find",
	} {
		_, err := Open(t.Context(), uri, never)
		if gone, ok := errors.AsType[*Unavailable](err); !ok || !strings.Contains(err.Error(), says) || !strings.Contains(gone.Hint(), "module-path") {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if err := open(at("object=none"), "1234"); strings.Contains(err.Error(), "6e6f6e65") || !strings.Contains(err.Error(), "no such key pair") {
		t.Errorf("a missing key: %v", err)
	}
	none := errors.New("no terminal")
	if _, err := Open(t.Context(), at("object=eng"), func(string) ([]byte, error) { return nil, none }); !errors.Is(err, none) {
		t.Error(err)
	}
}
