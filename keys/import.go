package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/youmark/pkcs8"
)

// Import writes the private key of a PEM file as the key pair prefix.key and prefix.pub, as Generate does, under a new
// password. The file, of at most 64 KiB, holds one ECDSA P-256 key: in PKCS #8, with or without a password, in SEC 1 (EC
// PRIVATE KEY), or in cosign's format. old gives its password where it has one, then new the one for prefix.key. Errors: an
// *Exists, a *WrongPassword, a *TooCostly, a *CannotSign for every other key and form, those of old and new, or that the file is damaged.
func Import(file, prefix string, old, new PasswordFunc) (*Public, error) {
	text, err := readKeyFile(file)
	if err != nil {
		return nil, err
	}
	block, err := privateBlock(file, text)
	if err != nil {
		return nil, err
	}
	key, err := parsePrivate(file, block, old)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, &CannotSign{Path: file, Reason: fmt.Sprintf("it is a %T, not an ECDSA P-256 key", key)}
	}
	if _, err := signingKey(signer.Public()); err != nil {
		return nil, &CannotSign{Path: file, Reason: err.Error()}
	}
	password, err := new(prefix + ".key")
	if err != nil {
		return nil, fmt.Errorf("password of %s.key: %w", prefix, err)
	}
	return writePair(prefix, signer.(*ecdsa.PrivateKey), password)
}

// pkcs8Wrong is how that library says that the password is wrong. A test holds it to that.
const pkcs8Wrong = "pkcs8: incorrect password"

// privateBlock finds the one block of a private key; openssl writes its parameters before it.
func privateBlock(file string, text []byte) (*pem.Block, error) {
	block, rest := pem.Decode(text)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s is not a key file: it has no PEM block", file)
	case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, &CannotSign{Path: file, Reason: "it is encrypted in OpenSSL's old way; convert it with: openssl pkcs8 -topk8 -in " + file + " -out NEW.pem",
			hint: "convert it with that command, then: kitchen key import NEW.pem"}
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, &CannotSign{Path: file, Reason: "more follows after its first key: one file holds one key"}
	}
	return block, nil
}

func parsePrivate(file string, block *pem.Block, old PasswordFunc) (key any, err error) {
	if err := checkCost(file, block); err != nil {
		return nil, err
	}
	var password []byte
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY", cosign.SigstorePrivateKeyPemType, cosign.CosignPrivateKeyPemType:
		if password, err = old(file); err != nil {
			return nil, fmt.Errorf("password of %s: %w", file, err)
		}
	}
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		key, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, append([]byte{}, password...)) // nil would mean that it has none
	case cosign.SigstorePrivateKeyPemType, cosign.CosignPrivateKeyPemType:
		var der []byte
		if der, err = encrypted.Decrypt(block.Bytes, password); err == nil {
			key, err = x509.ParsePKCS8PrivateKey(der)
		}
	case "RSA PRIVATE KEY":
		return nil, &CannotSign{Path: file, Reason: "it is an RSA key, not an ECDSA P-256 key"}
	case publicType:
		return nil, &CannotSign{Path: file, Reason: "it is the public key; name the private one"}
	default:
		return nil, &CannotSign{Path: file, Reason: fmt.Sprintf("its PEM block %q is none that can be imported", block.Type)}
	}
	switch {
	case err != nil && (strings.Contains(err.Error(), pkcs8Wrong) || strings.Contains(err.Error(), decryptionFailed)):
		return nil, &WrongPassword{Path: file}
	case err != nil:
		return nil, fmt.Errorf("key file %s is damaged: %w", file, err)
	}
	return key, nil
}
