package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// token holds keys on PKCS #11 tokens: hardware modules, smart cards, SoftHSM. See openToken.
var token = holder{
	scheme: "pkcs11", title: "the PKCS #11 token", form: "pkcs11:token=TOKEN;object=KEY?module-path=/LIBRARY.so[&pin-source=FILE]",
	check: "check that module-path is the token's PKCS #11 library (`p11-kit list-modules`, the vendor's manual), that the token is there (`p11tool --list-tokens`, `pkcs11-tool --list-slots`), its label or serial, and that the key has that label or id, with its public key beside it",
	valid: func(name string) error { _, err := parseTokenURI(name); return err },
	lacks: withoutToken,
	open: func(_ context.Context, name string, pw PasswordFunc) (crypto.PublicKey, signFunc, error) {
		u, err := parseTokenURI(name)
		if err != nil {
			return nil, nil, err
		}
		return openToken(name, u, pw)
	},
}

// tokenURI is a PKCS #11 URI (RFC 7512) that names one key. What it says of manufacturer, model, library, and slot's name
// is not looked at: label or serial of the token and label or id of the key name the key, and roles know its public half.
type tokenURI struct {
	token, serial string
	slot          *int
	object        []byte
	id            []byte
	module        string
	pinValue      string
	pinSource     string
}

var unneeded = []string{"manufacturer", "model", "library-manufacturer", "library-description", "library-version", "slot-description", "slot-manufacturer"}

func parseTokenURI(name string) (*tokenURI, error) {
	rest, ok := strings.CutPrefix(name, "pkcs11:")
	if !ok {
		return nil, errors.New("a PKCS #11 URI begins with \"pkcs11:\"")
	}
	path, query, _ := strings.Cut(rest, "?")
	u := &tokenURI{}
	if err := attributes(path, ";", u.pathAttribute); err != nil {
		return nil, err
	}
	if err := attributes(query, "&", u.queryAttribute); err != nil {
		return nil, err
	}
	switch {
	case u.token == "" && u.serial == "" && u.slot == nil:
		return nil, errors.New("it names no token: write token=LABEL, serial=… or slot-id=…")
	case len(u.object) == 0 && len(u.id) == 0:
		return nil, errors.New("it names no key on the token: write object=LABEL or id=%XX")
	case !filepath.IsAbs(u.module):
		return nil, errors.New("it names no library: write ?module-path=/… with the absolute path of the token's PKCS #11 library")
	case u.pinValue != "" && u.pinSource != "":
		return nil, errors.New("it has a pin-value and a pin-source")
	case u.pinSource != "" && !filepath.IsAbs(u.pinFile()):
		return nil, fmt.Errorf("pin-source %q is not the absolute path of a file", u.pinSource)
	}
	return u, nil
}

// pinFile is the path that pin-source names.
func (u *tokenURI) pinFile() string {
	return strings.TrimPrefix(strings.TrimPrefix(u.pinSource, "file:"), "//")
}

// attributes reads NAME=VALUE pairs with percent-encoded values; a name may come once.
func attributes(text, separator string, set func(name, value string) error) error {
	var seen []string
	for pair := range strings.SplitSeq(text, separator) {
		if pair == "" {
			continue
		}
		name, encoded, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(encoded)
		if err != nil || strings.ContainsAny(encoded, " \t\r\n") {
			return fmt.Errorf("the value of %s is not percent-encoded", name)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("it has %s twice", name)
		}
		seen = append(seen, name)
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (u *tokenURI) pathAttribute(name, value string) error {
	switch name {
	case "token":
		u.token = value
	case "serial":
		u.serial = value
	case "slot-id":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return errors.New("slot-id is no number")
		}
		slot := int(n)
		u.slot = &slot
	case "object":
		u.object = []byte(value)
	case "id":
		u.id = []byte(value)
	case "type":
		if value != "private" {
			return errors.New("type is private for a key that signs; leave it out")
		}
	default:
		if !slices.Contains(unneeded, name) {
			return fmt.Errorf("PKCS #11 URIs have no %q here", name)
		}
	}
	return nil
}

func (u *tokenURI) queryAttribute(name, value string) error {
	switch name {
	case "module-path":
		u.module = value
	case "pin-value":
		u.pinValue = value
	case "pin-source":
		u.pinSource = value
	default:
		return fmt.Errorf("PKCS #11 URIs have no ?%s here", name)
	}
	return nil
}
