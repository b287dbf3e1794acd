package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"

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
