package publisher

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// pendingStore holds one proposal: the same bytes for each of its documents of a sort.
type pendingStore struct {
	storage.Store
	doc, payload, sig []byte
}

func (s *pendingStore) Open(_ context.Context, key string, _, _ int64) (io.ReadCloser, storage.Info, error) {
	data := s.payload
	switch {
	case !strings.HasPrefix(key, manifest.PendingPrefix):
		return nil, storage.Info{}, &storage.Error{Op: "open", Key: key, Err: storage.ErrNotFound}
	case strings.HasSuffix(key, "/"+manifest.ProposalName):
		data = s.doc
	case strings.Contains(key, "/sig/"):
		data = s.sig
	}
	return io.NopCloser(bytes.NewReader(data)), storage.Info{Key: key, Size: int64(len(data))}, nil
}

// proposal is a well-formed one, that recalls a release, and the view it was made on.
func proposal(t testing.TB) (v *catalog.View, doc, payload, sig []byte) {
	t.Helper()
	w := catalogtest.New(t)
	w.AddProduct("openstack")
	w.Publish("openstack@1.0.0", catalogtest.Content{})
	v = w.View()
	role, err := currentRole(v, "recalled.openstack")
	if err != nil {
		t.Fatal(err)
	}
	next := role.Clone()
	next.Version++
	next.Expires, next.ProposalExpires = w.Now.Add(90*catalogtest.Day), w.Now.Add(lifeProposal)
	next.Replaces = currentDigest(v, "recalled.openstack")
	next.Targets["recalled/openstack/1.0.0/manifest.toml"] = trust.Target{Length: 7, SHA256: strings.Repeat("ab", 32), Custom: map[string]string{"reason": "CVE"}}
	if payload, err = next.Payload(); err != nil {
		t.Fatal(err)
	}
	signature, err := trust.Sign(context.Background(), payload, w.RoleKeys["recalled.openstack"][0])
	if err != nil {
		t.Fatal(err)
	}
	if sig, err = trust.EncodeSignature(signature); err != nil {
		t.Fatal(err)
	}
	doc, err = json.Marshal(proposalDoc{Schema: proposalSchema, Kind: "recall", Summary: []string{"recall"},
		Roles: []proposalRole{{Role: "recalled.openstack", Version: next.Version, SHA256: digest(payload)}}})
	if err != nil {
		t.Fatal(err)
	}
	return v, doc, payload, sig
}

// readPending reads a proposal whose name is true to its document, whatever that says.
func readPending(t *testing.T, v *catalog.View, doc, payload, sig []byte) (*Publisher, *waiting) {
	t.Helper()
	p := &Publisher{Store: &pendingStore{doc: doc, payload: payload, sig: sig}, Now: func() time.Time { return v.Now() }}
	f := &pendingFiles{id: "recalled.openstack.2.0123456789abcdef", role: "recalled.openstack", version: 2, doc: true, sigs: map[string]map[string][]string{}}
	var said proposalDoc
	if json.Unmarshal(doc, &said) == nil && len(said.Roles) > 0 && len(said.Roles) <= maxRoles {
		f.id = said.id()
		for _, role := range said.Roles {
			f.sigs[role.Role] = map[string][]string{}
			authority, _ := v.Authority(role.Role)
			for _, key := range authority.KeyIDs() {
				f.sigs[role.Role][key] = []string{manifest.SignatureObject(f.id, role.Role, key, digest(sig))}
			}
		}
	}
	w, err := p.readProposal(context.Background(), v, f)
	if err != nil && w != nil {
		t.Fatalf("%+v with %v", w, err)
	}
	if err != nil {
		t.Fatalf("garbage is the store's error: %v", err)
	}
	if w != nil && w.id != f.id {
		t.Errorf("%s was read as %s", f.id, w.id)
	}
	return p, w
}

// FuzzProposal: nothing in pending/ breaks those who look at it. What is read is in its one form, signatures verify,
// and the change can be described and vetted.
func FuzzProposal(f *testing.F) {
	v, doc, payload, sig := proposal(f)
	f.Add(doc, payload, sig)
	f.Add(bytes.Replace(doc, []byte("recalled.openstack"), []byte("targets"), 1), payload, sig)
	f.Add(bytes.Replace(doc, []byte(`"recall"`), []byte(`"\u001b[2J"`), 1), bytes.Replace(payload, []byte("CVE"), []byte("\\u001b[2J"), 1), sig)
	f.Add(doc, payload[:len(payload)/2], []byte("{}"))
	f.Add([]byte(`{"schema":"kitchen.proposal/v1","roles":[{},{}]}`), []byte("null"), []byte("null"))
	f.Fuzz(func(t *testing.T, doc, payload, sig []byte) {
		for _, doc := range [][]byte{doc, truthful(doc, payload)} {
			p, w := readPending(t, v, doc, payload, sig)
			if w == nil {
				continue
			}
			for _, r := range w.roles {
				if again, err := encodeContent(r.name, r.next); err != nil || !bytes.Equal(again, r.payload) {
					t.Errorf("the payload of %s is not in its one form: %v", r.name, err)
				}
				if valid := trust.ValidSignatures(r.payload, r.sigs, r.signers()); len(valid) != len(r.sigs) {
					t.Errorf("%d signatures on %s, %d are valid", len(r.sigs), r.name, len(valid))
				}
			}
			_ = p.describe(context.Background(), v, w.roles)
			_ = p.vet(context.Background(), v, w.roles)
		}
	})
}

// truthful gives a document the digest of the payload, so that what is behind it is reached.
func truthful(doc, payload []byte) []byte {
	var said proposalDoc
	if json.Unmarshal(doc, &said) != nil {
		return doc
	}
	for i := range said.Roles {
		said.Roles[i].SHA256 = digest(payload)
	}
	data, err := json.Marshal(said)
	if err != nil {
		return doc
	}
	return data
}

// FuzzSeq: the order of publication is a positive number in one form.
func FuzzSeq(f *testing.F) {
	for _, seed := range []string{"1", "0", "-1", "+1", "01", "9223372036854775807", "9223372036854775808", "", "1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSeq(text); (err == nil) != (n > 0) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	})
}

// TestFuzzSeeds: the good proposal is read, with its signature, and may take effect but for its digest.
func TestFuzzSeeds(t *testing.T) {
	t.Parallel()
	v, doc, payload, sig := proposal(t)
	p, w := readPending(t, v, doc, payload, sig)
	if w == nil || len(w.roles) != 1 || !w.signed() || w.stale != "" {
		t.Fatalf("the good proposal: %+v", w)
	}
	if text := strings.Join(p.describe(context.Background(), v, w.roles), "\n"); !strings.Contains(text, "openstack@1.0.0") {
		t.Errorf("described as %q", text)
	}
}
