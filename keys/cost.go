package keys

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/sigstore/cosign/v2/pkg/cosign"
)

// What a key file may ask for before its password is known to be right or wrong: some seconds of one core, and this much
// memory. The file itself says what it takes, and whoever wrote it may be anybody.
const (
	maxScrypt = 256 << 20  // bytes, and work of as many. cosign asks for 64 MiB to 128 MiB, OpenSSL for 16 MiB
	maxRounds = 10_000_000 // of PBKDF2. OpenSSL asks for 2048, the careful for a million
)

var oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

// TooCostly is a key file that asks for more work or memory than opening a key takes. Nothing of it was done.
type TooCostly struct {
	Path   string
	Asks   string // "scrypt with N=…"
	AtMost string
}

func (e *TooCostly) Error() string {
	return fmt.Sprintf("the key file %s asks for %s to try a password, and at most %s are done", e.Path, e.Asks, e.AtMost)
}

// Hint says what to do with it.
func (e *TooCostly) Hint() string {
	return "no tool writes such a file by itself: where is it from? A key that is yours can be written anew where it was made, with the tool's own settings"
}

// checkCost refuses what a key file asks for to turn its password into a key, before anything is derived. A file whose
// parameters cannot be read is left to the library, which does not read them either.
func checkCost(path string, block *pem.Block) error {
	switch block.Type {
	case cosign.SigstorePrivateKeyPemType, cosign.CosignPrivateKeyPemType:
		var file struct {
			KDF struct {
				Params struct{ N, R, P int64 } `json:"params"`
			} `json:"kdf"`
		}
		if json.Unmarshal(block.Bytes, &file) == nil {
			return checkScrypt(path, file.KDF.Params.N, file.KDF.Params.R, file.KDF.Params.P)
		}
	case "ENCRYPTED PRIVATE KEY":
		return checkPKCS8(path, block.Bytes)
	}
	return nil
}

// checkPKCS8 looks for the parameters of PBES2 (RFC 8018 appendix A.4, RFC 7914 section 7), the only scheme that is opened.
func checkPKCS8(path string, der []byte) error {
	var file struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	var scrypt struct { // more may follow in both: the library does not read it
		Salt    []byte
		N, R, P int64
	}
	var pbkdf2 struct {
		Salt   []byte
		Rounds int64
	}
	if _, err := asn1.Unmarshal(der, &file); err != nil {
		return nil //nolint:nilerr // see checkCost
	}
	if _, err := asn1.Unmarshal(file.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil //nolint:nilerr // see checkCost
	}
	parameters := scheme.KDF.Parameters.FullBytes
	if scheme.KDF.Algorithm.Equal(oidScrypt) {
		if _, err := asn1.Unmarshal(parameters, &scrypt); err == nil {
			return checkScrypt(path, scrypt.N, scrypt.R, scrypt.P)
		}
	} else if _, err := asn1.Unmarshal(parameters, &pbkdf2); err == nil && pbkdf2.Rounds > maxRounds {
		return &TooCostly{path, fmt.Sprintf("%d rounds of PBKDF2", pbkdf2.Rounds), fmt.Sprint(maxRounds)}
	}
	return nil
}

// checkScrypt counts what scrypt fills: 128·(N·r + 2·r + p·r) bytes; and what it does, which grows with N·r·p.
func checkScrypt(path string, n, r, p int64) error {
	const most = maxScrypt / 128
	if n > most || r > most || p > most || n > 0 && r > 0 && p > 0 && (n*r > most || p*r > most || n*r*p > most || n*r+2*r+p*r > most) {
		return &TooCostly{path, fmt.Sprintf("scrypt with N=%d, r=%d, p=%d", n, r, p), fmt.Sprintf("%d MiB", maxScrypt>>20)}
	}
	return nil
}
