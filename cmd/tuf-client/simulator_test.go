package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
)

// today is the time of all tests unless they say otherwise.
var today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

type object = map[string]any

// key is a signing key: its public form, and how it signs.
type key struct {
	id   string
	form object
	sign func(message []byte) []byte
}

func newKey(t *testing.T) key { return keyOf(t, "ecdsa-sha2-nistp256") }

// keyOf makes a throw-away key for a scheme of TUF 4.2.
func keyOf(t *testing.T, scheme string) key {
	t.Helper()
	switch scheme {
	case "ed25519":
		public, private, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		return ed25519Key(t, public, private)
	case "rsassa-pss-sha256":
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		check(t, err)
		return asKey(t, "rsa", scheme, pemOf(t, private.Public()), func(message []byte) []byte {
			digest := sha256.Sum256(message)
			sig, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32})
			check(t, err)
			return sig
		})
	default:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(t, err)
		return asKey(t, "ecdsa", scheme, pemOf(t, private.Public()), func(message []byte) []byte {
			digest := sha256.Sum256(message)
			sig, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
			check(t, err)
			return sig
		})
	}
}

func ed25519Key(t *testing.T, public ed25519.PublicKey, private ed25519.PrivateKey) key {
	return asKey(t, "ed25519", "ed25519", hex.EncodeToString(public), func(message []byte) []byte { return ed25519.Sign(private, message) })
}

func pemOf(t *testing.T, public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func asKey(t *testing.T, kind, scheme, public string, sign func([]byte) []byte) key {
	return key{sign: sign}.with(t, object{"keytype": kind, "scheme": scheme, "keyval": object{"public": public}})
}

// with is the same key in another form, and so under another id.
func (k key) with(t *testing.T, form object) key {
	digest := sha256.Sum256(canonical(t, form))
	return key{id: hex.EncodeToString(digest[:]), form: form, sign: k.sign}
}

func canonical(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	check(t, err)
	form, err := cjson.EncodeCanonical(parse(t, data))
	check(t, err)
	return form
}

// parse reads JSON with its numbers as they stand.
func parse(t *testing.T, data []byte) object {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var v object
	check(t, dec.Decode(&v))
	return v
}

// repository is a small TUF repository on loopback. A test changes docs and signers, publishes roles, and looks at
// what the program asked for.
type repository struct {
	t        *testing.T
	docs     map[string]object // what the next publication of a role signs
	signers  map[string][]key
	versions map[string]int // as published last
	detailed bool           // snapshot and timestamp list lengths and digests
	flat     bool           // no consistent snapshots
	*installation

	mu        sync.Mutex                                    // guards what follows; the test alone writes files and artifacts
	files     map[string][]byte                             // metadata by name
	artifacts map[string][]byte                             // targets by path
	asked     []string                                      // metadata, without ".json"
	fetched   []string                                      // targets
	override  func(w http.ResponseWriter, name string) bool // answers in place of the simulator, if it says so
}

// newRepository publishes version 1 of the top-level roles, with a key each, and installs a client that trusts it.
func newRepository(t *testing.T) *repository {
	t.Helper()
	r := bareRepository(t)
	r.publish("root", "targets", "snapshot", "timestamp")
	r.trust(r.files["1.root.json"])
	return r
}

// newRow is newRepository for one row of a table: see installation.inside.
func newRow(t *testing.T) *repository {
	t.Helper()
	r := newRepository(t)
	r.inside = true
	return r
}

// bareRepository has published nothing yet.
func bareRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, docs: map[string]object{}, signers: map[string][]key{}, versions: map[string]int{},
		files: map[string][]byte{}, artifacts: map[string][]byte{}}
	r.docs["root"] = r.head("root", object{"consistent_snapshot": true, "keys": object{}, "roles": object{}})
	r.docs["timestamp"] = r.head("timestamp", object{"meta": object{"snapshot.json": object{"version": 1}}})
	r.docs["snapshot"] = r.head("snapshot", object{"meta": object{}})
	r.docs["targets"] = r.head("targets", object{"targets": object{}})
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		r.setKeys(role, 1, newKey(t))
	}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	r.installation = newInstallation(t, server.URL)
	return r
}

func (r *repository) head(kind string, more object) object {
	doc := object{"_type": kind, "spec_version": "1.0.31"}
	maps.Copy(doc, more)
	r.expires(doc, today.Add(30*day))
	return doc
}

func (r *repository) expires(doc object, at time.Time) { doc["expires"] = at.Format(time.RFC3339) }

// setKeys gives a top-level role its threshold and keys, which also sign it.
func (r *repository) setKeys(role string, threshold int, keys ...key) {
	r.grant(r.docs["root"]["roles"].(object), role, r.docs["root"]["keys"].(object), threshold, keys)
	r.signers[role] = keys
}

func (r *repository) grant(roles object, role string, known object, threshold int, keys []key) {
	ids := []any{}
	for _, k := range keys {
		ids = append(ids, k.id)
		known[k.id] = k.form
	}
	roles[role] = object{"keyids": ids, "threshold": threshold}
}

// delegation is one entry for delegate.
type delegation struct {
	from, to    string
	paths       []any // nil is "*"
	prefixes    []any // path_hash_prefixes, instead of paths
	terminating bool
}

// delegate adds a delegation with a key of its own, which signs the role too, and makes the role if there is none.
func (r *repository) delegate(d delegation) {
	from := r.docs[d.from]
	if from == nil {
		from = r.head("targets", object{"targets": object{}})
		r.docs[d.from] = from
	}
	if from["delegations"] == nil {
		from["delegations"] = object{"keys": object{}, "roles": []any{}}
	}
	list := from["delegations"].(object)
	k, entry := newKey(r.t), object{}
	r.grant(entry, d.to, list["keys"].(object), 1, []key{k})
	role := entry[d.to].(object)
	role["name"], role["terminating"] = d.to, d.terminating
	switch {
	case d.prefixes != nil:
		role["path_hash_prefixes"] = d.prefixes
	case d.paths != nil:
		role["paths"] = d.paths
	default:
		role["paths"] = []any{"*"}
	}
	list["roles"] = append(list["roles"].([]any), role)
	r.signers[d.to] = append(r.signers[d.to], k)
	if r.docs[d.to] == nil {
		r.docs[d.to] = r.head("targets", object{"targets": object{}})
	}
}

// addTarget lists content under a path, with the named digests, and serves it.
func (r *repository) addTarget(role, path, content string, algorithms ...string) {
	short, long := sha256.Sum256([]byte(content)), sha512.Sum512([]byte(content))
	all := object{"sha256": hex.EncodeToString(short[:]), "sha512": hex.EncodeToString(long[:]), "unheard-of": hex.EncodeToString(long[:])}
	if algorithms == nil {
		algorithms = []string{"sha256"}
	}
	hashes := object{}
	for _, algorithm := range algorithms {
		hashes[algorithm] = all[algorithm]
	}
	r.docs[role]["targets"].(object)[path] = object{"length": len(content), "hashes": hashes}
	r.serveTarget(path, content)
}

func (r *repository) serveTarget(path, content string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.artifacts[path] = []byte(content)
}

// publish signs the next version of each role, and lists it where it is to be listed.
func (r *repository) publish(roles ...string) {
	r.t.Helper()
	for _, role := range roles {
		r.versions[role]++
		r.docs[role]["version"] = r.versions[role]
		r.put(role, r.versions[role], r.seal(role))
	}
}

// publishAll is publish for the targets, snapshot and timestamp.
func (r *repository) publishAll() { r.publish("targets", "snapshot", "timestamp") }

func (r *repository) seal(role string) []byte {
	r.t.Helper()
	message := canonical(r.t, r.docs[role])
	sigs := []any{}
	for _, k := range r.signers[role] {
		sigs = append(sigs, object{"keyid": k.id, "sig": hex.EncodeToString(k.sign(message))})
	}
	file, err := json.MarshalIndent(object{"signatures": sigs, "signed": r.docs[role]}, "", " ")
	check(r.t, err)
	return file
}

// put serves a file as a version of a role and lists it.
func (r *repository) put(role string, version int, file []byte) {
	r.replace(r.name(role, version), file)
	meta := object{"version": version}
	if r.detailed {
		digest := sha256.Sum256(file)
		meta["length"], meta["hashes"] = len(file), object{"sha256": hex.EncodeToString(digest[:])}
	}
	switch role {
	case "root", "timestamp":
	case "snapshot":
		r.docs["timestamp"]["meta"].(object)["snapshot.json"] = meta
	default:
		r.docs["snapshot"]["meta"].(object)[role+".json"] = meta
	}
}

func (r *repository) name(role string, version int) string {
	escaped := strings.ReplaceAll(url.QueryEscape(role), "+", "%20") + ".json"
	if role == "timestamp" || r.flat && role != "root" {
		return escaped
	}
	return fmt.Sprintf("%d.%s", version, escaped)
}

// respoil replaces the file of a role's newest version by what spoil makes of it.
func (r *repository) respoil(role string, spoil func(envelope object)) {
	name := r.name(role, r.versions[role])
	envelope := parse(r.t, r.files[name])
	spoil(envelope)
	file, err := json.Marshal(envelope)
	check(r.t, err)
	r.replace(name, file)
}

// replace serves other bytes under a name; nil is nothing.
func (r *repository) replace(name string, file []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = file
}

// restart makes the next publication of a role version 1 again, its files forgotten.
func (r *repository) restart(role string) {
	for v := range r.versions[role] {
		r.replace(r.name(role, v+1), nil)
	}
	r.versions[role] = 0
}

// jump makes the next publication of a role come after version v.
func (r *repository) jump(role string, v int) { r.versions[role] = v }

func (r *repository) serve(w http.ResponseWriter, request *http.Request) {
	path := request.URL.EscapedPath()
	if name, ok := strings.CutPrefix(path, "/metadata/"); ok {
		r.mu.Lock()
		r.asked = append(r.asked, strings.TrimSuffix(name, ".json"))
		file := r.files[name]
		r.mu.Unlock()
		r.answer(w, name, file, file != nil)
		return
	}
	name, _ := strings.CutPrefix(path, "/targets/")
	r.mu.Lock()
	r.fetched = append(r.fetched, name)
	content, ok := r.artifacts[r.targetPath(name)]
	r.mu.Unlock()
	r.answer(w, name, content, ok)
}

func (r *repository) answer(w http.ResponseWriter, name string, data []byte, ok bool) {
	r.mu.Lock()
	override := r.override
	r.mu.Unlock()
	switch {
	case override != nil && override(w, name):
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Write(data) // an error is the client's to report
	}
}

// answering puts another answer in place of the simulator's, wherever it says so.
func (r *repository) answering(override func(w http.ResponseWriter, name string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.override = override
}

// targetPath takes the digest off the last part of a name; only a listed digest is taken.
func (r *repository) targetPath(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	last := &parts[len(parts)-1]
	if digest, rest, ok := strings.Cut(*last, "."); ok && (len(digest) == 64 || len(digest) == 128) {
		*last = rest
	}
	return strings.Join(parts, "/")
}

func (r *repository) withhold(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.artifacts, path)
}

func (r *repository) forgetRequests() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = nil
}

func (r *repository) lastAsked() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[len(r.asked)-1]
}

// targetsAsked are the requests for targets so far.
func (r *repository) targetsAsked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.fetched)
}

// wasAsked compares the requests for metadata since the last call with these.
func (r *repository) wasAsked(want ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.asked, want) {
		r.t.Fatalf("asked for %q\nwant      %q\n%s", r.asked, want, r.stderr)
	}
	r.asked = nil
}

// wasAskedBelowTop is wasAsked without the four requests of a first refresh.
func (r *repository) wasAskedBelowTop(want ...string) {
	r.t.Helper()
	r.mu.Lock()
	if len(r.asked) >= 4 {
		r.asked = r.asked[4:]
	}
	r.mu.Unlock()
	r.wasAsked(want...)
}
