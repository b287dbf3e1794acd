package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

func refreshCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "refresh", Category: groupCustomerCI, Usage: "bring the verified view up to date and say what is new",
		Description: "New is what has become visible to this site, or to this state directory, since the last refresh. " +
			"So is the recall of a release that was shown, fetched, tested or deployed here. When nothing changed it costs two small requests.",
		Action: action(k, func(c *cli.Context) (struct{}, error) { return struct{}{}, operands(c) },
			func(ctx context.Context, k *kitchen, _ struct{}) error { return k.withCatalog(ctx, refreshed(ctx)) }),
	}
}

// releaseDocument is a release as lists show it.
type releaseDocument struct {
	Product  string `json:"product"`
	Version  string `json:"version"`
	Release  string `json:"release"` // product@version
	Stage    string `json:"stage"`   // published | validated | ready-to-deploy
	Seq      int64  `json:"seq"`
	SHA256   string `json:"sha256"` // of the manifest
	Recalled string `json:"recalled,omitempty"`
	Lifted   string `json:"lifted,omitempty"` // reason of a recall that the certificate for everybody took back
	Yanked   string `json:"yanked,omitempty"`
	Conflict string `json:"conflict,omitempty"` // why its roles contradict each other; it is in no stage

	CertifiedFor []string      `json:"certified_for,omitempty"` // customers for whom alone it is certified
	WaiversEnded []waiverEnded `json:"waivers_ended,omitempty"` // certificates that gates refuse for that

	certificate string // that lifted the recall
	liftable    bool   // a recall may be lifted
}

// waiverEnded is a certificate that rests on a waiver that has ended.
type waiverEnded struct {
	Role     string `json:"role"`
	Customer string `json:"customer,omitempty"` // for whom alone it is
	Until    string `json:"until"`              // the last day
}

const noReason = "no reason given"

func newReleaseDocument(r catalog.ReleaseInfo) releaseDocument {
	d := releaseDocument{
		Product: r.Release.Product, Version: r.Release.Version, Release: r.Release.String(),
		Stage: r.Stage, Seq: r.Seq, SHA256: r.SHA256, Yanked: r.Yanked, CertifiedFor: r.CertifiedFor, liftable: r.Liftable(),
	}
	if r.Recalled != nil {
		d.Recalled = cmp.Or(r.Recalled.Reason, noReason)
	}
	if r.Lifted != nil {
		d.Lifted = cmp.Or(r.Lifted.Reason, noReason)
		d.certificate = r.Lifted.Certificate
	}
	for _, role := range slices.Sorted(maps.Keys(r.Ended)) {
		_, _, customer := manifest.SplitRole(role)
		d.WaiversEnded = append(d.WaiversEnded, waiverEnded{role, customer, r.Ended[role]})
	}
	if r.Conflict != nil {
		d.Conflict = r.Conflict.Error()
	}
	return d
}

// remark is what is special about the release, in words.
func (d releaseDocument) remark() string {
	switch {
	case d.Conflict != "":
		return "NOT TRUSTED: " + d.Conflict
	case d.Recalled != "":
		return "RECALLED: " + d.Recalled
	case d.Yanked != "" && d.Lifted != "":
		return "yanked: " + d.Yanked + "; " + d.lift()
	case d.Yanked != "":
		return "yanked: " + d.Yanked
	}
	var remarks []string
	if until := d.ended(""); until != "" {
		remarks = append(remarks, "waiver ended "+until)
	}
	if d.Lifted != "" {
		return strings.Join(append(remarks, d.lift()), "; ")
	}
	var whom []string
	for _, customer := range d.CertifiedFor {
		if until := d.ended(customer); until != "" {
			customer += " (waiver ended " + until + ")"
		}
		whom = append(whom, customer)
	}
	if len(whom) > 0 {
		remarks = append(remarks, "certified for "+strings.Join(whom, ", "))
	}
	return strings.Join(remarks, "; ")
}

// ended is the last day of the waiver with which a certificate ended; "" where none did.
func (d releaseDocument) ended(customer string) string {
	for _, e := range d.WaiversEnded {
		if e.Customer == customer {
			return e.Until
		}
	}
	return ""
}

// lift says that a recall is history.
func (d releaseDocument) lift() string {
	return "recalled (lifted by certificate " + render.Digest(d.certificate) + "): " + d.Lifted
}

// remarkTone colours the remark.
func (d releaseDocument) remarkTone() render.Tone {
	switch {
	case d.Recalled != "" || d.Conflict != "":
		return render.Bad
	case d.Yanked != "", len(d.WaiversEnded) > 0:
		return render.Warn
	}
	return render.Plain
}

// decided says, for one release, who withdrew it and what comes next; nothing for most.
func (d releaseDocument) decided(p *page) {
	switch {
	case d.Recalled != "" && !d.liftable:
		p.para(10, "recalled  ", "by "+manifest.RoleRecalled(d.Product)+"; it was not validated before, and stays recalled: publish the same under another version")
	case d.Recalled != "":
		p.para(10, "recalled  ", "by "+manifest.RoleRecalled(d.Product)+"; a certificate that names the recall lifts it: kitchen certify "+d.Release+" --lift-recall --key FILE")
	case d.Yanked != "":
		p.para(10, "yanked    ", "by "+manifest.RoleProduct(d.Product)+"; only hosts that have it may still use it; to take that back: kitchen yank "+d.Release+" --undo --key FILE")
	case d.ended("") != "":
		p.para(10, "ended     ", "its certificate rests on a waiver, and no host deploys it any more; to certify it again: kitchen certify "+d.Release+" --key FILE")
	}
}

func releaseTable(p *page, releases []releaseDocument, empty string) {
	table := &render.Table{Columns: []render.Column{{Name: "RELEASE"}, {Name: "STAGE"}, {Name: "MANIFEST"}, {Name: "", Flex: true}}}
	for _, r := range releases {
		remark := render.Cell{Text: r.remark(), Tone: r.remarkTone()}
		table.Add(render.Cell{Text: r.Release}, toned(r.Stage), render.Cell{Text: render.Digest(r.SHA256), Tone: render.Dim}, remark)
	}
	p.table(table, empty)
}

// refreshDocument says what is new, and how old the knowledge is.
type refreshDocument struct {
	Schema    string            `json:"schema"` // kitchen.refresh/v1
	New       []releaseDocument `json:"new"`
	Recalled  []recallDocument  `json:"recalled"` // since the last refresh, of the releases known here
	Timestamp int64             `json:"timestamp_version"`
	Issued    string            `json:"issued"`
	Expires   string            `json:"expires"`
	Problems  []string          `json:"problems"` // roles that cannot be used, and why
	Expiring  []expiringRole    `json:"expiring"` // soon, and not renewed by the committer
	age       string
}

// expiringSoon is how long before its expiry a role is worth a word to everybody.
const expiringSoon = 14 * 24 * time.Hour

type expiringRole struct {
	Role    string `json:"role"`
	Expires string `json:"expires"`
}

// expiring are the roles that say nothing any more in two weeks, unless people sign them again.
func expiring(v *catalog.View) []expiringRole {
	roles := []expiringRole{}
	for _, e := range publisher.Expiries(v, expiringSoon) {
		if e.Due && e.Left > 0 && e.By != publisher.RenewedByCommitter {
			roles = append(roles, expiringRole{e.Role, stamp(e.Expires)})
		}
	}
	return roles
}

// recallDocument is a recall that this host has not been told of before.
type recallDocument struct {
	Release  string `json:"release"`
	Reason   string `json:"reason"`
	Role     string `json:"role"`     // that says so
	Deployed bool   `json:"deployed"` // it is what is deployed here
}

func (d recallDocument) human(p *page) {
	text := "RECALLED " + d.Release + ": " + d.Reason + " (" + d.Role + ")"
	if d.Deployed {
		text += "; it is deployed here: deploy a release that replaces it, or take it out of service"
	}
	p.verdict(render.Bad, text)
}

func (d *refreshDocument) human(p *page) {
	releaseTable(p, d.New, "nothing new")
	for _, recall := range d.Recalled {
		recall.human(p)
	}
	p.linef("as of %s, %s ago", d.Issued, d.age)
	p.linef("timestamp %d, valid until %s", d.Timestamp, d.Expires)
	for _, problem := range d.Problems {
		p.para(2, "cannot be used: ", problem)
	}
	for _, r := range d.Expiring {
		p.para(2, "expires soon: ", r.Role+" on "+r.Expires+"; its holders renew it (kitchen renew)")
	}
}

func refreshed(ctx context.Context) func(*session, *catalog.View) error {
	return func(s *session, v *catalog.View) error {
		f, err := s.fetcher(false)
		if err != nil {
			return err
		}
		news, err := f.New(ctx, v)
		if err != nil {
			return err
		}
		d := &refreshDocument{
			Schema: "kitchen.refresh/v1", New: []releaseDocument{}, Recalled: []recallDocument{}, Timestamp: v.Timestamp().Version,
			Issued: stamp(v.Issued()), Expires: stamp(v.Timestamp().Expires), Problems: problems(v), Expiring: expiring(v), age: render.Duration(v.Age()),
		}
		for _, r := range news.Releases {
			d.New = append(d.New, newReleaseDocument(r))
		}
		for _, r := range news.Recalled {
			d.Recalled = append(d.Recalled, recallDocument{r.Release.String(), cmp.Or(r.Recall.Reason, noReason), r.Recall.Role, r.Deployed})
		}
		return s.k.show(d)
	}
}

// problems lists the roles that cannot be used, so that a release that seems
// to be missing is explained.
func problems(v *catalog.View) []string {
	words := []string{}
	for _, broken := range v.Broken() {
		words = append(words, broken.Role+": "+broken.Err.Error())
	}
	return words
}
