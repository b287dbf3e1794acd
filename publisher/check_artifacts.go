package publisher

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/chunk"
	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/transfer"
	"github.com/enovance/kitchen/manifest"
)

// objectID is a stored object as a manifest names it.
type objectID struct {
	sha  blobHash
	size int64
}

// claim is what a manifest says that a stored object unpacks to. Of all claims of one object one at most is true: its bytes
// decide both its index and the artifact.
type claim struct {
	stored, index objectID // index: zero for none
	raw           objectID
	encoding      string
	tree          blobHash // digest of the list of a tree's files; zero for a file
}

// claimant is who made a claim: the first by name.
type claimant struct {
	claim
	by, path string // the release and the artifact
	manifest string // the key of its manifest, which lists the files of a tree
}

// maxClaims is how many claims of one object are tried: each costs to read the object.
const maxClaims = 8

// errIndex is an index that is lost or has other bytes than its name says, which is a finding of its own.
var errIndex = errors.New("the index is damaged")

const mismatchHint = "hosts refuse it: recall the release (kitchen recall), publish the right content as another version, and find out who signed it and which host packed it"

func (a claim) artifact() *manifest.Artifact {
	artifact := &manifest.Artifact{Size: a.raw.size, SHA256: a.raw.sha.String(),
		Stored: manifest.Stored{SHA256: a.stored.sha.String(), Size: a.stored.size, Encoding: a.encoding}}
	if a.index != (objectID{}) {
		artifact.Index = manifest.Object{SHA256: a.index.sha.String(), Size: a.index.size}
	}
	return artifact
}

// claim notes what a listed manifest says of its compressed artifacts, and of trees. A file that is stored as it is has but one digest.
func (c *checker) claim(key string, m *manifest.Manifest) {
	if !c.req.ReadData {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range append([]manifest.Artifact{m.Marmite}, m.Artifacts...) {
		if a.Stored.Encoding != manifest.EncodingZstd && !a.IsTree() {
			continue
		}
		says := claimant{claim: claim{stored: objectID{hashOf(a.Stored.SHA256), a.Stored.Size}, raw: objectID{hashOf(a.SHA256), a.Size}, encoding: a.Stored.Encoding},
			by: m.Release().String(), path: strings.Clone(a.Path), manifest: key}
		if a.IsTree() {
			says.tree = listDigest(a.Files)
		}
		if a.Chunked() {
			says.index = objectID{hashOf(a.Index.SHA256), a.Index.Size}
		}
		c.claims[says.stored] = addClaim(c.claims[says.stored], says)
	}
}

// listDigest is a digest of a tree's list of files.
func listDigest(files []manifest.TreeFile) (sum blobHash) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %d %q %t %q\n", f.Path, f.Size, f.SHA256, f.Executable, f.Link)
	}
	h.Sum(sum[:0])
	return sum
}

// addClaim keeps each claim once, by its first claimant, in whatever order they were read.
func addClaim(all []claimant, says claimant) []claimant {
	for i := range all {
		if all[i].claim == says.claim {
			if says.by+says.path < all[i].by+all[i].path {
				all[i] = says
			}
			return all
		}
	}
	return append(all, says)
}

// unpackObject holds an object to all claims of it.
func (c *checker) unpackObject(ctx context.Context, codec *chunk.Codec, o stored, claims []claimant, task progress.Task) error {
	slices.SortFunc(claims, func(a, b claimant) int { return strings.Compare(a.by+a.path, b.by+b.path) })
	lost := 0
	for i, says := range claims[:min(maxClaims, len(claims))] {
		if i > 0 {
			task = progress.Silent{}.Start("", 0) // it was counted once
		}
		err := c.unpackAs(ctx, codec, says.artifact(), task)
		if err == nil && says.tree != (blobHash{}) {
			err = c.unpackTree(ctx, says)
		}
		wrong := new(transfer.Mismatch)
		switch {
		case err == nil:
		case errors.Is(err, errIndex):
			lost++
		case errors.Is(err, storage.ErrNotFound):
			c.find(Finding{Severity: Fault, Code: o.missing, Object: o.key, Why: o.why, Next: o.next})
			return nil
		case !errors.As(err, &wrong):
			return c.unreadable(o.key, err)
		case strings.HasPrefix(wrong.What, "stored "):
			c.find(Finding{Severity: Fault, Code: o.altered, Object: o.key, Why: o.why + "; it has other bytes than its name says (" + wrong.Error() + ")", Next: o.next})
			return nil
		default:
			c.find(Finding{Severity: Fault, Code: CodeArtifactMismatch, Object: o.key, Next: mismatchHint,
				Why: fmt.Sprintf("%s says that it is artifact %s; it has the bytes that its name says, and they do not unpack to what the manifest names: %v", says.by, says.path, wrong)})
		}
	}
	if lost == min(maxClaims, len(claims)) {
		return c.hashObject(ctx, o, task)
	}
	if more := len(claims) - maxClaims; more > 0 {
		c.find(Finding{Severity: Fault, Code: CodeArtifactMismatch, Object: o.key, Count: more, Next: mismatchHint,
			Why: fmt.Sprintf("releases say %d different things of what it unpacks to, of which at most one is true; %d were not tried, one of them by %s", len(claims), more, claims[maxClaims].by)})
	}
	return nil
}

// unpackTree holds a tree's tar to the list of its files. Errors: *transfer.Mismatch, and those of the store.
func (c *checker) unpackTree(ctx context.Context, says claimant) error {
	content, err := transfer.Open(ctx, c.Store, says.artifact(), progress.Silent{}.Start("", 0))
	if err != nil {
		return err
	}
	defer content.Close()
	m, err := c.anyManifest(ctx, says.manifest)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(m.Artifacts, func(a manifest.Artifact) bool { return a.Path == says.path })
	if at < 0 {
		return errors.New("its manifest changed meanwhile")
	}
	err = manifest.ReadTree(content, m.Artifacts[at].Files, func(_ manifest.TreeFile, data io.Reader) error {
		_, err := io.Copy(io.Discard, data)
		return err
	})
	if _, cause := io.Copy(io.Discard, content); cause != nil {
		return cause // it was read well a moment ago
	}
	if err != nil {
		return &transfer.Mismatch{What: "tree", Want: "the files that the manifest lists", Got: err.Error()}
	}
	return nil
}

// unpackAs reads an object once, and holds it to one claim. Errors: errIndex, *transfer.Mismatch, and those of the store.
func (c *checker) unpackAs(ctx context.Context, codec *chunk.Codec, a *manifest.Artifact, task progress.Task) error {
	counted := &progress.Counter{Task: task}
	defer func() {
		c.mu.Lock()
		c.result.Checked.ReadBytes += counted.N
		c.mu.Unlock()
	}()
	if !a.Chunked() {
		content, err := transfer.Open(ctx, c.Store, a, counted)
		if err != nil {
			return err
		}
		defer content.Close()
		_, err = io.Copy(io.Discard, content)
		return err
	}
	x, err := transfer.ReadIndex(ctx, c.Store, a)
	wrong := new(transfer.Mismatch)
	switch {
	case errors.As(err, &wrong) && (errors.Is(err, storage.ErrNotFound) || wrong.What == "index sha256" || wrong.What == "index size"):
		return errIndex
	case err != nil:
		return err
	}
	body, _, err := c.Store.Open(ctx, manifest.BlobObject(a.Stored.SHA256), 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	return transfer.Unpack(ctx, io.TeeReader(body, progress.Writer{Task: counted}), codec, x, a, nil)
}
