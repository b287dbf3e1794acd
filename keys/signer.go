package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Signer signs with one private key.
type Signer interface {
	// Public is the key that verifies.
	Public() *Public
	// Sign returns an ECDSA P-256 signature over SHA-256 of message, ASN.1 DER.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// PasswordFunc gives the password of the key file at path, or the PIN of the token
// whose URI path is. It is called once per key.
type PasswordFunc func(path string) ([]byte, error)

// WrongPassword reports that a key file, or a token, did not open with the password or PIN given.
type WrongPassword struct{ Path string }

func (e *WrongPassword) Error() string {
	if IsURI(e.Path) {
		return fmt.Sprintf("the PIN does not open the token of key %s", e.Path)
	}
	return fmt.Sprintf("the password does not open the key file %s", e.Path)
}

// Hint says what to look at.
func (e *WrongPassword) Hint() string {
	if IsURI(e.Path) {
		return "check its pin-source, --password-file or COSIGN_PASSWORD before the next try: tokens lock themselves after a few wrong PINs"
	}
	return "check COSIGN_PASSWORD or --password-file; every key file has its own password, and it cannot be recovered"
}

// CannotSign reports a private key that Kitchen does not sign with.
type CannotSign struct {
	Path   string // file or URI; empty for a key in memory
	Reason string
	hint   string // "" = by what Path is
}

func (e *CannotSign) Error() string {
	switch {
	case e.Path == "":
		return "cannot sign with this key: " + e.Reason
	case IsURI(e.Path):
		return fmt.Sprintf("cannot sign with the key %s: %s", e.Path, e.Reason)
	}
	return fmt.Sprintf("cannot sign with the key file %s: %s", e.Path, e.Reason)
}

// Hint names the next command.
func (e *CannotSign) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	if base, ok := strings.CutSuffix(e.Path, ".pub"); ok {
		return "name its private half, perhaps " + base + ".key"
	}
	if IsURI(e.Path) {
		return "name, or make there, a key for ECDSA P-256 signatures; `kitchen key show URI` shows which key it is"
	}
	return "make a key that signs with: kitchen key generate NAME"
}

// decryptionFailed is how the library says that the password is wrong; it has
// no error value for it. A test holds it to that.
const decryptionFailed = "encrypted: decryption failed"

// LoadSigner opens a cosign private key file (ENCRYPTED SIGSTORE PRIVATE KEY,
// or the older ENCRYPTED COSIGN PRIVATE KEY) of at most 64 KiB. Errors: a
// *WrongPassword, a *CannotSign for a key that is not ECDSA P-256, a *TooCostly, an
// error of pw, or that the file is absent or damaged; all name the file.
func LoadSigner(path string, pw PasswordFunc) (Signer, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	if err := checkPrivateBlock(path, text); err != nil {
		return nil, err
	}
	password, err := pw(path)
	if err != nil {
		return nil, fmt.Errorf("password of %s: %w", path, err)
	}
	sv, err := cosign.LoadPrivateKey(text, password, nil)
	switch {
	case err != nil && strings.Contains(err.Error(), decryptionFailed):
		return nil, &WrongPassword{Path: path}
	case err != nil:
		return nil, fmt.Errorf("key file %s is damaged: %w", path, err)
	}
	pub, err := sv.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	public, err := signingKey(pub)
	if err != nil {
		return nil, &CannotSign{Path: path, Reason: err.Error()}
	}
	return &fileSigner{public: public, sv: sv}, nil
}

func checkPrivateBlock(path string, text []byte) error {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return fmt.Errorf("%s is not a key file: it has no PEM block", path)
	case block.Type == publicType:
		return &CannotSign{Path: path, Reason: "it is the public key; name the .key file"}
	case block.Type != cosign.SigstorePrivateKeyPemType && block.Type != cosign.CosignPrivateKeyPemType:
		return &CannotSign{Path: path, Reason: fmt.Sprintf("its PEM block %q is not an encrypted cosign key", block.Type)}
	}
	return checkCost(path, block)
}

// signingKey accepts only what Signer promises.
func signingKey(key crypto.PublicKey) (*Public, error) {
	if _, isEd := key.(ed25519.PublicKey); isEd {
		return nil, errors.New("ed25519 keys verify but do not sign here: stock tools disagree on their signatures (ed25519 or ed25519ph)")
	}
	if _, isRSA := key.(*rsa.PublicKey); isRSA {
		return nil, errors.New("it is an RSA key, not an ECDSA P-256 key")
	}
	if _, isEC := key.(*ecdsa.PublicKey); !isEC {
		return nil, fmt.Errorf("it is a %T, not an ECDSA P-256 key", key)
	}
	return NewPublic(key)
}

// NewSigner signs with a P-256 key that is in memory or in a device, as a
// crypto.Signer. The error is a *CannotSign.
func NewSigner(key crypto.Signer) (Signer, error) {
	public, err := signingKey(key.Public())
	if err != nil {
		return nil, &CannotSign{Reason: err.Error()}
	}
	return &plainSigner{public: public, key: key}, nil
}

type plainSigner struct {
	public *Public
	key    crypto.Signer
}

func (s *plainSigner) Public() *Public { return s.public }

func (s *plainSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(message)
	return s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// fileSigner is a key as cosign loads it.
type fileSigner struct {
	public *Public
	sv     signature.SignerVerifier
}

func (s *fileSigner) Public() *Public { return s.public }

func (s *fileSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.sv.SignMessage(bytes.NewReader(message))
}
