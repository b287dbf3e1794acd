package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/keys/keystest"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdVault starts a stand-in for Vault with such keys, and tells it to the commands of the script.
func cmdVault(ts *testscript.TestScript, neg bool, args []string) {
	v := keystest.StartVault()
	ts.Defer(v.Close)
	for _, name := range args {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		v.Add(name, key)
	}
	ts.Setenv("VAULT_ADDR", v.URL)
	ts.Setenv("VAULT_TOKEN", keystest.Token)
}

// TestAKeyServiceThatComesBack: what a watch could not open is asked for again; what is open is not fetched again.
func TestAKeyServiceThatComesBack(t *testing.T) {
	v := keystest.StartVault()
	defer v.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v.Add("site", key)
	t.Setenv("VAULT_ADDR", v.URL)
	t.Setenv("VAULT_TOKEN", keystest.Token)
	k := newKitchen()
	k.ctx = t.Context()
	v.Seal(true)
	var away *keys.Unavailable
	if _, err := k.keys.signer("hashivault://site"); !errors.As(err, &away) {
		t.Fatalf("sealed: %v", err)
	}
	v.Seal(false)
	before := len(v.Calls())
	for range 3 {
		s, err := k.keys.signer("hashivault://site")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if calls := v.Calls()[before:]; len(calls) != 4 {
		t.Errorf("one public key and three signatures took %q", calls)
	}
}

// TestAFileWhosePasswordIsWrongIsNotTriedAgain: nobody is asked twice.
func TestAFileWhosePasswordIsWrongIsNotTriedAgain(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "k")
	if _, err := keys.Generate(prefix, []byte("right")); err != nil {
		t.Fatal(err)
	}
	k := newKitchen()
	k.ctx = t.Context()
	asked := 0
	k.lookupEnv = func(string) (string, bool) { asked++; return "wrong", true }
	for range 2 {
		var wrong *keys.WrongPassword
		if _, err := k.keys.open([]string{prefix + ".key"}); !errors.As(err, &wrong) {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
