package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// MaxBundle is the size of a bundle, in bytes.
const MaxBundle = 4 << 20

const (
	payloadType = "application/vnd.in-toto+json"
	mediaType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// BadSignature reports bytes that are not a statement signed by the key asked for.
type BadSignature struct {
	Reason string
	Have   string // hint of the key the bundle names, empty when it names none
	Want   string // hint of the key asked for
	Err    error  // the cause, may be nil
}

func (e *BadSignature) Error() string {
	text := "bad signature: " + e.Reason
	if e.Have != "" && e.Have != e.Want {
		text += fmt.Sprintf(" (it names key %s, wanted is %s)", e.Have, e.Want)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *BadSignature) Unwrap() error { return e.Err }

// Hint mentions the innocent causes too.
func (e *BadSignature) Hint() string {
	return "the file was changed or cut short, or another key signed it than the one on record; compare key ids with the signer"
}

// SignStatement signs an in-toto statement into a Sigstore bundle v0.3 (JSON).
// Store these bytes as they are: signing again, or rendering the same bundle
// again, gives others.
func SignStatement(ctx context.Context, s Signer, statement []byte) ([]byte, error) {
	content := &sign.DSSEData{Data: statement, PayloadType: payloadType}
	signed, err := sign.Bundle(content, keypair{s}, sign.BundleOptions{Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	loose, err := protojson.Marshal(signed)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	var out bytes.Buffer // protojson varies its blanks on purpose
	if err := json.Compact(&out, loose); err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	out.WriteByte('\n')
	if out.Len() > MaxBundle {
		return nil, fmt.Errorf("the signed statement is larger than 4 MiB")
	}
	return out.Bytes(), nil
}

// VerifyStatement checks that a bundle holds a statement signed by pub, and
// returns the statement exactly as signed. Any error is a *BadSignature. What
// the statement says, and whether the key was valid when it was made, is not
// looked at: no time in a bundle is trusted.
func VerifyStatement(data []byte, pub *Public) ([]byte, error) {
	bad := &BadSignature{Want: pub.Hint()}
	fail := func(reason string, err error) ([]byte, error) {
		bad.Reason, bad.Err = reason, err
		return nil, bad
	}
	if len(data) > MaxBundle {
		return fail("the bundle is larger than 4 MiB", nil)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); errors.Is(err, bundle.ErrUnsupportedMediaType) {
		return fail(fmt.Sprintf("not a Sigstore bundle of media type %s", mediaType), nil)
	} else if err != nil {
		return fail("not a Sigstore bundle", err)
	}
	if b.MediaType != mediaType {
		return fail(fmt.Sprintf("media type %q is not %s", b.MediaType, mediaType), nil)
	}
	material := b.GetVerificationMaterial()
	if material.GetPublicKey() == nil || len(material.GetTlogEntries()) > 0 || material.GetTimestampVerificationData() != nil {
		return fail("the bundle is not one signed with a plain key", nil)
	}
	bad.Have = material.GetPublicKey().GetHint()
	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != payloadType {
		return fail("the bundle holds no in-toto statement", nil)
	}
	if err := verifyWith(&b, pub); err != nil {
		return fail("the signature does not verify", err)
	}
	return envelope.GetPayload(), nil
}

// verifyWith runs Sigstore's verifier with one trusted key, without times and
// without an artifact: the statement's subject is the caller's to compare.
func verifyWith(b *bundle.Bundle, pub *Public) error {
	key, err := signature.LoadVerifier(pub.key, crypto.SHA256)
	if err != nil {
		return err
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
	})
	verifier, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return err
	}
	_, err = verifier.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey()))
	return err
}

// keypair is a Signer as sigstore-go wants it.
type keypair struct{ s Signer }

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k keypair) GetHint() []byte                  { return []byte(k.s.Public().Hint()) }
func (k keypair) GetKeyAlgorithm() string          { return "ECDSA" }
func (k keypair) GetPublicKey() crypto.PublicKey   { return k.s.Public().Key() }
func (k keypair) GetPublicKeyPem() (string, error) { return k.s.Public().PEM(), nil }

// SignData returns the signature and the digest that was signed.
func (k keypair) SignData(ctx context.Context, data []byte) ([]byte, []byte, error) {
	sig, err := k.s.Sign(ctx, data)
	digest := sha256.Sum256(data)
	return sig, digest[:], err
}
