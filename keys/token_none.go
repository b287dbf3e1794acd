//go:build !(pkcs11key && cgo)

package keys

import "crypto"

// openToken says that this program has no PKCS #11, which takes C.
func openToken(name string, _ *tokenURI, _ PasswordFunc) (crypto.PublicKey, signFunc, error) {
	return nil, nil, &BadName{Name: Shown(name), Reason: "this kitchen is built without PKCS #11",
		hint: "build one that has it, with a C compiler: make build-pkcs11 (bin/kitchen-pkcs11)"}
}
