package publisher

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// renewRecalls is how long before its expiry an engineer's publication signs the list of recalls again.
const renewRecalls = lifeShort / 3

// Publish makes the content of a directory a release of the product that its product.toml names. The same content
// again is Unchanged. Where the product has no list of recalls yet, or one about to expire, it is signed along,
// because nobody may deploy without.
//
// Artifacts are read once: cut into chunks, hashed and compressed on all cores into a file in Cache or Scratch, and sent
// from there, with deltas from earlier releases; what earlier releases stored is used again, if it is not damaged (see Packing.ReadData). Memory stays flat. Nothing
// is read before it is clear that the signers are the product's engineers, and nothing sent before it is clear that
// the release is new. Errors: *manifest.FileError for product.toml, *Source, *manifest.PathError,
// *catalog.UnknownProduct, *NotAuthorized, *Immutable, *LostRace, those of the store.
func (p *Publisher) Publish(ctx context.Context, dir string, signers []keys.Signer) (*Outcome, error) {
	s, view, err := p.openRelease(ctx, dir, func(v *catalog.View, role string) error { return authorizeRole(v, role, signers) })
	if err != nil {
		return nil, err
	}
	defer s.Close()
	b := &publication{source: s, signers: signers, uploader: uploader{Publisher: p, source: s, cache: openCache(p.Cache), whole: map[string]bool{}, damaged: map[string]string{}}}
	defer b.cache.close()
	if b.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if b.past, err = p.pastOf(ctx, view, s.spec.Product, b.cache); err != nil {
		return nil, err
	}
	out, err := p.write(ctx, b.change, signers)
	b.tell(out)
	return out, err
}

// openRelease looks at a release's directory, without reading it, once authorized has nothing against it. The caller
// closes it.
func (p *Publisher) openRelease(ctx context.Context, dir string, authorized func(v *catalog.View, role string) error) (s *source, view *catalog.View, err error) {
	if s, err = openSource(dir); err != nil {
		return nil, nil, err
	}
	if view, err = p.refresh(ctx); err == nil {
		err = authorized(view, manifest.RoleProduct(s.spec.Product))
	}
	if err == nil {
		err = s.scan(ctx)
	}
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, view, nil
}

// publication is one Publish on its way. Its blobs go up at most once.
type publication struct {
	uploader
	source   *source
	signers  []keys.Signer
	document []byte // manifest.toml, once the blobs are stored
}

func (b *publication) change(ctx context.Context, d *desk) (*draft, error) {
	name := manifest.RoleProduct(b.source.spec.Product)
	if err := authorizeRole(d.view, name, b.signers); err != nil {
		return nil, err
	}
	role, err := d.role(name)
	if err != nil {
		return nil, err
	}
	path := manifest.TargetPath(manifest.StageCatalog, b.source.spec.Release())
	if err := distinct(role, b.source.spec.Release()); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, d, role.Targets[path].SHA256 != ""); err != nil {
		return nil, err
	}
	published, err := b.compare(ctx, d, role, b.source)
	if err != nil {
		return nil, err
	}
	if published != nil {
		return nil, b.restore(ctx, published)
	}
	sha := digest(b.document)
	seq, err := nextSeq(role)
	if err != nil {
		return nil, err
	}
	role.Targets[path] = trust.Target{Length: int64(len(b.document)), SHA256: sha, Custom: map[string]string{customSeq: seq}}
	dr := newDraft("publish", name, b.summary(sha)...).set(name, role)
	dr.objects = []object{{manifest.TargetObject(path, sha), b.document}}
	return dr, b.recalls(d, dr)
}

// prepare reads the release. One that is listed is only read, to be compared; one that is new goes up.
func (b *publication) prepare(ctx context.Context, d *desk, listed bool) (err error) {
	switch {
	case b.document != nil:
		return nil
	case listed:
		return b.readAll(ctx)
	}
	from, err := b.predecessors(d.view, b.source.spec, b.past.all)
	if err != nil {
		return err
	}
	b.view = d.view
	if err := b.upload(ctx, from); err != nil {
		return err
	}
	b.document, err = b.source.manifest().Encode()
	return err
}

// readAll reads the items of a release that is listed, to be compared, but for those that the cache is trusted with.
func (b *publication) readAll(ctx context.Context) error {
	for _, it := range b.source.items {
		if b.trusted(it) {
			continue
		}
		if err := it.read(ctx, b.source, b.sink()); err != nil {
			return err
		}
	}
	return nil
}

// restore uploads again what of a release that is published with this very content the store has lost, or has damaged. Deltas
// are not made again: readers do without.
func (b *publication) restore(ctx context.Context, published *manifest.Manifest) error {
	if len(b.Packing.DeltaFrom) > 0 || b.Packing.Level != "" {
		b.sink().Note(published.Release().String() + " is published: --delta-from and --level change nothing about it")
	}
	named := storedBlobs{}
	named.add(published)
	for _, it := range b.source.items {
		want := named[it.artifact.SHA256]
		want.Deltas = nil
		there, err := b.holdsAll(ctx, &want)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		damaged := b.restored
		if err := b.restoreItem(ctx, it, &want); err != nil {
			return err
		}
		if b.restored == damaged {
			b.mended = append(b.mended, "restored "+it.artifact.Path+", which the store had lost")
		}
	}
	return nil
}

func (b *publication) restoreItem(ctx context.Context, it *item, want *manifest.Artifact) error {
	if object, x := b.cache.whole(ctx, want); object != nil {
		defer object.Close()
		index, err := x.Encode()
		if err != nil {
			return err
		}
		it.artifact.Stored, it.artifact.Index = want.Stored, want.Index
		return b.sendPacked(ctx, it, &packed{body: object, index: x, bytes: index})
	}
	var options chunk.Options
	if want.Chunked() {
		var err error
		if options.Like, err = transfer.ReadIndex(ctx, b.Store, want); err != nil { // it is lost, too
			options.Like = b.frameLengths(ctx, want)
		}
	}
	p, err := b.pack(ctx, it, options)
	if err != nil {
		return err
	}
	defer p.Close()
	if it.artifact.Stored != want.Stored || it.artifact.Index != want.Index {
		return &Source{Path: it.artifact.Path, Reason: fmt.Sprintf("is lost or damaged in the store, and cannot be restored from here: the release names %s, this version of kitchen stores it as %s",
			manifest.BlobObject(want.Stored.SHA256), it.artifact.Stored.SHA256)}
	}
	return b.sendPacked(ctx, it, p)
}

// frameLengths is as much of a lost index as its object tells; nil where that is lost, too. What is made by it is held to its
// digest.
func (b *publication) frameLengths(ctx context.Context, want *manifest.Artifact) chunk.Index {
	body, _, err := b.Store.Open(ctx, manifest.BlobObject(want.Stored.SHA256), 0, -1)
	if err != nil {
		return nil
	}
	defer body.Close()
	lengths, err := chunk.FrameLengths(io.LimitReader(body, want.Stored.Size), want.Size/chunk.Min+1)
	if err != nil {
		return nil
	}
	return lengths
}

func (b *publication) summary(sha string) []string {
	var raw int64
	for _, it := range b.source.items {
		raw += it.artifact.Size
	}
	said := []string{
		fmt.Sprintf("publish %s (sha256 %s)", b.source.spec.Release(), sha),
		fmt.Sprintf("%s and the marmite: %s, of which %s were uploaded", count(len(b.source.items)-1, "artifact"), render.Size(raw), render.Size(b.sent)),
	}
	return append(said, b.said[:min(len(b.said), maxSummary-len(said))]...)
}

// count writes "1 artifact", "2 artifacts".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// recalls signs an empty list of recalls where there is none, and one that is about to expire again.
func (b *publication) recalls(d *desk, dr *draft) error {
	name := manifest.RoleRecalled(b.source.spec.Product)
	authority, ok := d.view.Authority(name)
	if !ok || authorize(name, authority, b.signers) != nil {
		return nil // not theirs to sign: the release stays undeployable until somebody does
	}
	role, err := d.role(name)
	if err != nil {
		return err
	}
	if recallsDue(role, d.now) {
		dr.set(name, role)
	}
	return nil
}

// recallsDue tells whether a list of recalls has to be signed: for the first time, or again.
func recallsDue(role *trust.Targets, now time.Time) bool {
	return role.Version == 0 || role.Expires.Sub(now) < renewRecalls
}

// distinct refuses a release whose version differs from that of another by case alone.
func distinct(role *trust.Targets, release manifest.Release) error {
	path := manifest.TargetPath(manifest.StageCatalog, release)
	for other := range role.Targets {
		if other != path && manifest.FoldPath(other) == manifest.FoldPath(path) {
			return &Invalid{What: "release " + release.String(), Reason: "differs by case alone from " + other + ", which is published"}
		}
	}
	return nil
}

// compare holds the source against what is published, or waits with the same signers' signature: its manifest when it
// is the same, nil when there is none, *Immutable when it is another.
func (p *Publisher) compare(ctx context.Context, d *desk, role *trust.Targets, s *source) (*manifest.Manifest, error) {
	release := s.spec.Release()
	name, path := manifest.RoleProduct(release.Product), manifest.TargetPath(manifest.StageCatalog, release)
	target, ok := role.Targets[path]
	if !ok {
		return nil, nil
	}
	published, err := getManifest(ctx, p.Store, name, path, target)
	if err != nil {
		return nil, err
	}
	mine := s.manifest()
	if published.SameContent(mine) {
		return published, nil
	}
	refusal := &Immutable{Release: release, Differs: manifestDifferences(published, mine)}
	current, err := currentRole(d.view, name)
	if _, inEffect := current.Targets[path]; err == nil && !inEffect && d.base != nil {
		refusal.Proposal = d.base.id
	}
	return nil, refusal
}

// manifestDifferences names what differs, ten things at most.
func manifestDifferences(published, mine *manifest.Manifest) []string {
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if published.Kind != mine.Kind {
		say("kind is %q, was %q", mine.Kind, published.Kind)
	}
	if !slices.Equal(published.From, mine.From) {
		say("from is %q, was %q", mine.From, published.From)
	}
	if published.Summary != mine.Summary {
		say("summary is %q, was %q", mine.Summary, published.Summary)
	}
	if fmt.Sprint(published.Requires) != fmt.Sprint(mine.Requires) {
		say("requires is %+v, was %+v", mine.Requires, published.Requires)
	}
	before := entries(published)
	for _, e := range entryOrder(mine) {
		was, ok := before[e.path]
		switch {
		case !ok:
			say("%s is new", e.path)
		case was != e.text:
			say("%s has other content", e.path)
		}
		delete(before, e.path)
	}
	for _, e := range entryOrder(published) {
		if _, gone := before[e.path]; gone {
			say("%s is gone", e.path)
		}
	}
	switch {
	case len(list) == 0:
		return []string{"the order or the form of its artifacts"}
	case len(list) > 10:
		return append(list[:10], fmt.Sprintf("and %d things more", len(list)-10))
	}
	return list
}

type entry struct{ path, text string }

// entryOrder are all files of a release with what a host would see of them.
func entryOrder(m *manifest.Manifest) []entry {
	var list []entry
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		if !a.IsTree() {
			list = append(list, entry{a.Path, strings.Join([]string{a.Kind, a.SHA256}, " ")})
			continue
		}
		list = append(list, entry{a.Path, a.Kind})
		for _, f := range a.Files {
			list = append(list, entry{a.Path + f.Path, fmt.Sprintf("%s %t %q", f.SHA256, f.Executable, f.Link)})
		}
	}
	return list
}

func entries(m *manifest.Manifest) map[string]string {
	all := map[string]string{}
	for _, e := range entryOrder(m) {
		all[e.path] = e.text
	}
	return all
}
