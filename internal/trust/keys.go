package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/enovance/kitchen/keys"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// minRSABits is the smallest RSA modulus that a foreign repository may use.
const minRSABits = 2048

// Key is a public key as role files hold it.
type Key struct {
	// ID is the sha256 (hex) of the key's canonical form in everything Kitchen writes (TUF 4.2).
	ID string
	// Public is nil for kinds that Kitchen verifies in foreign repositories only (RSA, P-384), or not at all.
	Public *keys.Public

	wire     *metadata.Key
	verify   func(message, sig []byte) bool // nil: a kind or a damaged key that cannot verify anything
	computed string                         // the id that the key's form gives
	same     string                         // fingerprint of the PKIX form: one key is one vote under whatever id
}

// NewKey gives a public key its TUF form and id. Keys that Kitchen signs with are ECDSA P-256; ed25519 keys
// of others are taken too.
func NewKey(pub *keys.Public) (Key, error) {
	if pub == nil {
		return Key{}, errors.New("no public key")
	}
	wire, err := metadata.KeyFromPublicKey(pub.Key())
	if err != nil {
		return Key{}, fmt.Errorf("key cannot sign role files: %w", err)
	}
	id, err := wire.ID()
	if err != nil {
		return Key{}, err
	}
	key := keyFromWire(id, wire)
	if key.verify == nil || key.Public == nil {
		return Key{}, errors.New("key cannot sign role files: want ECDSA P-256 or ed25519")
	}
	return key, nil
}

// keyFromWire never fails: a key of an unknown kind is kept and verifies nothing.
func keyFromWire(id string, wire *metadata.Key) Key {
	key := Key{ID: id, wire: wire}
	if wire == nil {
		return key
	}
	computed, err := wire.ID()
	if err != nil {
		return key
	}
	key.computed = computed
	pub, err := wire.ToPublicKey()
	if err != nil {
		return key
	}
	key.verify = verifier(wire, pub)
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil || key.verify == nil {
		key.verify = nil
		return key
	}
	digest := sha256.Sum256(der)
	key.same = string(digest[:])
	if public, err := keys.NewPublic(pub); err == nil {
		key.Public = public
	}
	return key
}

// verifier is the one place where a signature is checked. Key types and schemes: TUF 4.2.
func verifier(wire *metadata.Key, pub crypto.PublicKey) func(message, sig []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		switch {
		case wire.Scheme == metadata.KeySchemeECDSA_SHA2_P256 && pub.Curve == elliptic.P256():
			return func(message, sig []byte) bool {
				digest := sha256.Sum256(message)
				return ecdsa.VerifyASN1(pub, digest[:], sig)
			}
		case wire.Scheme == metadata.KeySchemeECDSA_SHA2_P384 && pub.Curve == elliptic.P384():
			return func(message, sig []byte) bool {
				digest := sha512.Sum384(message)
				return ecdsa.VerifyASN1(pub, digest[:], sig)
			}
		}
	case ed25519.PublicKey:
		if wire.Scheme == metadata.KeySchemeEd25519 && len(pub) == ed25519.PublicKeySize {
			return func(message, sig []byte) bool { return ed25519.Verify(pub, message, sig) }
		}
	case *rsa.PublicKey:
		if wire.Scheme == metadata.KeySchemeRSASSA_PSS_SHA256 && pub.N.BitLen() >= minRSABits {
			return func(message, sig []byte) bool {
				digest := sha256.Sum256(message)
				return rsa.VerifyPSS(pub, crypto.SHA256, digest[:], sig, nil) == nil
			}
		}
	}
	return nil
}
