package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/manifest"
)

// This file is everything that Kitchen asks of a catalog beyond the TUF specification. Sessions begun with
// Start or StartStale apply it to what they read, the Payload methods to what they write; sessions begun with
// StartGeneral know nothing of it.

const maxRoleName = 200

func checkCatalogRoot(r *Root) error {
	if err := checkCatalogHead(r.Version, r.Expires); err != nil {
		return err
	}
	if r.flat {
		return errors.New("consistent_snapshot is not set")
	}
	if err := checkCatalogProposal(r.extra, r.Replaces); err != nil {
		return err
	}
	if len(r.Roles) != 4 {
		return errors.New("does not name the keys of exactly root, targets, snapshot and timestamp")
	}
	for _, name := range []string{RoleRoot, RoleTargets, RoleSnapshot, RoleTimestamp} {
		if err := checkCatalogAuthority(r.Roles[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkCatalogAuthority wants keys that can verify, each under its computed id and once, and a threshold
// that they can reach.
func checkCatalogAuthority(a Authority) error {
	seen := map[string]bool{}
	for _, key := range a.Keys {
		if key.Public == nil || key.verify == nil {
			return fmt.Errorf("key %s is not there or of a kind that Kitchen does not take", clip(key.ID, 12))
		}
		if key.ID != key.computed {
			return fmt.Errorf("key %s stands under an id that is not its own (%s)", clip(key.ID, 64), clip(key.computed, 64))
		}
		if seen[key.same] {
			return fmt.Errorf("key %s is listed twice", clip(key.ID, 12))
		}
		seen[key.same] = true
	}
	if a.Threshold < 1 || a.Threshold > len(seen) {
		return fmt.Errorf("threshold %d of %d keys", a.Threshold, len(seen))
	}
	return nil
}

func checkCatalogTimestamp(t *Timestamp) error {
	if err := checkCatalogHead(t.Version, t.Expires); err != nil {
		return err
	}
	if t.Issued.IsZero() {
		return errors.New("does not say when it was issued")
	}
	if t.Issued.After(t.Expires) {
		return errors.New("was issued after its own expiry")
	}
	return checkCatalogMeta("snapshot", t.Snapshot)
}

func checkCatalogSnapshot(s *Snapshot) error {
	if err := checkCatalogHead(s.Version, s.Expires); err != nil {
		return err
	}
	if _, ok := s.Roles[RoleTargets]; !ok {
		return errors.New("does not list targets")
	}
	for name, m := range s.Roles {
		if name != RoleTargets {
			if err := checkCatalogName(name); err != nil {
				return err
			}
		}
		if err := checkCatalogMeta(name, m); err != nil {
			return err
		}
	}
	return nil
}

func checkCatalogMeta(name string, m Meta) error {
	if m.Version < 1 || m.Version > MaxInteger || m.Length < 1 || !isDigest(m.SHA256) || m.SHA512 != "" {
		return fmt.Errorf("%s is not listed with a version, a length and a sha256 alone", clip(name, 80))
	}
	return nil
}

// checkCatalogContent checks a role file by itself; checkCatalogRole what depends on which role it is.
func checkCatalogContent(t *Targets) error {
	if err := checkCatalogHead(t.Version, t.Expires); err != nil {
		return err
	}
	if _, broken := t.extra["role"]; broken {
		return errors.New("role is not in its form")
	}
	if t.Role == "" {
		return errors.New("does not say which role it is")
	}
	if err := checkCatalogProposal(t.extra, t.Replaces); err != nil {
		return err
	}
	if err := checkCatalogTargets(t.Targets); err != nil {
		return err
	}
	return checkCatalogDelegations(t)
}

// checkCatalogProposal: what a proposal wrote is in its form, or not there.
func checkCatalogProposal(extra map[string]any, replaces string) error {
	for _, field := range []string{"replaces", "proposal_expires", "proposal_roles"} {
		if _, broken := extra[field]; broken {
			return fmt.Errorf("%s is not in its form", field)
		}
	}
	if replaces != "" && !isDigest(replaces) {
		return errors.New("replaces is not a sha256")
	}
	return nil
}

func checkCatalogTargets(targets map[string]Target) error {
	folded := make(map[string]string, len(targets))
	for path, target := range targets {
		if err := manifest.CheckRelativePath(path); err != nil {
			return fmt.Errorf("target path %q: %w", clip(path, 200), err)
		}
		if other, twice := folded[manifest.FoldPath(path)]; twice {
			return fmt.Errorf("target paths %q and %q differ in case alone", clip(other, 200), clip(path, 200))
		}
		folded[manifest.FoldPath(path)] = path
		if target.Length < 0 || target.Length > MaxInteger || !isDigest(target.SHA256) || target.SHA512 != "" {
			return fmt.Errorf("target %q is not listed with a length and one sha256", clip(path, 200))
		}
		if target.custom != nil {
			return fmt.Errorf("target %q: custom holds something else than strings", clip(path, 200))
		}
	}
	return nil
}

func checkCatalogDelegations(t *Targets) error {
	if t.succinct != nil {
		return errors.New("delegates to succinct roles")
	}
	seen := map[string]bool{}
	for _, d := range t.Delegations {
		if err := checkCatalogName(d.Name); err != nil {
			return err
		}
		if seen[d.Name] {
			return fmt.Errorf("delegates to %s twice", d.Name)
		}
		seen[d.Name] = true
		if err := checkCatalogAuthority(d.Authority); err != nil {
			return fmt.Errorf("delegation to %s: %w", d.Name, err)
		}
		if d.NonTerminating || len(d.PathHashPrefixes) > 0 || len(d.Paths) == 0 {
			return fmt.Errorf("delegation to %s is not terminating and by paths", d.Name)
		}
		if i := slices.IndexFunc(d.Paths, func(p string) bool { return p == "" || strings.ContainsAny(p, `[]?\`) }); i >= 0 {
			return fmt.Errorf(`delegation to %s: path pattern %q uses more than "*"`, d.Name, clip(d.Paths[i], 200))
		}
	}
	return nil
}

// checkCatalogRole holds a role to what was delegated to it: "targets" delegates and lists nothing, a
// delegated role lists what lies in its scope and delegates nothing.
func checkCatalogRole(name string, t *Targets, d Delegation) error {
	if name != RoleTargets {
		return CheckScope(t, d)
	}
	if err := checkSaysRole(name, t); err != nil {
		return err
	}
	for _, path := range sortedPaths(t) {
		return &Error{Kind: OutOfScope, Role: name, Have: fmt.Sprintf("%q", clip(path, 200)), Want: "(delegations only)"}
	}
	return nil
}

// checkSaysRole refuses the content of one role in place of another's.
func checkSaysRole(name string, t *Targets) error {
	if t.Role == name {
		return nil
	}
	return &Error{Kind: Mismatch, Role: name, Have: "a file of role " + clip(t.Role, 80), Want: "one of role " + name}
}

// CheckScope refuses a delegated role's content that lists a path which its delegation does not cover, or delegates
// further (OutOfScope), or was signed as another role's (Mismatch), or is a journal without exactly one newest segment
// (Malformed): an *Error.
func CheckScope(t *Targets, d Delegation) error {
	if len(t.Delegations) > 0 || t.succinct != nil {
		return &Error{Kind: OutOfScope, Role: d.Name, Have: "a delegation of its own", Want: "(targets only)"}
	}
	for _, path := range sortedPaths(t) {
		if !d.Covers(path) {
			return &Error{Kind: OutOfScope, Role: d.Name, Have: fmt.Sprintf("%q", clip(path, 200)),
				Want: "(" + strings.Join(d.Paths, " ") + ")"}
		}
	}
	if d.Name == manifest.RoleJournal {
		if err := checkJournal(t); err != nil {
			return err
		}
	}
	return checkSaysRole(d.Name, t)
}

// checkJournal: the role journal lists its newest segment, and nothing else.
func checkJournal(t *Targets) error {
	paths := sortedPaths(t)
	if len(paths) == 1 {
		if _, err := manifest.ParseJournalObject(paths[0]); err == nil {
			return nil
		}
	}
	return &Error{Kind: Malformed, Role: manifest.RoleJournal, Err: fmt.Errorf("lists %q instead of its newest segment alone", clip(strings.Join(paths, " "), 200))}
}

func sortedPaths(t *Targets) []string {
	paths := make([]string, 0, len(t.Targets))
	for path := range t.Targets {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// checkCatalogName keeps role names to what is a plain file name everywhere.
func checkCatalogName(name string) error {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}
	if name == "" || len(name) > maxRoleName || name[0] == '.' || name[0] == '-' ||
		isTopLevel(name) || strings.ContainsFunc(name, outside) {
		return fmt.Errorf("%q is no name for a delegated role", clip(name, 80))
	}
	return nil
}

func checkCatalogHead(version int64, expires time.Time) error {
	if version < 1 || version > MaxInteger {
		return fmt.Errorf("version %d is not from 1 to 2^53-1", version)
	}
	if expires.IsZero() {
		return errors.New("has no expiry")
	}
	return nil
}
