package publisher

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// maxEvidenceKept is how many bytes of evidence are kept once they were read.
const maxEvidenceKept = 16 << 20

// evidenceRead is the evidence that a process has read to describe what is to be signed: a change of keys carries all the
// certificates of a role along, and is described again each round. Beyond maxEvidenceKept nothing more is kept.
type evidenceRead struct {
	mu    sync.Mutex // guards what follows
	known map[string]*manifest.Evidence
	bytes int
}

func (r *evidenceRead) get(sha string) *manifest.Evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[sha]
}

func (r *evidenceRead) keep(sha string, e *manifest.Evidence, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]*manifest.Evidence{}
	}
	if r.known[sha] == nil && r.bytes+size <= maxEvidenceKept {
		r.known[sha], r.bytes = e, r.bytes+size
	}
}

// evidence reads a document that a certificate names.
func (p *Publisher) evidence(ctx context.Context, sha string) (*manifest.Evidence, error) {
	e, _, err := p.readEvidence(ctx, sha)
	return e, err
}

// evidenceOnce is evidence for words: what was read before need not be there any more.
func (p *Publisher) evidenceOnce(ctx context.Context, sha string) (*manifest.Evidence, error) {
	if e := p.evidences().get(sha); e != nil {
		return e, nil
	}
	e, size, err := p.readEvidence(ctx, sha)
	if err == nil {
		p.evidences().keep(sha, e, size)
	}
	return e, err
}

// evidenceAhead reads several documents at once. Of one that cannot be read its reader says why.
func (p *Publisher) evidenceAhead(ctx context.Context, shas []string) {
	p.evidences() // before many ask for it
	var group errgroup.Group
	group.SetLimit(checkParallel)
	for _, sha := range shas {
		group.Go(func() error {
			_, _ = p.evidenceOnce(ctx, sha)
			return nil
		})
	}
	_ = group.Wait()
}

func (p *Publisher) evidences() *evidenceRead {
	if p.read == nil {
		p.read = &evidenceRead{}
	}
	return p.read
}

func (p *Publisher) readEvidence(ctx context.Context, sha string) (*manifest.Evidence, int, error) {
	if len(sha) != 64 {
		return nil, 0, fmt.Errorf("%q is not the digest of an evidence document", sha)
	}
	data, err := get(ctx, p.Store, manifest.EvidenceObject(sha))
	if err != nil {
		return nil, 0, err
	}
	if have := digest(data); have != sha {
		return nil, 0, &trust.Error{Kind: trust.Mismatch, Role: "evidence", Have: have, Want: sha}
	}
	e, err := manifest.ParseEvidence(data)
	return e, len(data), err
}
