//go:build pkcs11key && cgo

package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// withoutToken is for the programs that have no PKCS #11.
var withoutToken *BadName

// openToken loads the library that the URI names, logs in, and finds the key pair. The session lasts
// as long as the program: ending one logs the others of its token out.
func openToken(name string, u *tokenURI, pw PasswordFunc) (crypto.PublicKey, signFunc, error) {
	pin, err := u.pin(name, pw)
	if err != nil {
		return nil, nil, err
	}
	config := &crypto11.Config{Path: u.module, Pin: pin}
	switch {
	case u.serial != "":
		config.TokenSerial = u.serial
	case u.token != "":
		config.TokenLabel = u.token
	default:
		config.SlotNumber = u.slot
	}
	session, err := crypto11.Configure(config)
	if err != nil {
		return nil, nil, tokenError(name, err)
	}
	pair, err := session.FindKeyPair(u.id, u.object)
	switch {
	case err != nil:
		return nil, nil, tokenError(name, err)
	case pair == nil:
		return nil, nil, errors.New("there is no such key pair on the token")
	}
	return pair.Public(), func(_ context.Context, message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		sig, err := pair.Sign(rand.Reader, digest[:], crypto.SHA256)
		return sig, tokenError(name, err)
	}, nil
}

// tokenError tells a wrong PIN from everything else.
func tokenError(name string, err error) error {
	code, ok := errors.AsType[pkcs11.Error](err)
	switch {
	case ok && (code == pkcs11.CKR_PIN_INCORRECT || code == pkcs11.CKR_PIN_INVALID || code == pkcs11.CKR_PIN_LEN_RANGE):
		return &WrongPassword{Path: Shown(name)}
	case ok && code == pkcs11.CKR_PIN_LOCKED:
		return fmt.Errorf("the token is locked after too many wrong PINs; its security officer can unlock it: %w", err)
	}
	return err
}

// pin gives the PIN: from the URI, its file, or pw.
func (u *tokenURI) pin(name string, pw PasswordFunc) (string, error) {
	switch {
	case u.pinValue != "":
		return u.pinValue, nil
	case u.pinSource == "":
		pin, err := pw(Shown(name))
		if err != nil {
			return "", &noPassword{name: Shown(name), err: err}
		}
		return string(pin), nil
	}
	path := strings.TrimPrefix(strings.TrimPrefix(u.pinSource, "file:"), "//")
	if !filepath.IsAbs(path) {
		return "", &noPassword{name: Shown(name), err: fmt.Errorf("pin-source %q is not the absolute path of a file", u.pinSource)}
	}
	text, err := readKeyFile(path)
	if err != nil {
		return "", &noPassword{name: Shown(name), err: err}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}
