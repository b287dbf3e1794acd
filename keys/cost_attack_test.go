package keys

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"
)

// TestAKeyFileThatAsksForGigabytes, or for hours: it is refused before a password is asked for and anything is derived. The
// file is right otherwise, so that it opens, and takes what it asks for, where nobody looks.
func TestAKeyFileThatAsksForGigabytes(t *testing.T) {
	cosigns := func(n, r, p int64) string {
		path := filepath.Join(t.TempDir(), "cosign.key")
		lock(t, path, "ENCRYPTED SIGSTORE PRIVATE KEY", p256(t))
		text, _ := os.ReadFile(path)
		block, _ := pem.Decode(text)
		var file map[string]any
		if err := json.Unmarshal(block.Bytes, &file); err != nil {
			t.Fatal(err)
		}
		file["kdf"].(map[string]any)["params"] = map[string]any{"N": n, "r": r, "p": p}
		block.Bytes, _ = json.Marshal(file)
		write(t, path, pem.EncodeToMemory(block))
		return path
	}
	for asks, path := range map[string]string{
		"N=1073741824, r=8, p=1":                     cosigns(1<<30, 8, 1),
		"N=131072, r=8, p=1024":                      cosigns(1<<17, 8, 1024),
		"N=4611686018427387904, r=8":                 cosigns(1<<62, 8, 1),
		"r=1073741824":                               cosigns(2, 1<<30, 1<<30),
		"scrypt with N=67108864, r=8, p=1":           scryptFile(t, 1<<26, 8, 1),
		"scrypt with N=16384, r=8, p=1048576":        scryptFile(t, 1<<14, 8, 1<<20),
		"scrypt with N=2, r=1048576, p=1":            scryptFile(t, 2, 1<<20, 1), // little work, 640 MiB
		"1000000000000 rounds of PBKDF2":             pbkdf2File(t, 1_000_000_000_000),
		fmt.Sprint(maxRounds+1, " rounds of PBKDF2"): pbkdf2File(t, maxRounds+1),
	} {
		never := func(string) ([]byte, error) { return nil, errors.New("asked for a password") }
		prefix := filepath.Join(t.TempDir(), "new")
		_, err := Import(path, prefix, never, never)
		refused(t, path, asks, err)
		if text, _ := os.ReadFile(path); strings.Contains(string(text), "SIGSTORE") {
			_, err = LoadSigner(path, never)
			refused(t, path, asks, err)
		}
		if left, _ := filepath.Glob(prefix + "*"); len(left) > 0 {
			t.Errorf("%s: left %q", asks, left)
		}
	}
}

func refused(t *testing.T, path, asks string, err error) {
	t.Helper()
	e, ok := errors.AsType[*TooCostly](err)
	if !ok || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), asks) || e.Hint() == "" {
		t.Errorf("%s: %v", asks, err)
	}
}

// TestAKeyFileThatAsksForWhatIsUsual opens: what OpenSSL asks for with -scrypt and with many rounds.
func TestAKeyFileThatAsksForWhatIsUsual(t *testing.T) {
	for name, kdf := range map[string]pkcs8.KDFOpts{
		"scrypt": pkcs8.ScryptOpts{SaltSize: 8, CostParameter: 1 << 14, BlockSize: 8, ParallelizationParameter: 1},
		"rounds": pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 10_000, HMACHash: 5},
	} {
		der, err := pkcs8.MarshalPrivateKey(p256(t), []byte("old"), &pkcs8.Opts{Cipher: pkcs8.AES256CBC, KDFOpts: kdf})
		if _, err := Import(pemFile(t, "k.pem", "ENCRYPTED PRIVATE KEY", der, err), filepath.Join(t.TempDir(), "new"), password("old"), password("new")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// scryptFile and pbkdf2File are PKCS #8 files with these parameters; nobody could make them without doing the work.
func scryptFile(t *testing.T, n, r, p int64) string {
	return derived(t, oidScrypt, struct {
		Salt    []byte
		N, R, P int64
	}{[]byte("salt"), n, r, p})
}

func pbkdf2File(t *testing.T, rounds int64) string {
	type parameters struct {
		Salt   []byte
		Rounds int64
		PRF    pkix.AlgorithmIdentifier
	}
	sha256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}
	return derived(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, parameters{[]byte("salt"), rounds, sha256})
}

func derived(t *testing.T, kdf asn1.ObjectIdentifier, parameters any) string {
	t.Helper()
	marshal := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	aes := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, Parameters: marshal(make([]byte, 16))}
	scheme := struct{ KDF, Cipher pkix.AlgorithmIdentifier }{pkix.AlgorithmIdentifier{Algorithm: kdf, Parameters: marshal(parameters)}, aes}
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, Parameters: marshal(scheme)}, make([]byte, 64)})
	return pemFile(t, "k.pem", "ENCRYPTED PRIVATE KEY", der, err)
}
