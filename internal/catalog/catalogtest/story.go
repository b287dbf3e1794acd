package catalogtest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// AddProduct delegates a product's roles to new keys, all with threshold 1 but for two of two certifiers, signs
// the empty recalled.<p>, and commits.
func (w *World) AddProduct(product string) {
	w.T.Helper()
	engineer, certifiers := NewKey(w.T), []*Key{NewKey(w.T), NewKey(w.T)}
	w.Delegate(manifest.RoleProduct(product), 1, engineer)
	w.Delegate(manifest.RoleValidated(product), 1, NewKey(w.T))
	w.Delegate(manifest.RoleReady(product), 2, certifiers...)
	w.Delegate(manifest.RoleRecalled(product), 1, engineer, certifiers[0], certifiers[1])
	w.Edit(manifest.RoleRecalled(product), nil)
	w.Commit()
}

// AddCustomer registers a customer that follows the given products ("*" = all), and commits.
func (w *World) AddCustomer(name string, subscribe ...string) {
	w.T.Helper()
	w.Registry[name] = &manifest.Customer{Customer: name, Name: strings.ToUpper(name), Subscribe: subscribe}
	w.Register()
}

// AddSite registers a site ("acme/staging") with a new key, valid from a day before now, and commits.
func (w *World) AddSite(id, kind string, after ...string) manifest.SiteID {
	w.T.Helper()
	site, err := manifest.ParseSite(id)
	check(w.T, err)
	key := NewKey(w.T)
	w.SiteKeys[site] = key
	c := w.Registry[site.Customer]
	c.Sites = append(c.Sites, manifest.Site{Name: site.Site, Kind: kind, After: after,
		Keys: []manifest.SiteKey{{Public: key.Public().PEM(), ValidFrom: w.Now.Add(-Day)}}})
	w.Register()
	return site
}

// Register writes Registry as it is, and commits.
func (w *World) Register() {
	w.T.Helper()
	w.Edit(manifest.RoleRegistry, func(t *trust.Targets) {
		clear(t.Targets)
		for _, name := range slices.Sorted(maps.Keys(w.Registry)) {
			data, err := w.Registry[name].Encode()
			check(w.T, err)
			w.list(t, manifest.RegistryTarget(name), data, nil)
		}
	})
	w.Commit()
}

// list stores a target and lists it.
func (w *World) list(t *trust.Targets, path string, data []byte, custom map[string]string) {
	w.T.Helper()
	w.Put(manifest.TargetObject(path, Digest(data)), data)
	t.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: Digest(data), Custom: custom}
}

// Content is what a release consists of.
type Content struct {
	From  []string                     // not empty: an update
	Files map[string]string            // path → content; empty: one file "images/disk.img"
	Trees map[string]map[string]string // "puppet/" → path in it → content; a content that begins with "#!" is executable
}

// Publish writes blobs and manifest of a release ("p@v"), lists it in product.<p>, and commits.
func (w *World) Publish(release string, content Content) *manifest.Manifest {
	w.T.Helper()
	r := w.release(release)
	m := w.Manifest(r, content)
	data, err := m.Encode()
	check(w.T, err)
	w.Edit(manifest.RoleProduct(r.Product), func(t *trust.Targets) {
		w.list(t, manifest.TargetPath(manifest.StageCatalog, r), data, map[string]string{catalog.CustomSeq: strconv.Itoa(len(t.Targets) + 1)})
	})
	w.Commit()
	return m
}

// Manifest stores the blobs of a release and describes it, without listing it anywhere.
func (w *World) Manifest(r manifest.Release, content Content) *manifest.Manifest {
	w.T.Helper()
	m := &manifest.Manifest{Format: 1, Product: r.Product, Version: r.Version, Kind: manifest.KindInitial, Summary: "release " + r.String()}
	if len(content.From) > 0 {
		m.Kind, m.From = manifest.KindUpdate, content.From
	}
	m.Marmite = w.artifact("marmite.yaml", manifest.KindMarmite, []byte("roles: ["+r.Version+"]\n"))
	files := content.Files
	if len(files)+len(content.Trees) == 0 {
		files = map[string]string{"images/disk.img": strings.Repeat("disk of "+r.String()+"\n", 1000)}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		m.Artifacts = append(m.Artifacts, w.artifact(path, "image", []byte(files[path])))
	}
	for _, path := range slices.Sorted(maps.Keys(content.Trees)) {
		m.Artifacts = append(m.Artifacts, w.tree(path, content.Trees[path]))
	}
	return m
}

// artifact stores raw bytes, compressed; large ones in chunks.
func (w *World) artifact(path, kind string, raw []byte) manifest.Artifact {
	w.T.Helper()
	if len(raw) >= 4<<20 {
		return w.chunked(path, kind, raw)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	check(w.T, err)
	stored := encoder.EncodeAll(raw, nil)
	w.Put(manifest.BlobObject(Digest(stored)), stored)
	return manifest.Artifact{Path: path, Kind: kind, Size: int64(len(raw)), SHA256: Digest(raw),
		Stored: manifest.Stored{SHA256: Digest(stored), Size: int64(len(stored)), Encoding: manifest.EncodingZstd}}
}

func (w *World) chunked(path, kind string, raw []byte) manifest.Artifact {
	w.T.Helper()
	codec, err := chunk.NewCodec(zstd.SpeedFastest, 1)
	check(w.T, err)
	var object bytes.Buffer
	packed, err := codec.Pack(context.Background(), bytes.NewReader(raw), &object, chunk.Options{})
	check(w.T, err)
	index, err := packed.Index.Encode()
	check(w.T, err)
	stored := object.Bytes()
	w.Put(manifest.BlobObject(Digest(stored)), stored)
	w.Put(manifest.BlobObject(Digest(index)), index)
	return manifest.Artifact{Path: path, Kind: kind, Size: int64(len(raw)), SHA256: Digest(raw),
		Stored: manifest.Stored{SHA256: Digest(stored), Size: int64(len(stored)), Encoding: manifest.EncodingZstd},
		Index:  manifest.Object{SHA256: Digest(index), Size: int64(len(index))}}
}

func (w *World) tree(path string, files map[string]string) manifest.Artifact {
	w.T.Helper()
	var list []manifest.TreeFile
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		list = append(list, manifest.TreeFile{Path: name, Size: int64(len(data)), SHA256: Digest([]byte(data)), Executable: strings.HasPrefix(data, "#!")})
	}
	var tar bytes.Buffer
	check(w.T, manifest.WriteTree(&tar, list, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(files[name])), nil
	}))
	a := w.artifact(path, "configuration", tar.Bytes())
	a.Files = list
	return a
}

func (w *World) release(s string) manifest.Release {
	w.T.Helper()
	r, err := manifest.ParseRelease(s)
	check(w.T, err)
	return r
}

// Validate lists a release in validated.<p>, and commits.
func (w *World) Validate(release string) {
	w.T.Helper()
	w.Promote(manifest.RoleValidated(w.release(release).Product), release, nil)
}

// Certify lists a release in ready-to-deploy.<p>, with the current version of recalled.<p>, and commits.
func (w *World) Certify(release string) {
	w.T.Helper()
	p := w.release(release).Product
	w.Promote(manifest.RoleReady(p), release, map[string]string{
		catalog.CustomRecalledVersion: strconv.FormatInt(w.Roles[manifest.RoleRecalled(p)].Version, 10)})
}

// Recall lists a release in recalled.<p>, signed by the engineer alone, and commits.
func (w *World) Recall(release, reason string) {
	w.T.Helper()
	role := manifest.RoleRecalled(w.release(release).Product)
	w.RoleKeys[role] = w.RoleKeys[role][:1]
	w.Promote(role, release, map[string]string{catalog.CustomReason: reason})
}

// Yank marks a published release as hidden from new use, and commits.
func (w *World) Yank(release, reason string) {
	w.T.Helper()
	r := w.release(release)
	w.Edit(manifest.RoleProduct(r.Product), func(t *trust.Targets) {
		t.Targets[manifest.TargetPath(manifest.StageCatalog, r)].Custom[catalog.CustomYanked] = reason
	})
	w.Commit()
}

// Promote lists a published release in another role, with the published digest, and commits.
func (w *World) Promote(role, release string, custom map[string]string) {
	w.T.Helper()
	r := w.release(release)
	target, ok := w.Roles[manifest.RoleProduct(r.Product)].Targets[manifest.TargetPath(manifest.StageCatalog, r)]
	if !ok {
		w.T.Fatalf("%s is not published", release)
	}
	path := manifest.TargetPath(manifest.RoleStage(role), r)
	data := w.Object(manifest.TargetObject(manifest.TargetPath(manifest.StageCatalog, r), target.SHA256))
	w.Edit(role, func(t *trust.Targets) { w.list(t, path, data, custom) })
	w.Commit()
}

// Object reads an object.
func (w *World) Object(key string) []byte {
	w.T.Helper()
	body, _, err := w.Store.Open(context.Background(), key, 0, -1)
	check(w.T, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	check(w.T, err)
	return data
}

type reportChain struct {
	site    manifest.SiteID
	release manifest.Release
}

type reportEnd struct {
	sequence int64
	digest   string
}

// Report signs and uploads a site's next report on a release, a minute after the one before, and returns its key.
// verdict is PASSED, WARNED, FAILED, NOT_RUN or ERROR; change may alter the report before it is signed.
func (w *World) Report(site, release, verdict string, change func(*manifest.Report)) string {
	w.T.Helper()
	id, err := manifest.ParseSite(site)
	check(w.T, err)
	r := w.release(release)
	w.Now = w.Now.Add(time.Minute)
	end := w.reports[reportChain{id, r}]
	published := w.Roles[manifest.RoleProduct(r.Product)].Targets[manifest.TargetPath(manifest.StageCatalog, r)]
	report := &manifest.Report{Site: id, Release: r, ManifestSHA256: published.SHA256, Type: manifest.ReportTest, Result: verdict,
		Started: w.Now.Add(-time.Minute), Finished: w.Now, Sequence: end.sequence + 1, Previous: end.digest, TimestampVersion: w.TimestampNo}
	if verdict == manifest.NotRun || verdict == manifest.Errored {
		report.Result, report.Refined = manifest.Failed, verdict
	}
	if change != nil {
		change(report)
	}
	bundle := w.SignReport(report, w.SiteKeys[id])
	key := manifest.ReportObject(report.Site, report.Release, report.Finished, Digest(bundle))
	w.Put(key, bundle)
	w.reports[reportChain{id, r}] = reportEnd{report.Sequence, Digest(bundle)}
	return key
}

// Journal records reports, as a commit that sees them now does.
func (w *World) Journal(paths ...string) *manifest.JournalSegment {
	w.T.Helper()
	s := &manifest.JournalSegment{Number: 1, Seen: w.Now}
	if old := w.Roles[manifest.RoleJournal]; old != nil {
		for path, target := range old.Targets {
			number, err := manifest.ParseJournalObject(path)
			check(w.T, err)
			s.Number, s.Previous = number+1, &manifest.JournalLink{Number: number, SHA256: target.SHA256}
		}
	}
	s.Reports = w.Journaled(paths...)
	w.PutSegment(s)
	return s
}

// Journaled are reports as a segment holds them.
func (w *World) Journaled(paths ...string) (list []manifest.JournalReport) {
	w.T.Helper()
	slices.Sort(paths)
	for _, path := range paths {
		data := w.Object(path)
		list = append(list, manifest.JournalReport{Path: path, SHA256: Digest(data), Size: int64(len(data))})
	}
	return list
}

// PutSegment writes any segment, makes it the newest of the journal, and commits.
func (w *World) PutSegment(s *manifest.JournalSegment) {
	w.T.Helper()
	data, err := s.Encode()
	check(w.T, err)
	w.Put(manifest.JournalObject(s.Number), data)
	w.HeadJournal(s.Number, data)
}

// HeadJournal lists any bytes as the newest segment of the journal, and commits.
func (w *World) HeadJournal(number int64, data []byte) {
	w.T.Helper()
	if w.RoleKeys[manifest.RoleJournal] == nil {
		w.Delegate(manifest.RoleJournal, 1, w.Online)
	}
	w.Edit(manifest.RoleJournal, func(t *trust.Targets) {
		clear(t.Targets)
		t.Targets[manifest.JournalObject(number)] = trust.Target{Length: int64(len(data)), SHA256: Digest(data)}
	})
	w.Commit()
}

// SignReport is the bundle of a report.
func (w *World) SignReport(report *manifest.Report, key keys.Signer) []byte {
	w.T.Helper()
	statement, err := report.Statement()
	check(w.T, err)
	bundle, err := keys.SignStatement(context.Background(), key, statement)
	check(w.T, err)
	return bundle
}

// Log stores a compressed log of a site, to be named by a report.
func (w *World) Log(site, text string) *manifest.LogRef {
	w.T.Helper()
	id, err := manifest.ParseSite(site)
	check(w.T, err)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	check(w.T, err)
	stored := encoder.EncodeAll([]byte(text), nil)
	w.Put(manifest.LogObject(id, Digest(stored)), stored)
	return &manifest.LogRef{SHA256: Digest(stored), Size: int64(len(stored)), RawSize: int64(len(text))}
}
