package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// CommitRounds is Commit again and again, by a service. A round in which nothing is new asks for the next root, for the
// timestamp if it changed, for the list of proposals and for the list of each site's reports, and for nothing else: what
// waits is read again only when that list or the catalog changed, and once an hour, since proposals lapse.
type CommitRounds struct {
	*Publisher
	seen string // what the last round saw, as far as it ended well and left nothing that may be mended from outside
}

// Round is one Commit. It is nil when there was nothing to do, and nothing new to tell. Errors are those of Commit.
func (c *CommitRounds) Round(ctx context.Context) (*CommitResult, error) {
	if c.Online == nil {
		return nil, &NoOnlineKey{}
	}
	view, err := c.renewing().refreshToCommit(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.authorizeOnline(view); err != nil {
		return nil, err
	}
	list, err := c.listing(ctx)
	if err != nil {
		return nil, err
	}
	mark := func(version int64) string {
		return fmt.Sprintln(list, version, view.Now().Truncate(time.Hour).Unix())
	}
	if c.seen == mark(view.Timestamp().Version) && !onlineDue(view) {
		news, err := c.journalNews(ctx, view)
		if news == nil || err != nil {
			return nil, err
		}
	}
	c.seen = ""
	result, err := c.Commit(ctx)
	if err == nil && !slices.ContainsFunc(result.Refused, PendingProposal.signed) {
		c.seen = mark(result.Version) // the list is that of before: what came meanwhile is new to the next round
	}
	return result, err
}

// signed tells whether all signatures are there, whatever else keeps it from taking effect: of anything else a signature that comes is new.
func (p PendingProposal) signed() bool {
	return !slices.ContainsFunc(p.Roles, func(r RoleSignatures) bool { return !r.Complete() })
}

// listing is a digest of the list of proposals.
func (c *CommitRounds) listing(ctx context.Context) (string, error) {
	sum := sha256.New()
	for info, err := range c.Store.List(ctx, manifest.PendingPrefix, "") {
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, info.Key, info.Size, info.ETag)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
