package keys

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyFileSeeds are key files by name: a good one, whose password is "story", and spoilt ones.
func keyFileSeeds(t testing.TB) map[string][]byte {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "k")
	if _, err := Generate(prefix, []byte("story")); err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := read(prefix + ".key")
	block, _ := pem.Decode(good)
	box := func(old, new string) []byte {
		if !bytes.Contains(block.Bytes, []byte(old)) {
			t.Fatalf("no %s in %s", old, block.Bytes)
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: bytes.Replace(block.Bytes, []byte(old), []byte(new), 1)})
	}
	return map[string][]byte{
		"good": good, "public": read(prefix + ".pub"), "cut": good[:len(good)/2], "older block": bytes.ReplaceAll(good, []byte("SIGSTORE"), []byte("COSIGN")),
		"costly": box(`"N":65536`, `"N":1073741824`), "no salt": box(`"salt":"`, `"salt":"","x":"`), "other cipher": box("nacl/secretbox", "none"),
		"null": pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: []byte("null")}), "text": []byte("hello"),
	}
}

// FuzzLoadSigner: a key file opens with a key that signs, or says what is wrong; it costs bounded time and memory.
// No password but the right one opens anything.
func FuzzLoadSigner(f *testing.F) {
	for _, seed := range keyFileSeeds(f) {
		f.Add(seed, "story")
		f.Add(seed, "history")
	}
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		path := filepath.Join(t.TempDir(), "k.key")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := LoadSigner(path, func(string) ([]byte, error) { return []byte(password), nil })
		if (s == nil) != (err != nil) {
			t.Fatalf("%v with %v", s, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the file is not named: %v", err)
			}
			return
		}
		if _, err := ParsePublic([]byte(s.Public().PEM())); err != nil {
			t.Error(err)
		}
		if sig, err := s.Sign(t.Context(), []byte("x")); err != nil || len(sig) == 0 {
			t.Error(err)
		}
	})
}

// TestKeyFileSeeds: the seeds are there, and those that ought to open do.
func TestKeyFileSeeds(t *testing.T) {
	for name, seed := range keyFileSeeds(t) {
		path := filepath.Join(t.TempDir(), "k.key")
		if err := os.WriteFile(path, seed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSigner(path, password("story"))
		if opens := name == "good" || name == "older block"; opens != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
