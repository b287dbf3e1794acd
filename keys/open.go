package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// callTimeout bounds every call of a key service or a token: one without an answer looks like one that works.
const callTimeout = 30 * time.Second

// signFunc signs a message as Signer.Sign does.
type signFunc func(ctx context.Context, message []byte) ([]byte, error)

// holder is what keeps private keys that are no files, by the scheme of their URIs.
type holder struct {
	scheme string
	title  string
	form   string                                                                                      // how its URIs are written
	check  string                                                                                      // what to look at when it gives nothing
	valid  func(name string) error                                                                     // pure; nil without the service
	lacks  *BadName                                                                                    // set where this program is built without it
	open   func(ctx context.Context, name string, pw PasswordFunc) (crypto.PublicKey, signFunc, error) // may call out
}

// holders is the list of all schemes. Nothing outside it is ever looked for, least of all a program.
var holders = []holder{awsKMS, gcpKMS, azureKMS, vault, token}

func known() []string {
	var forms []string
	for _, h := range holders {
		forms = append(forms, h.form)
	}
	return forms
}

// IsURI tells a key's URI from the name of a file: it begins with a scheme and "://", or with a scheme of this package
// and ":". A file of such a name is written ./NAME.
func IsURI(name string) bool { return scheme(name) != "" }

var schemes = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):(//)?`)

func scheme(name string) string {
	found := schemes.FindStringSubmatch(name)
	if found == nil {
		return ""
	}
	if found[2] == "" && !slices.ContainsFunc(holders, func(h holder) bool { return strings.EqualFold(h.scheme, found[1]) }) {
		return ""
	}
	return found[1]
}

// BadName is the name of a key that stands for none: an unknown scheme, a URI of another form, or one that this
// program is built without.
type BadName struct {
	Name   string // without secrets
	Reason string
	hint   string
}

func (e *BadName) Error() string { return fmt.Sprintf("key %s: %s", e.Name, e.Reason) }

// Hint says how keys are named.
func (e *BadName) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "a key is a file, or " + strings.Join(known(), ", or ")
}

// Unavailable is a key service or token that is out of reach, denies, or does not have the key.
type Unavailable struct {
	Name   string // the key's, without secrets
	Holder string // of the key
	Op     string // what it was asked for
	Err    error
	check  string
}

func (e *Unavailable) Error() string {
	return fmt.Sprintf("key %s: %s gives no %s: %s", e.Name, e.Holder, e.Op, brief(e.Err))
}

func (e *Unavailable) Unwrap() error { return e.Err }

// Hint says what to look at.
func (e *Unavailable) Hint() string { return e.check }

// maxBrief is how much of a service's own words is shown, in bytes: some send whole pages.
const maxBrief = 500

func brief(err error) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(text) > maxBrief {
		text = strings.ToValidUTF8(text[:maxBrief], "") + "…"
	}
	return text
}

// secrets are where a URI may hold a PIN or a password, rightly or by a slip of the hand.
var secrets = regexp.MustCompile(`(?i)pin[^=&?;]*=.*|://[^/@]*@`)

// Shown is the name of a key as it may be printed: without the PIN, and what comes after it, and without a user or password
// before a host.
func Shown(name string) string {
	return secrets.ReplaceAllStringFunc(name, func(secret string) string {
		if strings.HasPrefix(secret, "://") {
			return "://…@"
		}
		return secret[:strings.Index(secret, "=")+1] + "…"
	})
}

// CheckName says, without opening anything, whether a key can have this name. The error is a *BadName.
func CheckName(name string) error {
	_, err := holderOf(name)
	return err
}

// holderOf finds who has the key, nil for a file.
func holderOf(name string) (*holder, error) {
	s := scheme(name)
	if s == "" {
		return nil, noScheme(name)
	}
	for i, h := range holders {
		if h.scheme != s {
			continue
		}
		if h.valid != nil {
			if err := h.valid(name); err != nil {
				return nil, &BadName{Name: Shown(name), Reason: err.Error(), hint: "write " + h.form + "; docs/KEYS.md has examples"}
			}
		}
		if h.lacks != nil {
			return nil, &BadName{Name: Shown(name), Reason: h.lacks.Reason, hint: h.lacks.hint}
		}
		return &holders[i], nil
	}
	return nil, &BadName{Name: Shown(name), Reason: fmt.Sprintf("there is no kind of key %q", s)}
}

var likeScheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// noScheme refuses what looks like a URI of another kind of key, exec:… say, and is no file.
func noScheme(name string) error {
	found := likeScheme.FindStringSubmatch(name)
	if found == nil {
		return nil
	}
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	return &BadName{Name: Shown(name), Reason: fmt.Sprintf("there is no such file, and no kind of key %q", found[1])}
}

// Open gives the private key of that name: a file (LoadSigner), or the URI of a key at a key service or on a PKCS #11
// token. Whoever has the key is asked at once for its public half; pw gives the PIN of a token. Errors are a *BadName, an
// *Unavailable, a *CannotSign for a key that is not ECDSA P-256, a *WrongPassword, and for files those of LoadSigner.
func Open(ctx context.Context, name string, pw PasswordFunc) (Signer, error) {
	h, err := holderOf(name)
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return LoadSigner(name, pw)
	}
	type opened struct {
		key  crypto.PublicKey
		sign signFunc
	}
	o, err := bounded(ctx, func(ctx context.Context) (opened, error) {
		key, sign, err := h.open(ctx, name, pw)
		return opened{key, sign}, err
	})
	if err != nil {
		return nil, h.unavailable(name, "public key", err)
	}
	public, err := signingKey(o.key)
	if err != nil {
		return nil, &CannotSign{Path: Shown(name), Reason: err.Error()}
	}
	return &heldSigner{name: name, holder: h, public: public, sign: o.sign}, nil
}

// unavailable leaves the errors alone that say more than that a holder gives nothing.
func (h *holder) unavailable(name, op string, err error) error {
	if _, ok := errors.AsType[*BadName](err); ok {
		return err
	}
	if _, ok := errors.AsType[*WrongPassword](err); ok {
		return err
	}
	if _, ok := errors.AsType[*noPassword](err); ok {
		return err
	}
	return &Unavailable{Name: Shown(name), Holder: h.title, Op: op, Err: err, check: h.check}
}

// noPassword is the error of a PasswordFunc that was asked for a token's PIN.
type noPassword struct {
	name string
	err  error
}

func (e *noPassword) Error() string { return fmt.Sprintf("PIN of %s: %v", e.name, e.err) }
func (e *noPassword) Unwrap() error { return e.err }

// heldSigner is a key that never leaves its holder.
type heldSigner struct {
	name   string
	holder *holder
	public *Public
	sign   signFunc
}

func (s *heldSigner) Public() *Public { return s.public }

// Sign has the message signed, and verifies what comes back: a holder that made a new version of the key meanwhile signs
// with another key than the one whose public half it showed.
func (s *heldSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	sig, err := bounded(ctx, func(ctx context.Context) ([]byte, error) { return s.sign(ctx, message) })
	if err != nil {
		return nil, s.holder.unavailable(s.name, "signature", err)
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(s.public.key.(*ecdsa.PublicKey), digest[:], sig) {
		return nil, &CannotSign{Path: Shown(s.name), Reason: "what it signed does not verify with the public key that it shows; a new version of a key is a new key, which the roles do not know"}
	}
	return sig, nil
}

// bounded calls a library that may not know deadlines, or heed a context at all, and gives up on it when the context ends
// or callTimeout has passed. What is given up on ends with the library's own limits, or with the program.
func bounded[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if r := recover(); r != nil { // some of these libraries do, on answers that they did not expect
				a.err = fmt.Errorf("an answer that makes no sense: %v", r)
			}
			answers <- a
		}()
		a.value, a.err = call(ctx)
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return none, fmt.Errorf("no answer in time: %w", ctx.Err())
		}
		return none, ctx.Err()
	}
}
