package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// rootChain walks from the first root as far as the store holds one after the other: a session at the newest, nil where it does
// not begin, and the ids of all keys that they let sign the timestamp.
func (c *checker) rootChain(ctx context.Context) (session *trust.Session, online []string, err error) {
	for n := int64(1); ; n++ {
		file, err := get(ctx, c.Store, manifest.RootObject(n))
		if err != nil {
			return session, online, ignoreAbsent(err)
		}
		if n == 1 {
			session, err = trust.StartStale(file, c.Now(), ever)
		} else {
			err = session.UpdateRoot(file)
		}
		if err != nil {
			return session, online, nil //nolint:nilerr // the chain ends here; who refuses the root says why
		}
		online = append(online, session.Root().Roles[trust.RoleTimestamp].KeyIDs()...)
	}
}

// orphanedRoot is a root that no host gets to, since the one before it is not there. Where it shows that it is this catalog's,
// those before it were lost; else somebody may have written it. It tells whether it found such a loss.
func (c *checker) orphanedRoot(ctx context.Context, reached *trust.Root, number int64, o storage.Info) (lost bool, err error) {
	first := number
	for first > reached.Version+1 && number-first < maxLostRoots {
		there, err := c.exists(ctx, manifest.RootObject(first-1))
		if err != nil {
			return false, err
		}
		if there {
			break
		}
		first--
	}
	if first == number { // a rotation since the view was made, or the finding is about the one before
		return false, nil
	}
	if lost, err = c.isOfCatalog(ctx, reached, number); err != nil || !lost {
		if err == nil {
			c.rootAhead(reached.Version, number, o)
		}
		return false, err
	}
	for n := first; n < number; n++ {
		c.find(Finding{Severity: Fault, Code: CodeMetadataMissing, Object: manifest.RootObject(n), Next: c.rootBack(n),
			Why: fmt.Sprintf("root %d is there, and root %d, without which no new host gets to it, is not: new hosts stay on root %d, and trust its keys", number, n, first-1)})
	}
	return true, nil
}

// maxLostRoots is how many lost roots before one that is there are named.
const maxLostRoots = 10

// isOfCatalog tells whether a root that lies ahead shows that it was in effect: a key that signs the newest root that is reached
// signed it, or by its own keys the timestamp is right, which by that root's is not. Nobody relies on that: it is for the words.
func (c *checker) isOfCatalog(ctx context.Context, reached *trust.Root, number int64) (bool, error) {
	file, err := get(ctx, c.Store, manifest.RootObject(number))
	if err != nil {
		return false, ignoreAbsent(err)
	}
	form, err := trust.ParseForm(trust.RoleRoot, file)
	if err != nil || form.Version != number {
		return false, nil //nolint:nilerr // nobody's root
	}
	payload, sigs, err := trust.ParseEnvelope(file)
	if err == nil && len(trust.ValidSignatures(payload, sigs, reached.Roles[trust.RoleRoot])) > 0 {
		return true, nil
	}
	if c.view != nil {
		return false, nil // the timestamp says nothing: the root that is reached takes it
	}
	timestamp, err := get(ctx, c.Store, manifest.TimestampObject)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	session, err := trust.StartStale(file, c.Now(), ever)
	if err != nil {
		return false, nil //nolint:nilerr // nobody's root
	}
	session.ServeExpired()
	return errors.Join(session.FinishRoots(), session.UpdateTimestamp(timestamp)) == nil, nil
}

// rootAhead is a root of which readers know no predecessor. Roots are written one after the other and no number is skipped, so
// that no interrupted writer leaves one; but once there is a root before it, every reader takes it for the next.
func (c *checker) rootAhead(reached, number int64, o storage.Info) {
	c.find(Finding{Severity: Fault, Code: CodeRootAhead, Object: o.Key, Bytes: o.Size,
		Why: fmt.Sprintf("no host gets to it: the newest root that they reach is %d, and root %d is not there. It was lost, or somebody wrote this one who should not: then every host will refuse the catalog once root %d comes",
			reached, number-1, number-1),
		Next: fmt.Sprintf("if a holder of root, a mirror, or a host's state directory (root/) has root %d, put it back; if none has, remove this one before root is changed, and find out who may write below metadata/ (docs/ACCESS.md)", number-1)})
}

// lostRoots looks, where what the newest root should vouch for is refused, whether it is the newest: a root that was lost may
// have let other keys sign. It tells whether the loss of one is certain; else next says what else may have been lost.
func (c *checker) lostRoots(ctx context.Context, refused *trust.Error) (lost bool, next string, err error) {
	session, online, err := c.rootChain(ctx)
	if err != nil || session == nil {
		return false, "", err
	}
	reached := session.Root()
	for o, err := range c.Store.List(ctx, "metadata/", "") {
		if err != nil {
			if !denied(err) {
				return false, "", err
			}
			break
		}
		if role, number, ok := parseRoleObject(o.Key); ok && role == trust.RoleRoot && number > reached.Version+1 {
			found, err := c.orphanedRoot(ctx, reached, number, o)
			if err != nil {
				return false, "", err
			}
			lost = lost || found
		}
	}
	if lost || refused.Kind != trust.BadSignature && refused.Kind != trust.Threshold {
		return lost, "", nil
	}
	next, err = c.nextRootLost(ctx, reached.Version, online, refused)
	return false, next, err
}

// nextRootLost is what to do where a role's signatures are by other keys than the newest root names. The bytes of all but the
// timestamp were vouched for, so that they are right; the timestamp's may be damaged.
func (c *checker) nextRootLost(ctx context.Context, reached int64, online []string, refused *trust.Error) (string, error) {
	next := reached + 1
	sign := fmt.Sprintf("its bytes are those that were announced, and no key that root %d names signed them", reached)
	if refused.Role == trust.RoleTimestamp {
		file, err := get(ctx, c.Store, manifest.TimestampObject)
		if err != nil {
			return "", ignoreAbsent(err)
		}
		_, sigs, err := trust.ParseEnvelope(file)
		named := func(s trust.Signature) bool { return slices.Contains(online, s.KeyID) }
		if err != nil || len(sigs) == 0 || slices.ContainsFunc(sigs, named) {
			return "", nil //nolint:nilerr // it is damaged, or the online key is being replaced
		}
		sign = fmt.Sprintf("it is signed by the key %s, which no root up to %d names", ShortID(sigs[0].KeyID), reached)
	}
	return fmt.Sprintf("%s: root %d, which does, was probably lost; %s", sign, next, c.rootBack(next)), nil
}

// announced is the version of the snapshot or of targets that is in effect where no reader can have a view; 0 where that cannot be told.
func (c *checker) announced(ctx context.Context, role string) int64 {
	session, _, err := c.rootChain(ctx)
	if err != nil || session == nil {
		return 0
	}
	session.ServeExpired()
	timestamp, err := get(ctx, c.Store, manifest.TimestampObject)
	if err := errors.Join(err, session.FinishRoots()); err != nil || session.UpdateTimestamp(timestamp) != nil {
		return 0
	}
	number := session.Timestamp().Snapshot.Version
	if role == trust.RoleSnapshot {
		return number
	}
	snapshot, err := get(ctx, c.Store, manifest.SnapshotObject(number))
	if err != nil || session.UpdateSnapshot(snapshot, false) != nil {
		return 0
	}
	return session.Snapshot().Roles[role].Version
}
