package publisher

import (
	"context"
	"slices"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/manifest"
)

// pastReleases are what the releases of a product stored.
type pastReleases struct {
	all   []*manifest.Manifest // newest first; trees without the list of their files
	sound []*manifest.Manifest // those that were neither recalled nor yanked
	known storedBlobs          // how these stored their artifacts
	taken map[string]bool      // stored objects, by digest, that a release names which was recalled or yanked
}

// pastOf reads the manifests of a product's releases. One that cannot be read only costs what it would have saved. c keeps what
// they say of artifacts, so that each is parsed once.
func (p *Publisher) pastOf(ctx context.Context, v *catalog.View, product string, c *cache) (*pastReleases, error) {
	releases, err := v.Releases(product)
	if err != nil {
		return nil, err
	}
	all := &pastReleases{known: storedBlobs{}, taken: map[string]bool{}}
	for _, info := range slices.Backward(releases) {
		m := c.manifest(info.SHA256, info.Release)
		if m == nil {
			read, _, err := v.Manifest(ctx, info.Release)
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case storeFailure(err):
				return nil, err
			case err != nil:
				continue
			}
			m = withoutFiles(read)
			c.keepManifest(info.SHA256, m)
		}
		all.all = append(all.all, m)
		if info.Recalled == nil && info.Yanked == "" {
			all.sound = append(all.sound, m)
			all.known.add(m)
			continue
		}
		for i := range m.Artifacts {
			all.taken[m.Artifacts[i].Stored.SHA256] = true
		}
	}
	return all, nil
}

// withoutFiles is what a manifest says of its artifacts but for the files of trees, which are most of it.
func withoutFiles(m *manifest.Manifest) *manifest.Manifest {
	small := *m
	small.Artifacts = slices.Clone(m.Artifacts)
	for i := range small.Artifacts {
		small.Artifacts[i].Files = nil
	}
	return &small
}

// artifactOf is the chunked artifact of a release that has the path.
func artifactOf(m *manifest.Manifest, path string) *manifest.Artifact {
	for i := range m.Artifacts {
		if a := &m.Artifacts[i]; a.Path == path && a.Chunked() {
			return a
		}
	}
	return nil
}

// ofLikeSize tells whether an artifact is of a size at which reading it costs about what packing one of size bytes does: what
// somebody else signed for may claim to unpack to terabytes.
func ofLikeSize(a *manifest.Artifact, size int64) bool {
	return a.Size/4 <= size+64<<20
}
