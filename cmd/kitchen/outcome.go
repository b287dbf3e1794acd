package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/publisher"
)

// outcomeDocument is the result of every command that changes the catalog.
type outcomeDocument struct {
	Schema   string         `json:"schema"` // kitchen.<command>/v1
	Release  string         `json:"release,omitempty"`
	Status   string         `json:"status"` // committed | pending | unchanged | declined | refused | stale
	Proposal string         `json:"proposal,omitempty"`
	Summary  []string       `json:"summary"`
	Roles    []roleDocument `json:"roles"`
	WaitsFor string         `json:"waits_for,omitempty"`
	Wrote    []string       `json:"wrote,omitempty"` // local files
	Hint     string         `json:"hint,omitempty"`

	Others []*outcomeDocument `json:"others,omitempty"` // of other proposals
	Notes  []string           `json:"notes,omitempty"`  // on other proposals: not offered, not signed, built on, or excluded

	heading string // instead of its status in words
}

// statusRefused is the status of a change that the release's own state forbids: the answer no.
const statusRefused = "refused"

// statusStale is the status of a change that was waited for, and can never take effect: the answer no.
const statusStale = "stale"

// roleDocument counts the signatures of one role's next version.
type roleDocument struct {
	Role    string   `json:"role"`
	Version int64    `json:"version"`
	Keys    string   `json:"keys,omitempty"` // before | after, where both the present keys and the next ones must sign
	Have    int      `json:"have"`
	Need    int      `json:"need"`
	Signers []string `json:"signers"`
	Missing []string `json:"missing"`
	Holders []string `json:"holders"`         // whole ids of all who may
	Yours   []string `json:"yours,omitempty"` // of signers and missing, those that kitchen.toml names as the caller's
}

func newOutcome(command, release string, o *publisher.Outcome) *outcomeDocument {
	d := &outcomeDocument{
		Schema: "kitchen." + command + "/v1", Release: release, Status: o.Status, Proposal: o.Proposal,
		Summary: list(o.Summary), Roles: roleDocuments(o.Roles), WaitsFor: o.WaitsFor, Notes: o.Notes,
	}
	for _, other := range o.Others {
		d.Others = append(d.Others, newOutcome(command, release, other))
	}
	return d
}

func roleDocuments(roles []publisher.RoleSignatures) []roleDocument {
	docs := []roleDocument{}
	for _, r := range roles {
		docs = append(docs, roleDocument{Role: r.Role, Version: r.Version, Keys: r.Keys, Have: r.Have, Need: r.Need, Signers: list(r.Signers), Missing: list(r.Missing), Holders: list(r.Holders)})
	}
	return docs
}

func (d *outcomeDocument) human(p *page) {
	heading := map[string]string{
		publisher.Committed: "done, in effect", publisher.Pending: "accepted, not in effect yet", publisher.Unchanged: "no change: the catalog says so already",
		publisher.Declined: "not signed, as you said; it still waits", statusRefused: "no: nothing was signed",
	}[d.Status]
	if d.Status == publisher.Declined && d.Proposal == "" {
		heading = "nothing was signed, as you said"
	}
	p.verdict(toneOf(d.Status), cmp.Or(d.heading, heading))
	d.block(p)
	for _, other := range d.Others {
		p.linef("")
		p.verdict(toneOf(other.Status), cmp.Or(other.heading, map[string]string{
			publisher.Committed: "in effect, too", publisher.Pending: "waits with your signature, too", publisher.Declined: "not signed, as you said; it still waits",
		}[other.Status]))
		other.block(p)
	}
	if len(d.Others) > 0 && len(d.Wrote)+len(d.Notes) > 0 {
		p.linef("")
	}
	for _, note := range d.Notes {
		p.para(2, "", note)
	}
	for _, file := range d.Wrote {
		p.linef("wrote %s", file)
	}
	if d.Hint != "" {
		p.para(2, "", d.Hint)
	}
}

// block is what became of one proposal.
func (d *outcomeDocument) block(p *page) {
	for _, line := range d.Summary {
		p.para(4, "  ", line)
	}
	if d.Proposal != "" {
		p.linef("proposal %s", d.Proposal)
		signatureLines(p, d.Roles)
		p.para(2, "waits for ", d.WaitsFor)
	}
}

func signatureLines(p *page, roles []roleDocument) {
	for _, r := range roles {
		text := fmt.Sprintf("%d of %d signatures", r.Have, r.Need)
		if r.Have > r.Need {
			text = fmt.Sprintf("%d signatures, needs %d", r.Have, r.Need)
		}
		if len(r.Signers) > 0 {
			text += ", by " + r.named(r.Signers)
		}
		if r.Have < r.Need && len(r.Missing) > 0 {
			text += fmt.Sprintf("; %d more of: %s", r.Need-r.Have, r.named(r.Missing))
		}
		p.para(4, "  "+publisher.RoleSignatures{Role: r.Role, Keys: r.Keys}.Name()+": ", text)
	}
}

// named lists keys, and says which are the caller's.
func (r roleDocument) named(ids []string) string {
	words := slices.Clone(ids)
	for i, id := range words {
		if slices.Contains(r.Yours, id) {
			words[i] += " (yours)"
		}
	}
	return strings.Join(words, ", ")
}

// awaited is the outcome after --wait. What was accepted stays so, whatever the waiting ends with.
func (k *kitchen) awaited(d *outcomeDocument) error {
	var failed []error
	for _, one := range append([]*outcomeDocument{d}, d.Others...) {
		if k.await == nil || one.Status != publisher.Pending || one.Proposal == "" {
			continue
		}
		o, err := k.await(one.Proposal)
		if stale, ok := errors.AsType[*publisher.WentStale](err); ok {
			one.Status, one.heading, one.WaitsFor = statusStale, "no: it went stale while it waited", "nothing: "+stale.Reason
			d.Hint = stale.Hint()
			continue
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		one.Status, one.Proposal, one.Roles, one.WaitsFor = o.Status, o.Proposal, roleDocuments(o.Roles), o.WaitsFor
	}
	return errors.Join(failed...)
}

// showOutcome prints the outcome and gives exit 8 while it is not in effect.
func (k *kitchen) showOutcome(d *outcomeDocument) error {
	failed := k.awaited(d)
	if err := k.show(d); err != nil || failed != nil {
		return cmp.Or(err, failed)
	}
	switch d.Status {
	case publisher.Pending:
		return answer(exitNotInEffect)
	case publisher.Declined, statusRefused, statusStale:
		return answer(exitNo)
	}
	return nil
}
