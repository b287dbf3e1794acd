package trust_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
)

func TestPayloadRoundTrip(t *testing.T) {
	w := newWorld(t)
	w.productDoc.Replaces = strings.Repeat("0a", 32)
	w.productDoc.ProposalExpires = now.Add(14*day + 300*time.Millisecond)
	w.productDoc.Expires = w.productDoc.Expires.In(time.FixedZone("x", 7200)).Add(300 * time.Millisecond)
	for name, doc := range map[string]*trust.Targets{"product": w.productDoc, "targets": w.targetsDoc} {
		payload, err := doc.Payload()
		check(t, err)
		again, err := trust.ParseTargetsPayload(payload)
		check(t, err)
		second, err := again.Payload()
		check(t, err)
		if !bytes.Equal(payload, second) {
			t.Errorf("%s: parse and payload again differ:\n%s\n%s", name, payload, second)
		}
	}
	payload, err := w.productDoc.Payload()
	check(t, err)
	got, err := trust.ParseTargetsPayload(payload)
	check(t, err)
	if got.Replaces != w.productDoc.Replaces || !got.ProposalExpires.Equal(now.Add(14*day)) || !got.Expires.Equal(now.Add(365*day)) ||
		got.Targets[w.manifestPath].SHA256 != w.productDoc.Targets[w.manifestPath].SHA256 ||
		!reflect.DeepEqual(got.Targets[w.manifestPath].Custom, map[string]string{"seq": "1"}) {
		t.Fatalf("came back as %+v", got)
	}
	root, err := w.rootDoc.Payload()
	check(t, err)
	back, err := trust.ParseRootPayload(root)
	check(t, err)
	if !slices.Equal(back.Roles["root"].KeyIDs(), w.rootDoc.Roles["root"].KeyIDs()) || back.Roles["root"].Keys[0].Public == nil {
		t.Fatal("root came back with other keys")
	}
}

func TestEnvelopeIsDeterministic(t *testing.T) {
	w := newWorld(t)
	payload, err := w.targetsDoc.Payload()
	check(t, err)
	var sigs []trust.Signature
	for _, s := range w.targets {
		sig, err := trust.Sign(context.Background(), payload, s)
		check(t, err)
		sigs = append(sigs, sig)
	}
	one, err := trust.Envelope(payload, sigs)
	check(t, err)
	slices.Reverse(sigs)
	two, err := trust.Envelope(payload, sigs)
	check(t, err)
	if !bytes.Equal(one, two) {
		t.Fatal("the order of signing shows in the file")
	}
	back, got, err := trust.ParseEnvelope(one)
	check(t, err)
	if !bytes.Equal(back, payload) || len(got) != 2 {
		t.Fatal("an envelope does not come apart as it was put together")
	}
	_, err = trust.Envelope(payload, append(sigs, sigs[0]))
	if err == nil {
		t.Fatal("two signatures by one key were taken")
	}
	_, err = trust.Envelope(append(payload, '\n'), sigs)
	if err == nil {
		t.Fatal("a payload in another form was taken")
	}
	file, err := trust.EncodeSignature(sigs[0])
	check(t, err)
	sig, err := trust.ParseSignature(file)
	check(t, err)
	if !reflect.DeepEqual(sig, sigs[0]) {
		t.Fatal("a signature file does not give the signature back")
	}
}

// TestNothingUnreadableIsWritten: what readers refuse, Payload refuses.
func TestNothingUnreadableIsWritten(t *testing.T) {
	type doc = interface{ Payload() ([]byte, error) }
	digest := strings.Repeat("ab", 32)
	good := trust.Meta{Version: 1, Length: 1, SHA256: digest}
	a := newSigner(t)
	delegate := func(d trust.Delegation) doc {
		return &trust.Targets{Role: "product.p", Version: 1, Expires: now, Delegations: []trust.Delegation{d}}
	}
	list := func(path string, target trust.Target) doc {
		return &trust.Targets{Role: "product.p", Version: 1, Expires: now, Targets: map[string]trust.Target{path: target}}
	}
	paths := []string{"catalog/p/*/*"}
	for name, d := range map[string]doc{
		"root without roles":           &trust.Root{Version: 1, Expires: now},
		"version 0":                    &trust.Targets{Role: "product.p", Expires: now},
		"version beyond the maximum":   &trust.Targets{Role: "product.p", Version: trust.MaxInteger + 1, Expires: now},
		"no role":                      &trust.Targets{Version: 1, Expires: now},
		"no expiry":                    &trust.Targets{Role: "product.p", Version: 1},
		"no issued time":               &trust.Timestamp{Version: 1, Expires: now, Snapshot: good},
		"issued after the expiry":      &trust.Timestamp{Version: 1, Expires: now, Issued: now.Add(time.Second), Snapshot: good},
		"timestamp without digest":     &trust.Timestamp{Version: 1, Expires: now, Issued: now, Snapshot: trust.Meta{Version: 1, Length: 1}},
		"snapshot without targets":     &trust.Snapshot{Version: 1, Expires: now, Roles: map[string]trust.Meta{"product.p": good}},
		"snapshot with a path as role": &trust.Snapshot{Version: 1, Expires: now, Roles: map[string]trust.Meta{"targets": good, "../x": good}},
		"target without digest":        list("catalog/p/1/manifest.toml", trust.Target{Length: 1}),
		"target digest in upper case":  list("catalog/p/1/manifest.toml", trust.Target{Length: 1, SHA256: strings.ToUpper(digest)}),
		"target with negative length":  list("catalog/p/1/manifest.toml", trust.Target{Length: -1, SHA256: digest}),
		"absolute target path":         list("/etc/passwd", trust.Target{Length: 1, SHA256: digest}),
		"target path that climbs":      list("catalog/../x", trust.Target{Length: 1, SHA256: digest}),
		"replaces that is no digest":   &trust.Targets{Role: "product.p", Version: 1, Expires: now, Replaces: "x"},
		"delegation without keys":      delegate(trust.Delegation{Name: "product.p", Authority: trust.Authority{Threshold: 1}, Paths: paths}),
		"delegation with threshold 0":  delegate(trust.Delegation{Name: "product.p", Authority: authority(0, a), Paths: paths}),
		"threshold beyond the keys":    delegate(trust.Delegation{Name: "product.p", Authority: authority(2, a), Paths: paths}),
		"one key twice":                delegate(trust.Delegation{Name: "product.p", Authority: authority(1, a, a), Paths: paths}),
		"delegation without paths":     delegate(trust.Delegation{Name: "product.p", Authority: authority(1, a)}),
		"delegation to root":           delegate(trust.Delegation{Name: "root", Authority: authority(1, a), Paths: paths}),
		"delegation that goes on":      delegate(trust.Delegation{Name: "product.p", Authority: authority(1, a), Paths: paths, NonTerminating: true}),
		"pattern with a class":         delegate(trust.Delegation{Name: "product.p", Authority: authority(1, a), Paths: []string{"[a-z]/*"}}),
		"a key that was never made":    delegate(trust.Delegation{Name: "product.p", Authority: trust.Authority{Keys: []trust.Key{{}}, Threshold: 1}, Paths: paths}),
	} {
		t.Run(name, func(t *testing.T) {
			if payload, err := d.Payload(); err == nil {
				t.Fatalf("written: %s", payload)
			}
		})
	}
}

func TestScopeCheckedBeforeSigning(t *testing.T) {
	w := newWorld(t)
	check(t, trust.CheckScope(w.productDoc, w.targetsDoc.Delegations[0]))
	wantKind(t, trust.CheckScope(w.productDoc, w.targetsDoc.Delegations[1]), trust.OutOfScope)
}

// liar answers with somebody else's signature.
type liar struct{ *signer }

func (l liar) Sign(context.Context, []byte) ([]byte, error) { return []byte("not a signature"), nil }

type broken struct{ *signer }

var errBroken = errors.New("token removed")

func (b broken) Sign(context.Context, []byte) ([]byte, error) { return nil, errBroken }

func TestSignerThatLies(t *testing.T) {
	w := newWorld(t)
	payload, err := w.productDoc.Payload()
	check(t, err)
	var s keys.Signer = liar{w.engineer}
	if _, err := trust.Sign(context.Background(), payload, s); err == nil {
		t.Fatal("a wrong signature was taken")
	}
	if _, err := trust.Sign(context.Background(), payload, broken{w.engineer}); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	if _, err := trust.NewKey(nil); err == nil {
		t.Fatal("no key was taken for one")
	}
}

func TestCloneIsDeep(t *testing.T) {
	w := newWorld(t)
	before, err := w.targetsDoc.Payload()
	check(t, err)
	c := w.targetsDoc.Clone()
	c.Delegations[0].Paths[0] = "x/*"
	c.Delegations[0].Keys[0] = newSigner(t).key
	c.Targets["x"] = trust.Target{}
	p := w.productDoc.Clone()
	p.Targets[w.manifestPath].Custom["seq"] = "9"
	r := w.rootDoc.Clone()
	r.Roles["root"].Keys[0] = newSigner(t).key
	r.Roles["targets"] = trust.Authority{}
	after, err := w.targetsDoc.Payload()
	check(t, err)
	if !bytes.Equal(before, after) || w.productDoc.Targets[w.manifestPath].Custom["seq"] != "1" ||
		w.rootDoc.Roles["root"].Keys[0].ID != w.root[0].key.ID || w.rootDoc.Roles["targets"].Threshold != 2 {
		t.Fatal("a change to the copy reached the original")
	}
}

// TestRolesOfAProposalHaveOneForm: sorted, two at least, one space between; anything else is no payload of Kitchen's.
func TestRolesOfAProposalHaveOneForm(t *testing.T) {
	w := newWorld(t)
	c := w.targetsDoc.Clone()
	c.ProposalRoles = trust.JoinRoles([]string{"targets", "registry", "targets"})
	payload, err := c.Payload()
	check(t, err)
	for form, fits := range map[string]bool{"registry targets": true, "targets registry": false, "targets": false, "registry  targets": false, "registry registry": false} {
		next, err := trust.ParseTargetsPayload(bytes.Replace(payload, []byte(`"registry targets"`), []byte(`"`+form+`"`), 1))
		if err == nil {
			_, err = next.Payload()
		}
		if (err == nil) != fits {
			t.Errorf("%q: %v", form, err)
		}
	}
}
