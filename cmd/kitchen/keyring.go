package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/publisher"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// openKey is keys.Open, but for tests.
var openKey = keys.Open

// keyring opens private keys. Each is opened once a call; opening a file costs
// a deliberate fraction of a second, and a key service a round trip, so several
// are opened side by side, and files from kitchen.toml only when something is
// signed with them.
type keyring struct {
	k            *kitchen
	passwordFile string

	ask     sync.Mutex // one prompt at a time
	mu      sync.Mutex // guards signers
	signers map[string]*lazySigner
}

// signer gives a key by its name, file or URI. A file with its .pub beside it is
// opened when it first signs; any other key at once, to know which one it is.
func (r *keyring) signer(path string) (*lazySigner, error) {
	s := r.entry(path)
	if s.beside == nil {
		if err := s.open(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// entry gives the one signer of a name, not opened yet.
func (r *keyring) entry(path string) *lazySigner {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.signers[path]; s != nil {
		return s
	}
	s := &lazySigner{path: path, ring: r}
	// The .pub beside the key saves opening it only to know which key it is. It
	// is not believed: signing fails if the opened key is another one.
	if base, ok := strings.CutSuffix(path, ".key"); ok && !keys.IsURI(path) {
		if _, err := os.Stat(path); err == nil {
			s.beside, _ = keys.LoadPublic(base + ".pub")
			s.public = s.beside
		}
	}
	if r.signers == nil {
		r.signers = map[string]*lazySigner{}
	}
	r.signers[path] = s
	return s
}

// lazy gives several keys, opened only where signer must.
func (r *keyring) lazy(paths []string) ([]keys.Signer, error) {
	var signers []keys.Signer
	for _, path := range paths {
		s, err := r.signer(path)
		if err != nil {
			return nil, err
		}
		signers = append(signers, s)
	}
	return signers, nil
}

// open gives several keys, all opened: what the user named on the
// command line fails at once if it cannot be used.
func (r *keyring) open(paths []string) ([]keys.Signer, error) {
	for _, path := range paths {
		if err := keys.CheckName(path); err != nil {
			return nil, err
		}
	}
	signers := make([]keys.Signer, len(paths))
	var group errgroup.Group
	group.SetLimit(4)
	for i, path := range paths {
		s := r.entry(path)
		signers[i] = s
		group.Go(s.open)
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return signers, nil
}

// lazySigner is a key that is opened once, a file with its .pub when it first signs.
type lazySigner struct {
	path   string // or URI
	ring   *keyring
	public *keys.Public // known once open returned, or from the .pub beside the file
	beside *keys.Public // what that .pub holds

	mu     sync.Mutex // guards the rest
	opened keys.Signer
	err    error
}

// Public implements keys.Signer.
func (s *lazySigner) Public() *keys.Public { return s.public }

// Sign implements keys.Signer.
func (s *lazySigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	return s.opened.Sign(ctx, message)
}

// open opens the key if it is not open. Only a holder that gave nothing is asked again, for a watch goes on when it is back:
// a wrong password is wrong the next time, too, and some tokens count.
func (s *lazySigner) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var away *keys.Unavailable
	if s.opened == nil && (s.err == nil || errors.As(s.err, &away)) {
		s.err = s.load()
	}
	return s.err
}

func (s *lazySigner) load() error {
	roomForKeys()
	opened, err := openKey(s.ring.k.ctx, s.path, s.ring.password)
	if err != nil {
		return err
	}
	runtime.GC() // opening a file took 64 MiB (scrypt), which what comes next may have
	if s.beside != nil && !opened.Public().Equal(s.beside) {
		return &otherPair{path: s.path, private: opened.Public(), public: s.beside}
	}
	if s.beside == nil {
		s.public = opened.Public()
	}
	s.opened = opened
	return nil
}

// otherPair is a private key with the .pub of another one beside it.
type otherPair struct {
	path            string
	private, public *keys.Public
}

func (e *otherPair) Error() string {
	return e.path + " and the .pub beside it are not one key pair"
}

// Evidence shows both keys whole.
func (e *otherPair) Evidence() []string {
	return []string{"private " + publisher.IDOfPEM(e.private.PEM()), "public  " + publisher.IDOfPEM(e.public.PEM())}
}

func (e *otherPair) Hint() string {
	return "find out who changed one of them; `kitchen key show " + shellWord(e.path) + "` shows the public half of the private key"
}

// roomForKeys makes the 64 MiB that the password of a key file takes cheap to have, for two at a time.
var roomForKeys = sync.OnceFunc(func() { askHugePages(128 << 20) })

// openEarly opens a key that is going to sign at the end of long work, so that whoever has to type its password need not wait
// for that, and the memory that opening takes serves the work. A failure is told when it signs, if it does.
func openEarly(signer keys.Signer) {
	if s, ok := signer.(*lazySigner); ok {
		_ = s.open()
	}
}

// errNoPassword is a question for a password that nobody answered.
var errNoPassword = errors.New("no password was given")

// password finds the password of one key: --password-file, COSIGN_PASSWORD, or
// a prompt on the terminal.
func (r *keyring) password(path string) ([]byte, error) {
	if pw, given, err := r.givenPassword(); given || err != nil {
		return pw, err
	}
	if keyService(path) {
		return r.prompt("PIN for " + path + ": ")
	}
	return r.prompt("password for " + path + ": ")
}

func (r *keyring) givenPassword() (pw []byte, given bool, err error) {
	if r.passwordFile != "" {
		pw, err := passwordOf(r.passwordFile)
		return pw, true, err
	}
	if pw, ok := r.k.lookupEnv("COSIGN_PASSWORD"); ok {
		return []byte(pw), true, nil
	}
	return nil, false, nil
}

// passwordOf reads the first line of a password file.
func passwordOf(path string) ([]byte, error) {
	data, err := readCapped(path, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("password file: %w", err)
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.TrimSuffix(first, []byte("\r")), nil
}

// newPassword is password for a key that is being made: a typed one is asked twice.
func (r *keyring) newPassword(path string) ([]byte, error) {
	if pw, given, err := r.givenPassword(); given || err != nil {
		return pw, err
	}
	first, err := r.prompt("new password for " + path + ": ")
	if err != nil {
		return nil, err
	}
	second, err := r.prompt("the same again: ")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(first, second) != 1 {
		return nil, hinted{errors.New("the two passwords are not the same"), "nothing was written: run the same command again, and type one password twice"}
	}
	if len(first) == 0 {
		r.k.progress.Note("the password is empty: whoever can read " + path + " can sign with it")
	}
	return first, nil
}

// prompt asks on the terminal itself, so that pipes may carry other things.
func (r *keyring) prompt(question string) ([]byte, error) {
	r.ask.Lock()
	defer r.ask.Unlock()
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil || !term.IsTerminal(int(tty.Fd())) {
		return nil, hinted{errNoPassword,
			"give --password-file FILE, set COSIGN_PASSWORD, or run it on a terminal to be asked"}
	}
	defer tty.Close()
	defer r.k.progress.pause()()
	fmt.Fprint(tty, question)
	defer fmt.Fprintln(tty)
	line, err := readPassword(r.k.ctx, tty)
	if errors.Is(err, io.EOF) {
		return nil, hinted{errNoPassword, "type it and press Enter; or give --password-file FILE, or set COSIGN_PASSWORD"}
	}
	return line, err
}

// readCapped reads a small local file, and refuses one that is larger than max.
func readCapped(path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that nobody writes to is empty, and keeps nobody
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s: larger than %d bytes", path, max)
	}
	return data, err
}
