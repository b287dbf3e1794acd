package publisher

import (
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// topRoles are whom a root names the keys of, in the order in which they are shown.
var topRoles = []string{trust.RoleRoot, trust.RoleTargets, trust.RoleSnapshot, trust.RoleTimestamp}

// isTopRole tells the roles that root hands out; all others are targets' to hand out.
func isTopRole(name string) bool {
	switch name {
	case trust.RoleRoot, trust.RoleTargets, trust.RoleSnapshot, trust.RoleTimestamp:
		return true
	}
	return false
}

// rootContent shows a root as what it is to changes and their words: the hand-out of four roles, without paths.
func rootContent(r *trust.Root) *trust.Targets {
	t := &trust.Targets{Role: trust.RoleRoot, Version: r.Version, Expires: r.Expires, Replaces: r.Replaces,
		ProposalExpires: r.ProposalExpires, ProposalRoles: r.ProposalRoles, Targets: map[string]trust.Target{}}
	for _, name := range topRoles {
		t.Delegations = append(t.Delegations, trust.Delegation{Name: name, Authority: r.Roles[name]})
	}
	return t
}

// rootOf is the inverse of rootContent.
func rootOf(t *trust.Targets) *trust.Root {
	r := &trust.Root{Version: t.Version, Expires: t.Expires, Replaces: t.Replaces, ProposalExpires: t.ProposalExpires, ProposalRoles: t.ProposalRoles,
		Roles: map[string]trust.Authority{}}
	for _, d := range t.Delegations {
		r.Roles[d.Name] = d.Authority
	}
	return r
}

// encodeContent is a role's payload.
func encodeContent(name string, t *trust.Targets) ([]byte, error) {
	if name == trust.RoleRoot {
		return rootOf(t).Payload()
	}
	return t.Payload()
}

// parseContent reads a role's payload. A root may hold nothing that its content does not show.
func parseContent(name string, payload []byte) (*trust.Targets, error) {
	if name != trust.RoleRoot {
		return trust.ParseTargetsPayload(payload)
	}
	r, err := trust.ParseRootPayload(payload)
	if err != nil {
		return nil, err
	}
	t := rootContent(r)
	if again, err := encodeContent(name, t); err != nil || string(again) != string(payload) {
		return nil, &trust.Error{Kind: trust.Malformed, Role: trust.RoleRoot}
	}
	return t, nil
}

// isRole tells the names that a proposal may change.
func isRole(name string) bool {
	kind, _, _ := manifest.SplitRole(name)
	return kind != "" || name == trust.RoleRoot || name == trust.RoleTargets
}
