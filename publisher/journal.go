package publisher

import (
	"context"
	"errors"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// journalNews is what a commit adds to the journal: reports that were not seen before, or nothing but a signature
// because the last one is about to expire.
type journalNews struct{ reports []manifest.JournalReport }

// journalNews looks for what the next commit has to record; nil is nothing. Trouble with reports or journal is noted
// and stops no commit, which may be a recall; a store that does not answer does.
func (p *Publisher) journalNews(ctx context.Context, v *catalog.View) (*journalNews, error) {
	if _, delegated := v.Authority(manifest.RoleJournal); !delegated {
		return nil, nil
	}
	reports, err := v.Unseen(ctx)
	if err == nil {
		err = p.authorizeOnlineRole(v, manifest.RoleJournal)
	}
	switch {
	case storeFailure(err):
		return nil, err
	case err != nil && p.Stolen && errors.As(err, new(*NotAuthorized)):
		return nil, nil // what gives it to the new key is on its way
	case err != nil:
		p.note("the journal of reports is left as it is: " + err.Error())
		return nil, nil
	case len(reports) > 0:
		return &journalNews{reports}, nil
	}
	role, err := currentRole(v, manifest.RoleJournal)
	if err != nil || len(role.Targets) == 0 || role.Expires.Sub(v.Now()) > lifetime(manifest.RoleJournal)/2 {
		return nil, nil
	}
	return &journalNews{}, nil
}

// putJournal writes a segment of what is new, and the role that lists it, each under the first number that is free:
// what a crashed or beaten commit left under another is no part of the journal.
func (p *Publisher) putJournal(ctx context.Context, c *candidate, news *journalNews) (file []byte, version int64, err error) {
	v := c.view
	role, err := currentRole(v, manifest.RoleJournal)
	if err != nil {
		return nil, 0, err
	}
	if len(news.reports) > 0 {
		if role.Targets, err = p.putSegment(ctx, v, role, news.reports); err != nil {
			return nil, 0, err
		}
	}
	role.Role, role.Replaces, role.Expires = manifest.RoleJournal, currentDigest(v, manifest.RoleJournal), v.Now().Add(lifetime(manifest.RoleJournal))
	role.Version = currentVersion(v, manifest.RoleJournal)
	file, err = p.putNumbered(ctx, manifest.RoleJournal, &role.Version, roleKey(manifest.RoleJournal), func() ([]byte, error) {
		payload, err := role.Payload()
		if err != nil {
			return nil, err
		}
		return p.signOnline(ctx, c, manifest.RoleJournal, payload)
	})
	return file, role.Version, err
}

// putSegment writes the segment that follows on the newest, and gives what the role lists then.
func (p *Publisher) putSegment(ctx context.Context, v *catalog.View, role *trust.Targets, reports []manifest.JournalReport) (map[string]trust.Target, error) {
	s := &manifest.JournalSegment{Seen: v.Now(), Reports: reports}
	if head := catalog.JournalHead(role); head.Number > 0 {
		s.Number, s.Previous = head.Number, &head
	}
	data, err := p.putNumbered(ctx, manifest.RoleJournal, &s.Number, manifest.JournalObject, s.Encode)
	if err != nil {
		return nil, err
	}
	return map[string]trust.Target{manifest.JournalObject(s.Number): {Length: int64(len(data)), SHA256: digest(data)}}, nil
}

// putNumbered creates an object under the first number above *number that is free; content is asked for again with
// each number. errLost when others always are first.
func (p *Publisher) putNumbered(ctx context.Context, role string, number *int64, key func(int64) string, content func() ([]byte, error)) ([]byte, error) {
	for range maxOrphans {
		var err error
		if *number, err = p.firstFree(ctx, role, *number, key); err != nil {
			return nil, err
		}
		data, err := content()
		if err != nil {
			return nil, err
		}
		err = put(ctx, p.Store, key(*number), data)
		if !errors.Is(err, storage.ErrExists) {
			return data, err
		}
	}
	return nil, errLost
}

// count is how many reports are recorded.
func (n *journalNews) count() int {
	if n == nil {
		return 0
	}
	return len(n.reports)
}
