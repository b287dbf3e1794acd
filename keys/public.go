package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// maxKeyFile is the size of a key file of either kind, in bytes.
const maxKeyFile = 64 << 10

const publicType = "PUBLIC KEY"

// Public is a public key, ECDSA P-256 or ed25519.
type Public struct {
	key crypto.PublicKey // *ecdsa.PublicKey or ed25519.PublicKey
	der []byte           // PKIX
}

// NewPublic accepts an *ecdsa.PublicKey on P-256 or an ed25519.PublicKey.
func NewPublic(key crypto.PublicKey) (*Public, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("the ECDSA key is not on the curve P-256")
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a key of type %T is neither ECDSA P-256 nor ed25519", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return &Public{key: key, der: der}, nil
}

// PEM is the key as one PEM block PUBLIC KEY, with a newline at its end. Equal
// keys have equal texts.
func (p *Public) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: p.der}))
}

// Key is the key for the standard library: *ecdsa.PublicKey or ed25519.PublicKey.
func (p *Public) Key() crypto.PublicKey { return p.key }

// Hint names the key in Sigstore bundles: base64(SHA-256(PKIX DER)).
func (p *Public) Hint() string {
	sum := sha256.Sum256(p.der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Equal tells whether both are the same key.
func (p *Public) Equal(o *Public) bool { return bytes.Equal(p.der, o.der) }

// ParsePublic reads exactly one PEM block PUBLIC KEY.
func ParsePublic(text []byte) (*Public, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("not a PEM file: a public key begins with -----BEGIN PUBLIC KEY-----")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key: pass on only the .pub file")
	case block.Type != publicType:
		return nil, fmt.Errorf("PEM block %q is not a PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("more follows after the PUBLIC KEY block: one file holds one key")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return NewPublic(key)
}

// LoadPublic reads a .pub file of at most 64 KiB.
func LoadPublic(path string) (*Public, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	pub, err := ParsePublic(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pub, nil
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody writes to is empty, and keeps nobody
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is larger than 64 KiB: it is not a key file", path)
	}
	return text, nil
}
