package publisher_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// crafted is a role's next version that no command of Kitchen would make, signed by whomever.
type crafted struct {
	role    string
	edit    func(*trust.Targets)
	signers []keys.Signer
}

// craft leaves a well-formed proposal of the given roles, and returns its id.
func (w *world) craft(t *testing.T, roles ...crafted) string {
	t.Helper()
	type listed struct {
		Role    string `json:"role"`
		Version int64  `json:"version"`
		SHA256  string `json:"sha256"`
	}
	v, all, doc := w.view(t), "", map[string]any{"schema": "kitchen.proposal/v1", "kind": "test", "summary": []string{"harmless, believe me"}}
	var list []listed
	payloads := map[string][]byte{}
	names := []string{}
	roles = slices.SortedFunc(slices.Values(roles), func(a, b crafted) int { return inOneOrder(a.role, b.role) })
	for _, c := range roles {
		names = append(names, c.role)
	}
	for _, c := range roles {
		next := &trust.Targets{Targets: map[string]trust.Target{}}
		if current, err := v.Role(c.role); err == nil {
			next = current.Clone()
			next.Replaces = catalogtest.Digest(v.RawRole(c.role))
		}
		next.Version++
		next.Role = c.role
		next.Expires, next.ProposalExpires = w.now.Add(lifeOf(c.role)), w.now.Add(14*catalogtest.Day)
		next.ProposalRoles = trust.JoinRoles(names)
		if c.edit != nil {
			c.edit(next)
		}
		payload, err := next.Payload()
		if c.role == "root" { // as it is
			root := v.Root().Clone()
			next.Version = root.Version + 1
			root.Version, root.Replaces = next.Version, catalogtest.Digest(v.RawRoot())
			root.Expires, root.ProposalExpires, root.ProposalRoles = next.Expires, next.ProposalExpires, next.ProposalRoles
			payload, err = root.Payload()
		}
		check(t, err)
		payloads[c.role] = payload
		list = append(list, listed{c.role, next.Version, catalogtest.Digest(payload)})
		all += fmt.Sprintf("%s %d %s\n", c.role, next.Version, catalogtest.Digest(payload))
	}
	id := manifest.ProposalID(list[0].Role, list[0].Version, catalogtest.Digest([]byte(all)))
	for _, c := range roles {
		w.put(t, manifest.ProposalObject(id, manifest.PayloadName(c.role)), payloads[c.role])
		for _, s := range c.signers {
			sig, err := trust.Sign(ctx, payloads[c.role], s)
			check(t, err)
			w.signature(t, id, c.role, sig.KeyID, sig)
		}
	}
	doc["roles"] = list
	data, err := json.Marshal(doc)
	check(t, err)
	w.put(t, manifest.ProposalObject(id, manifest.ProposalName), data)
	return id
}

// inOneOrder compares roles by their place in a proposal.
func inOneOrder(a, b string) int {
	place := func(role string) int { return slices.Index([]string{"root", "targets", role}, role) }
	return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
}

// signature leaves a signature file under any key's name.
func (w *world) signature(t *testing.T, id, role, name string, sig trust.Signature) {
	t.Helper()
	data, err := trust.EncodeSignature(sig)
	check(t, err)
	w.put(t, manifest.SignatureObject(id, role, name, catalogtest.Digest(data)), data)
}

// lists adds a path → target to a role's content.
func lists(path string, target trust.Target) func(*trust.Targets) {
	return func(t *trust.Targets) { t.Targets[path] = target }
}
