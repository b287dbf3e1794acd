package publisher_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// nova is a change of targets that waits for a second root holder, as a file.
func (w *world) nova(t *testing.T) (id string, file *publisher.SigningFile) {
	t.Helper()
	req := publisher.ProductRequest{Name: "nova", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA, w.certB)}
	id = must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(w.root[0]))).Proposal
	return id, w.export(t, "targets")
}

// refusesFile wants a signer's machine to refuse a file, and to add nothing to it.
func (w *world) refusesFile(t *testing.T, f *publisher.SigningFile, state string) error {
	t.Helper()
	before := len(f.Objects)
	_, err := w.airgap(t, f, state).SignFile(ctx, f, nil, signers(w.root[1]))
	if err == nil {
		t.Fatal("the file was signed")
	}
	if len(f.Objects) != before {
		t.Fatalf("refused (%v), and something was added", err)
	}
	return err
}

// refusesHome wants the catalog to take nothing from a file.
func (w *world) refusesHome(t *testing.T, f *publisher.SigningFile) error {
	t.Helper()
	before := w.objects(t)
	err := w.refused(t, func() error { _, err := w.publisher(t, w.online).TakeSignatures(ctx, f); return err })
	if after := w.objects(t); !slices.Equal(before, after) {
		t.Fatalf("refused (%v), and the catalog has %d objects instead of %d", err, len(after), len(before))
	}
	return err
}

func TestSigningFileWithAnAlteredPayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	key := manifest.ProposalObject(id, manifest.PayloadName("targets"))
	file.Objects[key] = bytes.Replace(file.Objects[key], []byte("product.nova"), []byte("product.nava"), 1)
	wantError[*publisher.Refused](t, w.refusesFile(t, carried(t, file), t.TempDir()), id, "altered")
}

// The change of a file is replaced as a whole, by one that is well formed, and the first signer's signature kept.
func TestSigningFileWithAnotherChangeUnderTheOldSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	forged := w.copy(t)
	evil := forged.craft(t, crafted{role: "targets", edit: func(next *trust.Targets) {
		next.Delegations[0].Threshold = 1
		next.Delegations[0].Keys = []trust.Key{w.stranger.TUF}
	}})
	for key, data := range forged.pendingFiles(t, evil) {
		file.Objects[key] = data
	}
	for key, data := range maps.Clone(file.Objects) {
		if name, ok := strings.CutPrefix(key, manifest.PendingPrefix+id+"/"); ok {
			delete(file.Objects, key)
			if strings.HasPrefix(name, "sig/") {
				file.Objects[manifest.PendingPrefix+evil+"/"+name] = data
			}
		}
	}
	wantError[*publisher.Refused](t, w.refusesFile(t, carried(t, file), t.TempDir()), "no signature by anybody who may")
}

func TestSigningFileWithWordsThatLie(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	key := manifest.ProposalObject(id, manifest.ProposalName)
	var doc map[string]any
	check(t, json.Unmarshal(file.Objects[key], &doc))
	doc["kind"], doc["summary"] = "renew", []string{"targets: signed again, nothing else"}
	lying, err := json.Marshal(doc)
	check(t, err)
	file.Objects[key] = lying
	file.Catalog, file.Role = "s3://the-real-one/", "targets"
	asked := 0
	must(t, publisher.Declined)(w.airgap(t, file, t.TempDir()).SignFile(ctx, file, func(shown publisher.PendingProposal) (bool, error) {
		asked++
		if text := strings.Join(shown.Change, "\n"); !strings.Contains(text, "new role product.nova") || strings.Contains(text, "nothing else") {
			t.Errorf("the signer is shown %q", text)
		}
		return false, nil
	}, signers(w.root[1])))
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// A proposal that no number of signatures lets take effect is not offered without a network either.
func TestSigningFileWithAChangeAgainstTheRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, file := w.nova(t)
	id := w.craft(t, crafted{role: "targets", edit: func(next *trust.Targets) { next.Delegations = next.Delegations[1:] }, signers: signers(w.root[0])})
	maps.DeleteFunc(file.Objects, func(key string, _ []byte) bool { return strings.HasPrefix(key, manifest.PendingPrefix) })
	maps.Copy(file.Objects, w.pendingFiles(t, id))
	wantError[*publisher.Refused](t, w.refusesFile(t, carried(t, file), t.TempDir()), "would be dropped")
}

func TestSigningFileOlderThanWhatTheSignerSaw(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, old := w.nova(t)
	mustCommit(t)(w.publisher(t, w.online).AddCustomer(ctx, publisher.CustomerRequest{Name: "globex"}, signers(w.admin)))
	state := t.TempDir()
	newer := w.export(t, "targets")
	must(t, publisher.Pending)(w.airgap(t, newer, state).SignFile(ctx, newer, nil, signers(w.root[2])))
	if refused := wantError[*trust.Error](t, w.refusesFile(t, old, state)); refused.Kind != trust.Rollback {
		t.Errorf("%v", refused)
	}
}

func TestSigningFileOfAnotherCatalog(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), empty(t)
	check(t, other.initialize(other.store))
	other.fingerprint = catalog.Fingerprint(other.object(t, "metadata/1.root.json"))
	_, file := other.nova(t)
	wantError[*catalog.PinMismatch](t, w.refusesFile(t, file, t.TempDir()))
	wantError[*publisher.Refused](t, w.refusesHome(t, file), "is not in this catalog")
}

// What was signed in time is brought in late, or the file never left in time.
func TestSigningFileThatIsOutOfDate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, file := w.nova(t)
	signed := w.signFile(t, carried(t, file), w.root[1])
	w.now = w.now.Add(8 * catalogtest.Day) // beyond the timestamp's week
	if refused := wantError[*trust.Error](t, w.refusesFile(t, file, t.TempDir())); refused.Kind != trust.Expired {
		t.Errorf("%v", refused)
	}
	commit(t, w.publisher(t, w.online)) // revives the timestamp
	w.now = w.now.Add(7 * catalogtest.Day)
	commit(t, w.publisher(t, w.online))
	wantError[*publisher.Refused](t, w.refusesHome(t, signed), "lapsed")
}

func TestSigningFileWhoseChangeIsStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	signed := w.signFile(t, file, w.root[1])
	other := publisher.ProductRequest{Name: "swift", Engineers: publics(w.engineer), Validators: publics(w.validator), Certifiers: publics(w.certA, w.certB)}
	mustCommit(t)(w.publisher(t, w.online).AddProduct(ctx, other, signers(w.root[1:]...)))
	wantError[*publisher.Refused](t, w.refusesHome(t, signed), id, "targets changed meanwhile")
}

// Everything took effect, and the file comes again: to the catalog, and to the signer, who saw what came after.
func TestSigningFileReplayedAfterItTookEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	signed := w.signFile(t, carried(t, file), w.root[1])
	mustCommit(t)(w.publisher(t, w.online).TakeSignatures(ctx, signed))
	before := w.objects(t)
	out := must(t, publisher.Unchanged)(w.publisher(t, w.online).TakeSignatures(ctx, signed))
	if !strings.Contains(strings.Join(out.Summary, "\n"), id+" took effect already") || !slices.Equal(before, w.objects(t)) {
		t.Errorf("%+v", out)
	}
	state := t.TempDir()
	must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, publisher.ProductRequest{Name: "swift", Engineers: publics(w.engineer),
		Validators: publics(w.validator), Certifiers: publics(w.certA, w.certB)}, signers(w.root[0])))
	newer := w.export(t, "targets")
	must(t, publisher.Pending)(w.airgap(t, newer, state).SignFile(ctx, newer, nil, signers(w.root[1])))
	if refused := wantError[*trust.Error](t, w.refusesFile(t, file, state)); refused.Kind != trust.Rollback {
		t.Errorf("%v", refused)
	}
}

// Signatures that are none, in a file that comes back: by a stranger, under a holder's name, over another change.
func TestSigningFileWithSignaturesThatAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, file := w.nova(t)
	payload := file.Objects[manifest.ProposalObject(id, manifest.PayloadName("targets"))]
	maps.DeleteFunc(file.Objects, func(key string, _ []byte) bool { return strings.Contains(key, "/sig/") })
	sign := func(payload []byte, by keys.Signer) trust.Signature {
		sig, err := trust.Sign(ctx, payload, by)
		check(t, err)
		return sig
	}
	other := &trust.Targets{Role: "targets", Version: 9, Expires: w.now.Add(catalogtest.Day)}
	another, err := other.Payload()
	check(t, err)
	for name, sig := range map[string]trust.Signature{
		w.stranger.TUF.ID: sign(payload, w.stranger),
		w.root[1].TUF.ID:  {KeyID: w.root[1].TUF.ID, Sig: sign(payload, w.stranger).Sig},
		w.root[2].TUF.ID:  sign(another, w.root[2]),
	} {
		data, err := trust.EncodeSignature(sig)
		check(t, err)
		file.Objects[manifest.SignatureObject(id, "targets", name, catalogtest.Digest(data))] = data
	}
	wantError[*publisher.Refused](t, w.refusesHome(t, carried(t, file)), short(w.stranger), short(w.root[1]), short(w.root[2]), "does not count")
	wantError[*publisher.Refused](t, w.refusesFile(t, file, t.TempDir()), "no signature by anybody who may")
	// A good one among them counts, and none of them comes along.
	file.Objects[manifest.SignatureObject(id, "targets", w.root[1].TUF.ID, strings.Repeat("a", 64))], err = trust.EncodeSignature(sign(payload, w.root[1]))
	check(t, err)
	mustCommit(t)(w.publisher(t, w.online).TakeSignatures(ctx, file))
	for key := range w.pendingFiles(t, id) {
		if strings.Contains(key, w.stranger.TUF.ID) || strings.Contains(key, w.root[2].TUF.ID) {
			t.Errorf("%s came along", key)
		}
	}
}

func TestSigningFileForAKeyThatHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, file := w.nova(t)
	_, err := w.airgap(t, file, t.TempDir()).SignFile(ctx, file, nil, signers(w.stranger))
	wantError[*publisher.NotAuthorized](t, err, short(w.stranger))
}

// The file says that artifacts are in the store that are not: the signer cannot know, the committer does.
func TestSigningFileThatClaimsArtifacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	file := w.export(t, productRole)
	if len(file.Sizes) == 0 {
		t.Fatal("the file names no artifact")
	}
	signed := w.signFile(t, file, w.colleague)
	for key := range signed.Sizes {
		check(t, w.store.Delete(ctx, key))
	}
	wantError[*publisher.Refused](t, w.refused(t, func() error { _, err := w.publisher(t, w.online).TakeSignatures(ctx, signed); return err }), "is not in the store")
	if len(w.pendingFiles(t, id)) == 0 {
		t.Error("the proposal is gone")
	}
}

// Cut at any byte, in any other form, with names that no catalog has, or without end.
func TestWhatIsNoSigningFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, file := w.nova(t)
	good, err := file.Encode()
	check(t, err)
	refuse := func(what string, data []byte) {
		t.Helper()
		f, err := publisher.ParseSigningFile(data)
		if f != nil {
			t.Errorf("%s was read", what)
			return
		}
		wantError[*publisher.NotASigningFile](t, err)
	}
	for n := 0; n < len(good); n += 1 + n/50 {
		refuse("a part", good[:n])
	}
	refuse("all but the last byte", good[:len(good)-1])
	text := string(good)
	for what, other := range map[string]string{
		"trailing bytes":         text + "\n",
		"two of them":            text + text,
		"a field twice":          strings.Replace(text, "{", "{\n  \"role\": \"registry\",", 1),
		"a field of no meaning":  strings.Replace(text, "{", "{\n  \"aside\": \"x\",", 1),
		"other case":             strings.Replace(text, `"schema"`, `"Schema"`, 1),
		"another schema":         strings.Replace(text, "kitchen.signing/v1", "kitchen.signing/v9", 1),
		"no objects":             emptyFile[:strings.Index(emptyFile, "{}")] + "null" + emptyFile[strings.Index(emptyFile, "{}")+2:],
		"a key outside":          strings.Replace(text, "metadata/1.root.json", "metadata/../../etc/passwd", 1),
		"a key of nothing known": strings.Replace(text, "metadata/1.root.json", "metadata/1.root.yaml", 1),
		"broken base64":          strings.Replace(text, `json": "`, `json": "=`, 1),
		"base64 in lines":        strings.Replace(text, `json": "`, `json": "\n`, 1),
		"one line":               strings.ReplaceAll(text, "\n", ""),
		"nesting":                strings.Repeat("[", 1<<20),
		"an entry without bytes": `{"objects":{"metadata/1.root.json":null}}`,
	} {
		if other == text {
			t.Fatalf("%s: nothing was altered", what)
		}
		refuse(what, []byte(other))
	}
	refuse("more than a reader takes", make([]byte, publisher.MaxSigningFile+1))
	file.Objects["metadata/7.root.json"] = make([]byte, publisher.MaxSigningFile)
	_, err = file.Encode()
	wantError[*publisher.Invalid](t, err, "more than")
}

// TestSigningFileOfCountlessNames: what fills a file with names, or one object with more than it may have, is refused before it is
// looked through; up to there the file's form is that of the json package.
func TestSigningFileOfCountlessNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, file := w.nova(t)
	form := func() []byte {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		check(t, encoder.Encode(file))
		return out.Bytes()
	}
	file.Catalog = "file:///<a&b>/\"ü\"\n\u2028"
	file.Sizes["blobs/sha256/ab/"+strings.Repeat("ab", 32)] = 1 << 40
	data, err := file.Encode()
	check(t, err)
	if !bytes.Equal(data, form()) {
		t.Errorf("%s\nwant\n%s", data, form())
	}
	for n := range 50_000 {
		file.Sizes[manifest.BlobObject(catalogtest.Digest([]byte{byte(n), byte(n >> 8)}))] = 1
	}
	_, err = file.Encode()
	wantError[*publisher.Invalid](t, err, "50000")
	_, err = publisher.ParseSigningFile(form())
	wantError[*publisher.NotASigningFile](t, err, "50000")
	for n := range 60_000 {
		file.Objects[manifest.RoleObject("targets", int64(n+100))] = []byte("x")
	}
	_, err = publisher.ParseSigningFile(form())
	wantError[*publisher.NotASigningFile](t, err, "it names more than 50000 objects")
	clear(file.Sizes)
	clear(file.Objects)
	file.Objects[manifest.RoleObject("targets", 2)] = make([]byte, 17<<20)
	_, err = publisher.ParseSigningFile(form())
	wantError[*publisher.NotASigningFile](t, err, "metadata/2.targets.json", "more than the 16777216")
}
