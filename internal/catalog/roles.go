package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// parallelReads bounds the small objects that are read at once.
const parallelReads = 8

// roleState is what is known of one delegated role that the snapshot lists: its content, or why there is none.
type roleState struct {
	targets *trust.Targets
	raw     []byte
	err     error
}

// updateTargets is §5.6 for the top-level role, without which there is nothing to see.
func (w *walk) updateTargets(ctx context.Context) error {
	meta, listed := w.session.Snapshot().Roles[trust.RoleTargets]
	if !listed {
		return &trust.Error{Kind: trust.Missing, Role: trust.RoleSnapshot, Want: trust.RoleTargets}
	}
	file := roleFile(trust.RoleTargets)
	if data, ok := w.localRole(trust.RoleTargets, meta); ok {
		return w.session.UpdateRole(trust.RoleTargets, data)
	}
	data, err := w.source.role(ctx, trust.RoleTargets, meta)
	if err != nil {
		return w.announced(trust.RoleTargets, meta, err)
	}
	if err := w.session.UpdateRole(trust.RoleTargets, data); err != nil {
		return err
	}
	return w.save(file, data)
}

// localRole gives the state directory's copy if it has the digest that the snapshot lists.
func (w *walk) localRole(name string, m trust.Meta) ([]byte, bool) {
	data, ok := w.c.state.readKind(roleFile(name), manifest.RoleObject(name, m.Version))
	return data, ok && sha256Hex(data) == m.SHA256
}

// updateRoles is §5.6 for every delegated role that the snapshot lists. A role that targets no longer delegates
// is passed over; one that cannot be had or is refused is kept as that error.
func (w *walk) updateRoles(ctx context.Context) error {
	names := w.delegatedRoles()
	files, fresh, err := w.readRoles(ctx, names)
	if err != nil {
		return err
	}
	next := w.memory.clone()
	changed := next.sawOnline(w.session)
	changed = next.bind(w.c.pins.first(), w.session.Raw(trust.RoleRoot)) || changed
	if next.Lost { // the view says so
		next.Lost, w.lost, changed = false, true, true
	}
	w.roles = make(map[string]roleState, len(names))
	for _, name := range names {
		state := files[name]
		if state.err == nil {
			state = w.verifyRole(name, state.raw)
		}
		if state.err == nil && next.sawRole(name, state.targets) {
			changed = true
		}
		w.roles[name] = state
	}
	if !w.writes {
		return nil
	}
	// Remembered first, written then: a crash in between loses a copy that can be fetched again, never a recall.
	if changed || !w.c.state.intactMemories(next.Generation) {
		if err := w.c.state.writeMemory(next); err != nil {
			return err
		}
	}
	w.memory = next
	for _, name := range fresh {
		if w.roles[name].err == nil {
			if err := w.save(roleFile(name), w.roles[name].raw); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walk) delegatedRoles() []string {
	var names []string
	for name := range w.session.Snapshot().Roles {
		if _, ok := w.session.Delegation(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// readRoles gives the bytes of every role, from the state directory where the digest is right, else from the
// source; fresh names the latter. The error is one that concerns no role in particular.
func (w *walk) readRoles(ctx context.Context, names []string) (files map[string]roleState, fresh []string, err error) {
	files = make(map[string]roleState, len(names))
	listed := w.session.Snapshot().Roles
	var total int64
	for _, name := range names {
		data, ok := w.localRole(name, listed[name])
		if !ok {
			fresh = append(fresh, name)
			total += listed[name].Length
			continue
		}
		files[name] = roleState{raw: data}
	}
	if len(fresh) == 0 {
		return files, nil, nil
	}
	task := w.c.progress.Start("refreshing roles", total)
	defer func() { task.Done(err) }()
	var mu sync.Mutex // guards files
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for _, name := range fresh {
		group.Go(func() error {
			state, err := w.fetchRole(ctx, name, listed[name], task)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			files[name] = state
			return nil
		})
	}
	return files, fresh, group.Wait()
}

// fetchRole tells a role that is withheld or too large (its own trouble) from a source that does not answer.
func (w *walk) fetchRole(ctx context.Context, name string, m trust.Meta, task progress.Task) (roleState, error) {
	if _, err := manifest.KindOf(manifest.RoleObject(name, m.Version)); err != nil {
		return roleState{err: &trust.Error{Kind: trust.Malformed, Role: name, Err: fmt.Errorf("no role of this version of Kitchen: %w", err)}}, nil
	}
	data, err := w.source.role(ctx, name, m)
	switch {
	case err == nil:
		task.Add(int64(len(data)))
		return roleState{raw: data}, nil
	case errors.Is(err, storage.ErrNotFound):
		return roleState{err: &trust.Error{Kind: trust.Missing, Role: name,
			Want: fmt.Sprintf("version %d, which the snapshot lists", m.Version), Err: err}}, nil
	case errors.Is(err, storage.ErrTooLarge):
		return roleState{err: tooLarge(name, m.Length, err)}, nil
	case errors.Is(err, storage.ErrForbidden):
		return roleState{err: fmt.Errorf("role %s: %w", name, err)}, nil
	}
	return roleState{}, err
}

// tooLarge says that there is more of a file than was announced of it.
func tooLarge(role string, announced int64, err error) error {
	return &trust.Error{Kind: trust.Mismatch, Role: role, Have: "more", Want: fmt.Sprintf("%d bytes", announced), Err: err}
}

// verifyRole holds one role to the session and to what was seen before.
func (w *walk) verifyRole(name string, data []byte) roleState {
	if err := w.session.UpdateRole(name, data); err != nil {
		return roleState{err: w.timed(err)}
	}
	targets, _ := w.session.Role(name)
	if err := w.memory.checkRole(name, targets); err != nil {
		return roleState{err: err}
	}
	return roleState{targets: targets, raw: data}
}

// view is what a finished walk shows.
func (w *walk) view() *View {
	v := &View{catalog: w.c, offline: !w.writes, session: w.session, roots: w.chain, host: w.host, etag: w.etag,
		roles: maps.Clone(w.roles), memory: w.memory, lost: w.lost}
	return v
}
