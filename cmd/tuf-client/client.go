package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/trust"
)

const (
	maxRoots   = 1024 // new roots in one refresh (5.3.3)
	maxVisited = 32   // delegated roles in one search (5.6.7.1)
)

// client is one run of the workflow: a session that decides, a directory that remembers, a repository that answers.
type client struct {
	dir     string
	remote  *remote
	session *trust.Session
	fetched map[string]bool // roles that the repository was asked for in this run
}

// initialize makes a root the trusted one (5.2).
func initialize(ctx context.Context, o options, rootFile string) error {
	now, err := o.now(ctx)
	if err != nil {
		return err
	}
	root, err := readFile(rootFile, sizeLimit(trust.RoleRoot, 0))
	if err != nil {
		return err
	}
	if _, err := trust.StartGeneral(root, now); err != nil {
		return err
	}
	if err := durable.MkdirAll(o.metadataDir, 0o755); err != nil {
		return err
	}
	return durable.CreateExclusive(roleFile(o.metadataDir, trust.RoleRoot), root, 0o644)
}

// refresh brings the top-level roles up to date.
func refresh(ctx context.Context, o options) (*client, error) {
	now, err := o.now(ctx)
	if err != nil {
		return nil, err
	}
	root, err := readFile(roleFile(o.metadataDir, trust.RoleRoot), sizeLimit(trust.RoleRoot, 0))
	if err != nil {
		return nil, fmt.Errorf("the trusted root: %w", err)
	}
	session, err := trust.StartGeneral(root, now)
	if err != nil {
		return nil, fmt.Errorf("the trusted root: %w", err)
	}
	c := &client{dir: o.metadataDir, session: session, fetched: map[string]bool{}, remote: newRemote(o)}
	for _, step := range []func(context.Context) error{c.updateRoot, c.updateTimestamp, c.updateSnapshot, c.updateTargets} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// updateRoot is 5.3: from the trusted root to the newest one. Whether keys changed is asked at every root, and what
// was seen under the old ones goes before that root is written: a run that is cut short here forgets nothing twice,
// and nothing too little (5.3.11).
func (c *client) updateRoot(ctx context.Context) error {
	for range maxRoots {
		trusted := c.session.Root().Version
		data, err := c.remote.metadata(ctx, trust.RoleRoot, trusted+1, 0)
		if errors.Is(err, errAbsent) {
			return c.session.FinishRoots()
		}
		if err != nil {
			return err
		}
		if err := c.session.UpdateRoot(data); err != nil {
			return err
		}
		if c.session.OnlineKeysChanged(trusted) {
			if err := c.forget(trust.RoleTimestamp, trust.RoleSnapshot); err != nil {
				return err
			}
		}
		if err := c.remember(trust.RoleRoot, data); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d new roots", maxRoots)
}

// updateTimestamp is 5.4. The remembered one, even expired, is the floor for the new one; of the same version it
// stays, whatever the new one says (5.4.3.1).
func (c *client) updateTimestamp(ctx context.Context) error {
	if known := c.recall(trust.RoleTimestamp); known != nil {
		if err := c.session.UpdateTimestamp(known); err != nil {
			c.remote.note("remembered %v", err)
		}
	}
	data, err := c.remote.metadata(ctx, trust.RoleTimestamp, 0, 0)
	if err != nil {
		return err
	}
	if err := c.session.UpdateTimestamp(data); err != nil {
		return err
	}
	if !bytes.Equal(c.session.Raw(trust.RoleTimestamp), data) {
		return nil
	}
	return c.remember(trust.RoleTimestamp, data)
}

// updateSnapshot is 5.5. The remembered one serves if it is what the timestamp names; else it is a floor.
func (c *client) updateSnapshot(ctx context.Context) error {
	if known := c.recall(trust.RoleSnapshot); known != nil {
		err := c.session.UpdateSnapshot(known, true)
		if err == nil {
			return nil
		}
		c.remote.note("remembered %v", err)
	}
	meta := c.session.Timestamp().Snapshot
	data, err := c.remote.metadata(ctx, trust.RoleSnapshot, c.versionInName(meta), meta.Length)
	if err != nil {
		return err
	}
	if err := c.session.UpdateSnapshot(data, false); err != nil {
		return err
	}
	return c.remember(trust.RoleSnapshot, data)
}

func (c *client) updateTargets(ctx context.Context) error {
	return c.updateRole(ctx, trust.RoleTargets, trust.RoleRoot)
}

// updateRole is 5.6 for one role as one delegator hands it out. What is remembered serves if it passes every check,
// those of this delegator included. What the repository gave in this run is not asked for again.
func (c *client) updateRole(ctx context.Context, name, delegator string) error {
	refused := c.session.UpdateDelegated(name, delegator, c.recall(name))
	meta, listed := c.session.Snapshot().Roles[name]
	if refused == nil || !listed || c.fetched[name] {
		return refused
	}
	c.fetched[name] = true
	data, err := c.remote.metadata(ctx, name, c.versionInName(meta), meta.Length)
	if err != nil {
		return err
	}
	if err := c.session.UpdateDelegated(name, delegator, data); err != nil {
		return err
	}
	return c.remember(name, data)
}

// versionInName is 0 where file names carry no version.
func (c *client) versionInName(m trust.Meta) int64 {
	if !c.session.Root().ConsistentSnapshot() {
		return 0
	}
	return m.Version
}

// download fetches targets after a refresh.
func download(ctx context.Context, o options) error {
	c, err := refresh(ctx, o)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(o.targetDir, 0o755); err != nil {
		return err
	}
	for _, path := range o.targets {
		target, err := c.find(ctx, path)
		if err != nil {
			return err
		}
		if err := c.downloadTarget(ctx, path, target, o.targetDir); err != nil {
			return err
		}
	}
	return nil
}

// find is the pre-order depth-first search of 5.6.7.
func (c *client) find(ctx context.Context, path string) (trust.Target, error) {
	target, _, err := c.search(ctx, trust.RoleTargets, path, map[string]bool{})
	if err == nil && target == nil {
		err = fmt.Errorf("target %q: no role lists it, of those that may", path)
	}
	if err != nil {
		return trust.Target{}, err
	}
	return *target, nil
}

// search looks into a role that was just verified, then into those it delegates to; over says that nobody else is to
// be asked. A file that cannot be had or verified ends the search too.
func (c *client) search(ctx context.Context, role, path string, visited map[string]bool) (found *trust.Target, over bool, err error) {
	content, _ := c.session.Role(role)
	if target, listed := content.Targets[path]; listed {
		return &target, true, nil
	}
	for _, d := range content.DelegationsFor(path) {
		if !visited[d.Name] {
			if len(visited) == maxVisited {
				return nil, true, fmt.Errorf("target %q: not found in the first %d roles", path, maxVisited)
			}
			visited[d.Name] = true
			if err := c.updateRole(ctx, d.Name, role); err != nil {
				return nil, true, err
			}
			if found, over, err := c.search(ctx, d.Name, path, visited); over {
				return found, true, err
			}
		}
		if !d.NonTerminating {
			return nil, true, nil
		}
	}
	return nil, false, nil
}

// downloadTarget is 5.7: into a file of another name, which gets its own when it is what the role lists.
func (c *client) downloadTarget(ctx context.Context, path string, target trust.Target, dir string) error {
	name := escape(path)
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("target %q: no name for a file", path)
	}
	file := filepath.Join(dir, name)
	if held, err := durable.Open(file); err == nil {
		err = target.CheckReader(path, held)
		held.Close()
		if err == nil {
			c.remote.note("%s is there already", file)
			return nil
		}
	}
	temp, err := durable.CreateTemp(dir)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	err = c.remote.target(ctx, targetName(path, target, c.session.Root().ConsistentSnapshot()), func(body io.Reader) error {
		return target.CheckReader(path, io.TeeReader(body, temp))
	})
	if err == nil {
		err = errors.Join(temp.Chmod(0o644), temp.Sync())
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// recall gives what MDIR remembers of a role, nil if that cannot be had.
func (c *client) recall(role string) []byte {
	data, err := readFile(roleFile(c.dir, role), sizeLimit(role, 0))
	if err != nil {
		return nil
	}
	return data
}

// remember writes a file that was just verified.
func (c *client) remember(role string, data []byte) error {
	return durable.WriteFile(roleFile(c.dir, role), data, 0o644)
}

func (c *client) forget(roles ...string) error {
	for _, role := range roles {
		if err := os.Remove(roleFile(c.dir, role)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.SyncDir(c.dir)
}

func roleFile(dir, role string) string { return filepath.Join(dir, escape(role)+".json") }

func readFile(path string, limit int64) ([]byte, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, limit)
}

// escape leaves letters, digits and "-_.~" as they are, and percent-encodes everything else.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
