package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"
)

// Exists reports a key file that is there already; it is never overwritten.
// It wraps os.ErrExist.
type Exists struct{ Path string }

func (e *Exists) Error() string {
	return fmt.Sprintf("%s exists already, and keys are never overwritten", e.Path)
}

// Unwrap is os.ErrExist.
func (e *Exists) Unwrap() error { return os.ErrExist }

// Hint says what to do.
func (e *Exists) Hint() string {
	return "choose another name, or move the old pair away once nothing is signed with it any more"
}

// Generate makes an ECDSA P-256 key pair: prefix.key, encrypted with the
// password (which may be empty, as with cosign), and prefix.pub. Missing
// directories are made with mode 0700. Neither file is ever seen unfinished,
// and when one of the two is there already, or cannot be made, nothing changes.
func Generate(prefix string, password []byte) (*Public, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key %s: %w", prefix, err)
	}
	return writePair(prefix, key, password)
}

// writePair writes a key pair in cosign's format.
func writePair(prefix string, key *ecdsa.PrivateKey, password []byte) (*Public, error) {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return nil, fmt.Errorf("the key name %q has no last part: write DIR/NAME", prefix)
	}
	private, public := prefix+".key", prefix+".pub"
	for _, path := range []string{private, public} {
		if _, err := os.Lstat(path); err == nil {
			return nil, &Exists{Path: path}
		}
	}
	pub, err := NewPublic(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", prefix, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", prefix, err)
	}
	box, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", prefix, err)
	}
	if err := durable.MkdirAll(filepath.Dir(prefix), 0o700); err != nil {
		return nil, err
	}
	if err := create(private, pem.EncodeToMemory(&pem.Block{Type: cosign.SigstorePrivateKeyPemType, Bytes: box}), 0o600); err != nil {
		return nil, err
	}
	if err := create(public, []byte(pub.PEM()), 0o644); err != nil {
		// The private file is ours and a moment old: nobody has used it.
		return nil, errors.Join(err, os.Remove(private))
	}
	return pub, nil
}

func create(path string, data []byte, perm os.FileMode) error {
	err := durable.CreateExclusive(path, data, perm)
	if errors.Is(err, os.ErrExist) {
		return &Exists{Path: path}
	}
	return err
}
