package trust

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/keys"
)

// maxSignatures caps the signatures of one file, and the key ids of one role: more is an attempt to make readers work.
const maxSignatures = 1024

// Signature is one key's signature over the canonical form of a payload.
type Signature struct {
	KeyID string
	Sig   []byte
}

// Sign signs a payload, as the Payload methods give it, and checks what the signer answered.
func Sign(ctx context.Context, payload []byte, s keys.Signer) (Signature, error) {
	key, err := NewKey(s.Public())
	if err != nil {
		return Signature{}, err
	}
	message, err := canonicalPayload(payload)
	if err != nil {
		return Signature{}, fmt.Errorf("payload: %w", err)
	}
	sig, err := s.Sign(ctx, message)
	if err != nil {
		return Signature{}, fmt.Errorf("sign with key %s: %w", clip(key.ID, 12), err)
	}
	if !key.verify(message, sig) {
		return Signature{}, fmt.Errorf("sign with key %s: the signer's answer does not verify with its own public key", clip(key.ID, 12))
	}
	return Signature{KeyID: key.ID, Sig: sig}, nil
}

// ValidSignatures are those of sigs that count: made over this payload by a key of the authority, one per
// key even if it is listed under two ids. Everything else is ignored. The order is the authority's.
func ValidSignatures(payload []byte, sigs []Signature, a Authority) []Signature {
	return NewVerifier(payload).Valid(sigs, a)
}

// Verifier tells which signatures over one payload count, of many that are tried. The payload, which may be large, is taken apart
// once, and only for one that may. One at a time may ask it.
type Verifier struct {
	payload, message []byte
	err              error
}

// NewVerifier is for one payload.
func NewVerifier(payload []byte) *Verifier { return &Verifier{payload: payload} }

// Valid is ValidSignatures.
func (v *Verifier) Valid(sigs []Signature, a Authority) []Signature {
	if !slices.ContainsFunc(sigs, func(s Signature) bool { return a.Has(s.KeyID) }) {
		return nil
	}
	if v.message == nil && v.err == nil {
		v.message, v.err = canonicalPayload(v.payload)
	}
	if v.err != nil {
		return nil
	}
	return validSignatures(v.message, sigs, a)
}

func validSignatures(message []byte, sigs []Signature, a Authority) []Signature {
	var valid []Signature
	voted := map[string]bool{}
	for _, key := range a.Keys {
		if key.verify == nil || voted[key.same] {
			continue
		}
		for _, sig := range sigs {
			if sig.KeyID == key.ID && key.verify(message, sig.Sig) {
				voted[key.same] = true
				valid = append(valid, sig)
				break
			}
		}
	}
	return valid
}

// Envelope is the file as it is published: the payload and its signatures, ordered by key id. It is
// deterministic. Two signatures under one key id are refused, and so are more than readers accept.
func Envelope(payload []byte, sigs []Signature) ([]byte, error) {
	if _, err := canonicalPayload(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	sorted := slices.Clone(sigs)
	slices.SortFunc(sorted, func(a, b Signature) int { return strings.Compare(a.KeyID, b.KeyID) })
	list := make([]any, len(sorted))
	for i, sig := range sorted {
		if i > 0 && sorted[i-1].KeyID == sig.KeyID {
			return nil, fmt.Errorf("two signatures under the key id %s", clip(sig.KeyID, 12))
		}
		list[i] = signatureTree(sig)
	}
	if len(list) > maxSignatures {
		return nil, fmt.Errorf("more than %d signatures", maxSignatures)
	}
	head, err := encodeTree(list)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"signatures":`), head, []byte(`,"signed":`), payload, []byte(`}`)), nil
}

// ParseEnvelope takes a file apart without verifying anything: the payload in the form of the Payload
// methods, and the signatures. Errors are *Error of kind Malformed.
func ParseEnvelope(file []byte) (payload []byte, sigs []Signature, err error) {
	signed, sigs, err := openEnvelope(file)
	if err != nil {
		return nil, nil, &Error{Kind: Malformed, Role: "role file", Err: err}
	}
	payload, err = encodeTree(signed)
	return payload, sigs, err
}

// EncodeSignature is the content of one signature file of a proposal.
func EncodeSignature(sig Signature) ([]byte, error) {
	return encodeTree(signatureTree(sig))
}

// ParseSignature reads a signature file of a proposal. Whether the signature is valid is ValidSignatures' to say.
func ParseSignature(data []byte) (Signature, error) {
	v, err := parseStrict(data)
	if err != nil {
		return Signature{}, fmt.Errorf("signature file: %w", err)
	}
	sig, err := signatureOf(v)
	if err != nil {
		return Signature{}, fmt.Errorf("signature file: %w", err)
	}
	return sig, nil
}

func signatureTree(sig Signature) any {
	return map[string]any{"keyid": sig.KeyID, "sig": hex.EncodeToString(sig.Sig)}
}

func signatureOf(v any) (Signature, error) {
	object, _ := v.(map[string]any)
	id, okID := object["keyid"].(string)
	text, okSig := object["sig"].(string)
	if !okID || !okSig || id == "" {
		return Signature{}, errors.New(`a signature has no "keyid" or no "sig"`)
	}
	sig, err := hex.DecodeString(text)
	if err != nil {
		return Signature{}, errors.New("a signature is not hexadecimal")
	}
	return Signature{KeyID: id, Sig: sig}, nil
}

// openEnvelope reads a role file strictly: an object with "signed" and "signatures" (TUF 4.2), key ids of
// signatures unique. Other fields at this level are outside every signature, and ignored.
func openEnvelope(file []byte) (map[string]any, []Signature, error) {
	v, err := parseStrict(file)
	if err != nil {
		return nil, nil, err
	}
	object, _ := v.(map[string]any)
	signed, ok := object["signed"].(map[string]any)
	if !ok {
		return nil, nil, errors.New(`no "signed" object`)
	}
	list, ok := object["signatures"].([]any)
	if !ok {
		return nil, nil, errors.New(`no "signatures" list`)
	}
	if len(list) > maxSignatures {
		return nil, nil, fmt.Errorf("more than %d signatures", maxSignatures)
	}
	seen := map[string]bool{}
	sigs := make([]Signature, 0, len(list))
	for _, item := range list {
		sig, err := signatureOf(item)
		if err != nil {
			return nil, nil, err
		}
		if seen[sig.KeyID] {
			return nil, nil, fmt.Errorf("two signatures under the key id %s", clip(sig.KeyID, 12))
		}
		seen[sig.KeyID] = true
		sigs = append(sigs, sig)
	}
	return signed, sigs, nil
}

// parsePayload reads a payload and insists on the one form that the Payload methods write.
func parsePayload(payload []byte) (map[string]any, error) {
	v, err := parseStrict(payload)
	if err != nil {
		return nil, err
	}
	signed, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	form, err := encodeTree(signed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(form, payload) || !json.Valid(form) {
		return nil, errors.New("not in Kitchen's one form (compact, keys sorted)")
	}
	return signed, nil
}

func canonicalPayload(payload []byte) ([]byte, error) {
	signed, err := parsePayload(payload)
	if err != nil {
		return nil, err
	}
	return canonical(signed)
}
