package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

func password(text string) PasswordFunc {
	return func(string) ([]byte, error) { return []byte(text), nil }
}

func generate(t *testing.T, prefix string) *Public {
	t.Helper()
	pub, err := Generate(prefix, []byte("story"))
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func TestGenerateAndSign(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "keys", "eng")
	pub := generate(t, prefix)
	for path, want := range map[string]os.FileMode{prefix + ".key": 0o600, prefix + ".pub": 0o644, filepath.Dir(prefix): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	private, err := os.ReadFile(prefix + ".key")
	if err != nil || !strings.HasPrefix(string(private), "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n") {
		t.Errorf("%s, %v", private, err)
	}
	loaded, err := LoadPublic(prefix + ".pub")
	if err != nil || !loaded.Equal(pub) {
		t.Errorf("public key: %v", err)
	}
	s, err := LoadSigner(prefix+".key", password("story"))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Public().Equal(pub) || s.Public().Hint() != pub.Hint() {
		t.Error("the signer has another key")
	}
	sig, err := s.Sign(context.Background(), []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	if !ecdsa.VerifyASN1(pub.Key().(*ecdsa.PublicKey), digest[:], sig) {
		t.Error("not an ASN.1 signature over SHA-256")
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Sign(gone, []byte("message")); !errors.Is(err, context.Canceled) {
		t.Errorf("signed after cancel: %v", err)
	}
	leftovers, _ := os.ReadDir(filepath.Dir(prefix))
	if len(leftovers) != 2 {
		t.Errorf("%d files, want 2", len(leftovers))
	}
}

func TestNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	for _, taken := range []string{".key", ".pub"} {
		prefix := filepath.Join(dir, "k"+taken[1:])
		if err := os.WriteFile(prefix+taken, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Generate(prefix, nil)
		if e, ok := errors.AsType[*Exists](err); !ok || e.Path != prefix+taken || !errors.Is(err, os.ErrExist) || e.Hint() == "" {
			t.Errorf("%s: %v", taken, err)
		}
		if have, _ := os.ReadFile(prefix + taken); string(have) != "precious" {
			t.Errorf("%s was overwritten", taken)
		}
		if files, _ := filepath.Glob(prefix + "*"); len(files) != 1 {
			t.Errorf("left behind: %q", files)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(filepath.Join(dir, "link"), nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("followed a dangling link: %v", err)
	}
	for _, bad := range []string{"", dir + "/"} {
		if _, err := Generate(bad, nil); err == nil {
			t.Errorf("Generate(%q)", bad)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(filepath.Join(file, "k"), nil); err == nil {
		t.Error("made a key below a file")
	}
}

func TestWrongPassword(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "eng")
	generate(t, prefix)
	_, err := LoadSigner(prefix+".key", password("history"))
	e, ok := errors.AsType[*WrongPassword](err)
	if !ok || e.Path != prefix+".key" || !strings.Contains(err.Error(), prefix+".key") || e.Hint() == "" {
		t.Errorf("%T %v", err, err)
	}
	none := errors.New("no terminal")
	if _, err := LoadSigner(prefix+".key", func(string) ([]byte, error) { return nil, none }); !errors.Is(err, none) {
		t.Error(err)
	}
}

// lock writes a private key as cosign does, whatever its type.
func lock(t *testing.T, path, blockType string, key any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	box, err := encrypted.Encrypt(der, []byte("story"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: box}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKeysThatDoNotSign: what is refused, and that the reason is said.
func TestKeysThatDoNotSign(t *testing.T) {
	dir := t.TempDir()
	const sigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	lock(t, filepath.Join(dir, "ed.key"), sigstore, ed)
	lock(t, filepath.Join(dir, "p384.key"), sigstore, p384)
	lock(t, filepath.Join(dir, "old.key"), "ENCRYPTED COSIGN PRIVATE KEY", p256)
	lock(t, filepath.Join(dir, "plain.key"), "PRIVATE KEY", p256)
	pub, _ := NewPublic(&p256.PublicKey)
	for name, text := range map[string]string{
		"public.key": pub.PEM(), "text.key": "hello", "empty.key": "", "big.key": strings.Repeat("x", maxKeyFile+1),
		"damaged.key": string(pem.EncodeToMemory(&pem.Block{Type: sigstore, Bytes: []byte(`{"kdf":`)})),
		"costly.key":  string(pem.EncodeToMemory(&pem.Block{Type: sigstore, Bytes: []byte(`{"kdf":{"name":"scrypt","params":{"N":1073741824,"r":8,"p":1}},"cipher":{"name":"nacl/secretbox"}}`)})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadSigner(filepath.Join(dir, "old.key"), password("story")); err != nil {
		t.Errorf("cosign's older block: %v", err)
	}
	for name, says := range map[string]string{
		"ed.key": "ed25519 keys verify but do not sign", "p384.key": "P-256", "plain.key": "not an encrypted cosign key", "public.key": "it is the public key",
		"text.key": "no PEM block", "empty.key": "no PEM block", "big.key": "larger than 64 KiB", "damaged.key": "damaged", "costly.key": "scrypt with N=1073741824", "absent.key": "no such file",
	} {
		path := filepath.Join(dir, name)
		s, err := LoadSigner(path, password("story"))
		if err == nil || s != nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewSigner(ed); err == nil {
		t.Error("ed25519 in memory signs")
	}
	if _, err := NewSigner(p384); err == nil {
		t.Error("P-384 in memory signs")
	}
}

func TestParsePublic(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	text := func(key crypto.PublicKey) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	for name, key := range map[string]crypto.PublicKey{"P-256": &p256.PublicKey, "ed25519": ed} {
		pub, err := ParsePublic([]byte("\n" + text(key)))
		if err != nil || pub.PEM() != text(key) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		der, _ := x509.MarshalPKIXPublicKey(key)
		sum := sha256.Sum256(der)
		if pub.Hint() != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("%s: hint %s", name, pub.Hint())
		}
	}
	good := text(&p256.PublicKey)
	for name, bad := range map[string]string{
		"empty": "", "text": "hello", "P-384": text(&p384.PublicKey), "two keys": good + good, "trailing": good + "x",
		"private": strings.ReplaceAll(good, "PUBLIC", "PRIVATE"), "other block": strings.ReplaceAll(good, "PUBLIC KEY", "CERTIFICATE"),
		"not DER": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})),
	} {
		if pub, err := ParsePublic([]byte(bad)); err == nil || pub != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := LoadPublic(filepath.Join(t.TempDir(), "none.pub")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

var update = flag.Bool("update", false, "rewrite the fixtures")

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
