package publisher

import (
	"context"
	"fmt"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// What no holder has signed, anybody who may write below pending/ can have put there: so much of it is read, and no more.
const (
	maxForeign    = 4 << 20  // bytes of it, in one look at what waits
	maxForeignOne = 1 << 20  // of one proposal
	leastForeign  = 16 << 10 // that each proposal counts as: it takes requests, too
	freeGrowth    = 64 << 10 // by which the next version of a role, under a holder's name, may be larger than what is in effect
)

// affords counts bytes that no holder has signed, if there is room for them.
func (q *quota) affords(bytes int64) bool {
	bytes = max(bytes, leastForeign)
	if bytes > maxForeignOne || q.foreign+bytes > maxForeign {
		q.tooMuch++
		return false
	}
	q.foreign += bytes
	return true
}

// tooMuchWords say of what was not read that it was not; nil where all was.
func (q *quota) tooMuchWords() []string {
	if q.tooMuch == 0 {
		return nil
	}
	left := count(q.tooMuch, "more proposal") + " that no holder has signed " + ifSo(q.tooMuch == 1, "is") + ifSo(q.tooMuch > 1, "are") + " not looked at"
	return []string{fmt.Sprintf("%s: of one at most %d KiB are read, and %d MiB of all; delete what is garbage, and find out who may write below %s (docs/ACCESS.md)",
		left, maxForeignOne>>10, maxForeign>>20, manifest.PendingPrefix)}
}

// bytes is what the documents of a proposal take, by the listing.
func (f *pendingFiles) bytes() (n int64) {
	for _, size := range f.sizes {
		n += size
	}
	return n
}

// foreign is how many bytes of a proposal that a holder's name is on no holder of their role has signed. What is hardly larger than
// what is in effect costs no more than that, and is not looked at for it.
func (p *Publisher) foreign(ctx context.Context, v *catalog.View, f *pendingFiles, roles []proposalRole) (n int64, err error) {
	for _, listed := range roles {
		size := f.sizes[manifest.PayloadName(listed.Role)]
		if size <= int64(len(currentFile(v, listed.Role)))+freeGrowth {
			continue
		}
		signed, err := p.vouched(ctx, v, f, listed.Role)
		if err != nil {
			return 0, err
		}
		if !signed {
			n += size
		}
	}
	return n, nil
}

// vouched tells whether one who holds a role today has signed its payload in a proposal.
func (p *Publisher) vouched(ctx context.Context, v *catalog.View, f *pendingFiles, role string) (bool, error) {
	present, _ := v.Authority(role)
	var verifier *trust.Verifier
	for _, id := range present.KeyIDs() {
		for _, key := range f.sigs[role][id] {
			data, err := get(ctx, p.Store, key)
			if ignoreAbsent(err) != nil {
				return false, err
			}
			sig, bad := trust.ParseSignature(data)
			if err != nil || bad != nil || sig.KeyID != id {
				continue
			}
			if verifier == nil {
				payload, err := get(ctx, p.Store, manifest.ProposalObject(f.id, manifest.PayloadName(role)))
				if err != nil {
					return false, ignoreAbsent(err)
				}
				verifier = trust.NewVerifier(payload)
			}
			if len(verifier.Valid([]trust.Signature{sig}, present)) == 1 {
				return true, nil
			}
		}
	}
	return false, nil
}
