// Package keys makes, loads and uses the keys of Kitchen's parties, in the
// formats that cosign has, so that every key and every signed report can be
// checked with stock tools.
//
// A key pair is two files:
//
//	NAME.key  one PEM block ENCRYPTED SIGSTORE PRIVATE KEY: a PKCS #8 ECDSA P-256
//	          key, encrypted with a password (scrypt, NaCl secretbox); mode 0600
//	NAME.pub  one PEM block PUBLIC KEY (RFC 7468 §13): the PKIX public key; mode 0644
//
// Signatures are ECDSA P-256 over SHA-256 of the message, ASN.1 DER. Public
// keys may be ed25519 too: such a key verifies, and never signs here, because
// cosign loads ed25519 private keys as ed25519ph, which stock verifiers of TUF
// and DSSE do not take for the same key.
//
// A signed statement is a Sigstore bundle v0.3 in JSON: a DSSE envelope with
// exactly one signature and payloadType application/vnd.in-toto+json, and as
// verification material the hint of the public key, base64(SHA-256(PKIX DER)).
// It has neither certificates nor a transparency log; who may sign what, and
// when, is decided by those who know the registry. Bundles are at most 4 MiB.
//
// Open takes a key by its name: a file, or the URI of a key that stays at a key
// service or on a PKCS #11 token (docs/KEYS.md). Which schemes there are is decided
// here, before anything is asked or started.
//
// The package keeps nothing between calls and never asks for a password
// itself: the caller passes a PasswordFunc.
package keys
