//go:build pkcs11key && cgo

package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// withoutToken is for the programs that have no PKCS #11.
var withoutToken *BadName

// openToken loads the library that the URI names, logs in, and finds the key pair. The session lasts
// as long as the program: ending one logs the others of its token out.
func openToken(name string, u *tokenURI, pw PasswordFunc) (crypto.PublicKey, signFunc, error) {
	config := &crypto11.Config{Path: u.module, LoginNotSupported: true}
	switch {
	case u.serial != "":
		config.TokenSerial = u.serial
	case u.token != "":
		config.TokenLabel = u.token
	default:
		config.SlotNumber = u.slot
	}
	if _, err := crypto11.Configure(config); err != nil { // nobody is asked for the PIN of a token that is not there
		return nil, nil, u.absent(err)
	}
	pin, err := u.pin(name, pw)
	if err != nil {
		return nil, nil, err
	}
	config.Pin, config.LoginNotSupported = pin, false
	session, err := crypto11.Configure(config)
	if err != nil {
		return nil, nil, tokenError(name, err)
	}
	pair, err := session.FindKeyPair(u.id, u.object)
	switch {
	case err != nil && strings.Contains(err.Error(), "was not found"), err == nil && pair == nil:
		return nil, nil, errors.New("the token has no such key pair, or only half of it")
	case err != nil:
		return nil, nil, tokenError(name, err)
	}
	return pair.Public(), func(_ context.Context, message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		sig, err := pair.Sign(rand.Reader, digest[:], crypto.SHA256)
		return sig, tokenError(name, err)
	}, nil
}

// absent says of a library that cannot be loaded which one it is.
func (u *tokenURI) absent(err error) error {
	if !strings.Contains(err.Error(), "failed to open module") {
		return err
	}
	if _, e := os.Stat(u.module); e != nil {
		return fmt.Errorf("module-path: %w", e)
	}
	return fmt.Errorf("module-path names %s, which cannot be loaded as a PKCS #11 library", u.module)
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
	text, err := readKeyFile(u.pinFile())
	if err != nil {
		return "", &noPassword{name: Shown(name), err: err}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}
