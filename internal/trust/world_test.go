package trust_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// now is the time of all tests unless they say otherwise.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// signer is a throw-away P-256 key.
type signer struct {
	priv *ecdsa.PrivateKey
	pub  *keys.Public
	key  trust.Key
}

func (s *signer) Public() *keys.Public { return s.pub }

func (s *signer) Sign(_ context.Context, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, s.priv, digest[:])
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	pub := public(t, priv.Public())
	key, err := trust.NewKey(pub)
	check(t, err)
	return &signer{priv: priv, pub: pub, key: key}
}

func public(t testing.TB, key crypto.PublicKey) *keys.Public {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	check(t, err)
	pub, err := keys.ParsePublic(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	check(t, err)
	return pub
}

func authority(threshold int, signers ...*signer) trust.Authority {
	a := trust.Authority{Threshold: threshold}
	for _, s := range signers {
		a.Keys = append(a.Keys, s.key)
	}
	return a
}

// world is a small catalog whose parts a test may spoil one by one.
type world struct {
	t                       testing.TB
	root, targets           []*signer
	online, engineer, ci    *signer
	rootDoc                 *trust.Root
	targetsDoc, productDoc  *trust.Targets
	rootFile                []byte
	roles                   map[string][]byte // role files
	versions                map[string]int64  // their versions as the snapshot lists them
	snapshotFile, timestamp []byte
	snapshotNo, timestampNo int64
	timestampLife, snapLife time.Duration
	issued                  time.Time
	manifestBytes           []byte
	manifestPath            string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, online: newSigner(t), engineer: newSigner(t), ci: newSigner(t),
		roles: map[string][]byte{}, versions: map[string]int64{}, snapshotNo: 1, timestampNo: 1,
		timestampLife: 7 * day, snapLife: 30 * day, issued: now,
		manifestBytes: []byte("product = \"openstack\"\n"), manifestPath: "catalog/openstack/2.1.0/manifest.toml"}
	for range 3 {
		w.root = append(w.root, newSigner(t))
	}
	w.targets = []*signer{newSigner(t), newSigner(t)}
	w.rootDoc = &trust.Root{Version: 1, Expires: now.Add(365 * day), Roles: map[string]trust.Authority{
		"root": authority(2, w.root...), "targets": authority(2, w.targets...),
		"snapshot": authority(1, w.online), "timestamp": authority(1, w.online)}}
	w.rootFile = w.seal(w.rootDoc, w.root[0], w.root[1])
	w.targetsDoc = &trust.Targets{Role: "targets", Version: 1, Expires: now.Add(365 * day), Delegations: []trust.Delegation{
		{Name: "product.openstack", Authority: authority(1, w.engineer), Paths: []string{"catalog/openstack/*/*"}},
		{Name: "validated.openstack", Authority: authority(1, w.ci), Paths: []string{"validated/openstack/*/*"}}}}
	digest := sha256.Sum256(w.manifestBytes)
	w.productDoc = &trust.Targets{Role: "product.openstack", Version: 1, Expires: now.Add(365 * day), Targets: map[string]trust.Target{
		w.manifestPath: {Length: int64(len(w.manifestBytes)), SHA256: hex.EncodeToString(digest[:]), Custom: map[string]string{"seq": "1"}}}}
	w.sealTargets()
	w.sealProduct()
	w.sealOnline()
	return w
}

func (w *world) sealTargets() {
	w.put("targets", w.targetsDoc.Version, w.seal(w.targetsDoc, w.targets...))
}

func (w *world) sealProduct() {
	w.put("product.openstack", w.productDoc.Version, w.seal(w.productDoc, w.engineer))
}

func (w *world) put(role string, version int64, file []byte) {
	w.roles[role], w.versions[role] = file, version
}

// sealOnline writes snapshot and timestamp over the role files as they are.
func (w *world) sealOnline() {
	doc := &trust.Snapshot{Version: w.snapshotNo, Expires: w.issued.Add(w.snapLife), Roles: map[string]trust.Meta{}}
	for role, file := range w.roles {
		doc.Roles[role] = trust.MetaOf(w.versions[role], file)
	}
	w.snapshotFile = w.seal(doc, w.online)
	w.sealTimestamp()
}

func (w *world) sealTimestamp() {
	w.timestamp = w.seal(&trust.Timestamp{Version: w.timestampNo, Expires: w.issued.Add(w.timestampLife), Issued: w.issued,
		Snapshot: trust.MetaOf(w.snapshotNo, w.snapshotFile)}, w.online)
}

// commit is the next snapshot and timestamp.
func (w *world) commit() {
	w.snapshotNo++
	w.timestampNo++
	w.sealOnline()
}

type document interface{ Payload() ([]byte, error) }

func (w *world) seal(doc document, signers ...*signer) []byte {
	w.t.Helper()
	payload, err := doc.Payload()
	check(w.t, err)
	var sigs []trust.Signature
	for _, s := range signers {
		sig, err := trust.Sign(context.Background(), payload, s)
		check(w.t, err)
		sigs = append(sigs, sig)
	}
	file, err := trust.Envelope(payload, sigs)
	check(w.t, err)
	return file
}

// forge signs anything: the content of file after spoil, by real keys, as a thief or a careless writer would.
func (w *world) forge(file []byte, spoil func(signed map[string]any), signers ...*signer) []byte {
	w.t.Helper()
	signed := tree(w.t, file)["signed"].(map[string]any)
	spoil(signed)
	return sealTree(w.t, signed, signers...)
}

func sealTree(t testing.TB, signed map[string]any, signers ...*signer) []byte {
	t.Helper()
	message, err := cjson.EncodeCanonical(signed)
	check(t, err)
	sigs := []any{}
	for _, s := range signers {
		raw, err := s.Sign(context.Background(), message)
		check(t, err)
		sigs = append(sigs, map[string]any{"keyid": s.key.ID, "sig": hex.EncodeToString(raw)})
	}
	return marshal(t, map[string]any{"signed": signed, "signatures": sigs})
}

func tree(t testing.TB, file []byte) map[string]any {
	t.Helper()
	var object map[string]any
	check(t, json.Unmarshal(file, &object))
	return object
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	check(t, err)
	return data
}

// putForged replaces a role by forged content and commits it.
func (w *world) putForged(role string, spoil func(map[string]any), signers ...*signer) {
	w.put(role, w.versions[role], w.forge(w.roles[role], spoil, signers...))
	w.sealOnline()
}

// forgeSnapshot and forgeTimestamp spoil what the online key signs.
func (w *world) forgeSnapshot(spoil func(map[string]any)) {
	w.snapshotFile = w.forge(w.snapshotFile, spoil, w.online)
	w.sealTimestamp()
}

func (w *world) forgeTimestamp(spoil func(map[string]any)) {
	w.timestamp = w.forge(w.timestamp, spoil, w.online)
}

// read runs a whole session over the world as it is.
func (w *world) read(s *trust.Session, err error) error {
	if err != nil {
		return err
	}
	if err := s.FinishRoots(); err != nil {
		return err
	}
	if err := s.UpdateTimestamp(w.timestamp); err != nil {
		return err
	}
	return w.readBelow(s)
}

func (w *world) readBelow(s *trust.Session) error {
	if err := s.UpdateSnapshot(w.snapshotFile, false); err != nil {
		return err
	}
	for _, role := range []string{"targets", "product.openstack"} {
		if err := s.UpdateRole(role, w.roles[role]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) fresh() error { return w.read(trust.Start(w.rootFile, now)) }

// remembering is a session that has been given what files remember.
func (w *world) remembering(old memory) (*trust.Session, error) {
	s, err := trust.Start(w.rootFile, now)
	if err != nil {
		return nil, err
	}
	if err := s.FinishRoots(); err != nil {
		return nil, err
	}
	if err := s.UpdateTimestamp(old.timestamp); err != nil && kindOf(err) != trust.Expired {
		return nil, err
	}
	if err := s.UpdateTimestamp(w.timestamp); err != nil {
		return nil, err
	}
	if err := s.UpdateSnapshot(old.snapshot, true); err != nil && kindOf(err) != trust.Mismatch {
		return nil, err
	}
	return s, nil
}

type memory struct{ timestamp, snapshot []byte }

func (w *world) memory() memory { return memory{w.timestamp, w.snapshotFile} }

// after reads the world as one who remembers old.
func (w *world) after(old memory) error {
	s, err := w.remembering(old)
	if err != nil {
		return err
	}
	return w.readBelow(s)
}

func kindOf(err error) trust.Kind {
	var e *trust.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func wantKind(t testing.TB, err error, kind trust.Kind) {
	t.Helper()
	if got := kindOf(err); got != kind {
		t.Fatalf("got %q (%v), want %q", got, err, kind)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// foreignKeys are one key of each kind that other repositories use, with a way to sign.
func foreignKeys(t testing.TB) map[string]foreignKey {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return map[string]foreignKey{
		"ed25519": foreign(t, ed.Public(), func(m []byte) []byte { return ed25519.Sign(ed, m) }),
		"rsassa-pss-sha256": foreign(t, rs.Public(), func(m []byte) []byte {
			d := sha256.Sum256(m)
			sig, err := rsa.SignPSS(rand.Reader, rs, crypto.SHA256, d[:], nil)
			check(t, err)
			return sig
		}),
		"ecdsa-sha2-nistp256": foreign(t, ec.Public(), func(m []byte) []byte {
			d := sha256.Sum256(m)
			sig, err := ecdsa.SignASN1(rand.Reader, ec, d[:])
			check(t, err)
			return sig
		}),
	}
}

type foreignKey struct {
	id   string
	form map[string]any
	sign func([]byte) []byte
}

func foreign(t testing.TB, pub crypto.PublicKey, sign func([]byte) []byte) foreignKey {
	t.Helper()
	wire, err := metadata.KeyFromPublicKey(pub)
	check(t, err)
	return foreignKey{id: must(wire.ID()), form: tree(t, marshal(t, wire)), sign: sign}
}

func (k foreignKey) seal(t testing.TB, signed map[string]any) []byte {
	t.Helper()
	message, err := cjson.EncodeCanonical(signed)
	check(t, err)
	return marshal(t, map[string]any{"signed": signed, "signatures": []any{
		map[string]any{"keyid": k.id, "sig": hex.EncodeToString(k.sign(message))}}})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keyID is the id of a key in the given form.
func keyID(t testing.TB, form map[string]any) string {
	t.Helper()
	data, err := cjson.EncodeCanonical(form)
	check(t, err)
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// head is the part all foreign role files share.
func head(typ string, version int, more map[string]any) map[string]any {
	object := map[string]any{"_type": typ, "spec_version": "1.0.31", "version": version, "expires": "2027-01-01T00:00:00Z"}
	maps.Copy(object, more)
	return object
}
