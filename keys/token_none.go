//go:build !(pkcs11key && cgo)

package keys

import "crypto"

// withoutToken says that this program has no PKCS #11, which takes C.
var withoutToken = &BadName{Reason: "this kitchen is built without PKCS #11",
	hint: "build one that has it, with a C compiler: make build-pkcs11 (bin/kitchen-pkcs11)"}

// openToken is never called: withoutToken comes before.
func openToken(string, *tokenURI, PasswordFunc) (crypto.PublicKey, signFunc, error) {
	return nil, nil, withoutToken
}
