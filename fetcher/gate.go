package fetcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// ReadyOptions narrow one question.
type ReadyOptions struct {
	From string // the version the host has; "" = not asked
	// AllowDowngrade: with From, a release that was published before From is no reason for a no.
	AllowDowngrade bool
	MaxAge         time.Duration // 0 = as configured; the stricter of both counts
	Files          string        // a directory that must hold the release exactly; "" = none
	// Evidence has the evidence of every required certificate checked again, from the reports themselves.
	Evidence bool
}

// Verdict is the gate's answer.
type Verdict struct {
	Release     manifest.Release
	SHA256      string // of the manifest, as the product role lists it; "" when it does not
	Ready       bool
	Unmet       []catalog.Unmet
	Required    []string        // role names that were asked
	Certificate string          // digest of the evidence document, when certified
	Lifted      *catalog.Recall // a recall that the required certificates take back; nil = none
	From        string
	Files       string // the directory that was compared, when it was
	Evidence    []EvidenceChecked
	Waived      []string // sites for which the required certificates rest on waivers
	WaivedUntil string   // the last day of the first one that ends; "" = none does
	Issued      time.Time
	Age         time.Duration // of all knowledge this rests on, recalls included
	ClockBehind bool          // the host's clock is behind what it has seen
}

func unmetWords(list []catalog.Unmet) string {
	words := make([]string, len(list))
	for i, u := range list {
		words[i] = u.Requirement + ": " + u.Detail
	}
	return strings.Join(words, "; ")
}

// Names of requirements beyond those of Gate.Require.
const (
	reqRecall  = "not recalled"
	reqYank    = "not yanked, or kept here"
	reqRecalls = "recalls not older than the certificate's"
	reqDeny    = "not denied by this host"
	reqFollows = "followed by this customer"
	reqAge     = "knowledge not older than allowed"
	reqPath    = "upgrade path"
	reqWaiver  = "waivers that still hold"
	reqOrder   = "no downgrade"
)

// defaultRequire is what an empty Gate.Require stands for.
var defaultRequire = []string{requireProduct, manifest.StageValidated, manifest.StageReady}

const requireProduct = "product"

// Ready answers whether r may be deployed here: every required role lists it with the
// same length and digest, recalls are known and do not name it (or the required
// certificates name the recall, and lift it), certificates rest on recalls no newer than
// those seen, a yanked release is kept here, the host's customer follows the product, as far as the registry is known, and
// the host's own limits are kept. What is not so is in Unmet, in words. With Files, a directory of a ready release is compared too.
//
// A role that is absent, expired or not signed well enough is an unmet requirement, and so
// are a waiver that has ended and, with Evidence, evidence that cannot be checked. An
// error is what nobody should act on: *GateError, *FilesDiffer, *PinnedKeys, and a
// *trust.Error when roles contradict each other, show another manifest than was seen
// before, or when evidence was altered.
func (f *Fetcher) Ready(ctx context.Context, v *catalog.View, r manifest.Release, o ReadyOptions) (*Verdict, error) {
	roles, err := f.Gate.roles(r.Product)
	if err = errors.Join(err, f.Gate.checkDeny()); err != nil {
		return nil, err
	}
	g := &gate{f: f, v: v, r: r, verdict: &Verdict{Release: r, Issued: v.Issued(), Age: v.Age(), ClockBehind: v.ClockBehind(), From: o.From}}
	if err := g.contradictions(certificateRoles(roles)); err != nil {
		return nil, err
	}
	g.agreement(roles)
	g.recall(roles)
	g.yank()
	for _, role := range roles {
		g.certificate(role)
		if err := g.pin(role); err != nil {
			return nil, err
		}
	}
	g.deny()
	g.follows(ctx)
	g.age(o.MaxAge)
	if err := g.manifest(ctx, o); err != nil {
		return nil, err
	}
	if o.Evidence {
		if err := g.evidence(ctx, roles); err != nil {
			return nil, err
		}
	}
	g.verdict.Ready = len(g.verdict.Unmet) == 0
	if g.verdict.Ready && o.Files != "" {
		m, _, err := v.Manifest(ctx, r)
		if err != nil {
			return nil, err
		}
		if err := f.VerifyFiles(ctx, m, o.Files); err != nil {
			return nil, err
		}
		g.verdict.Files = o.Files
	}
	return g.verdict, nil
}

// gate collects one verdict. Each method is one requirement.
type gate struct {
	f       *Fetcher
	v       *catalog.View
	r       manifest.Release
	verdict *Verdict
}

func (g *gate) unmet(requirement, format string, args ...any) {
	g.verdict.Unmet = append(g.verdict.Unmet, catalog.Unmet{Requirement: requirement, Detail: fmt.Sprintf(format, args...)})
}

// withHint is an error with what it advises to do.
func withHint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return err.Error() + "; " + h.Hint()
	}
	return err.Error()
}

// contradictions gives the errors that no verdict should hide: one release, two manifests.
func (g *gate) contradictions(certificates []string) error {
	_, err := g.v.Release(g.r)
	var broken *trust.Error
	if errors.As(err, &broken) && broken.Kind == trust.Mismatch {
		return err
	}
	for _, role := range append([]string{manifest.RoleProduct(g.r.Product), manifest.RoleValidated(g.r.Product), manifest.RoleReady(g.r.Product)}, certificates...) {
		if _, err := g.v.Role(role); errors.As(err, &broken) && (broken.Kind == trust.Mismatch || broken.Kind == trust.SameVersion) {
			return err
		}
	}
	return nil
}

// agreement: every required role lists the release, all with the same length and digest.
func (g *gate) agreement(roles []requiredRole) {
	var first *trust.Target
	for _, role := range roles {
		g.verdict.Required = append(g.verdict.Required, role.role)
		target, err := g.v.RoleTarget(role.role, g.r)
		switch {
		case err != nil:
			g.unmet(role.name, "%s", withHint(err))
		case target == nil:
			g.unmet(role.name, "%s", g.missing(role.role))
		case first == nil:
			first = target
			g.verdict.SHA256 = target.SHA256
		case !sameTarget(first, target):
			g.unmet(role.name, "%s lists another manifest: sha256 %s, expected %s", role.role, target.SHA256, first.SHA256)
		}
	}
}

// missing says why a role does not hold the release: nobody has signed the role yet, it lists others, or it does not
// list it any more.
func (g *gate) missing(role string) string {
	_, err := g.v.Role(role)
	var absent *catalog.RoleAbsent
	if errors.As(err, &absent) {
		return absent.Error()
	}
	if g.v.WasListed(role, g.r) {
		return fmt.Sprintf("%s does not list it any more: it was decertified; its certifiers can certify it again: kitchen certify %s%s --key FILE", role, g.r, forCustomer(role))
	}
	words := "it is not certified yet"
	switch kind, _, _ := manifest.SplitRole(role); kind {
	case requireProduct:
		words = "it is not published"
	case manifest.StageValidated:
		words = "the vendor's CI has not validated it yet"
	}
	return fmt.Sprintf("%s (%s does not list it)", words, role)
}

// certificateRoles are those of the required roles whose entries are certificates.
func certificateRoles(required []requiredRole) (names []string) {
	for _, r := range required {
		if kind, _, _ := manifest.SplitRole(r.role); kind == manifest.StageReady {
			names = append(names, r.role)
		}
	}
	return names
}

// recall: recalled.<p> can be relied on, and does not list the release, unless every certificate that is required
// names that very recall.
func (g *gate) recall(required []requiredRole) {
	standing, lifted, err := g.v.RecallFor(g.r, certificateRoles(required)...)
	g.verdict.Lifted = lifted
	switch {
	case standing != nil:
		g.unmet(reqRecall, "it is %s; %s", standing, g.recalledNext())
	case err != nil:
		g.unmet(reqRecall, "whether it is recalled cannot be known: %s", withHint(err))
	}
}

// recalledNext is what to do about a recall, where the release can be read at all.
func (g *gate) recalledNext() string {
	info, err := g.v.Release(g.r)
	if err != nil {
		return "kitchen list shows what there is"
	}
	return recalledNext(info)
}

// yank: what is hidden from new use is ready only where it is kept.
func (g *gate) yank() {
	info, err := g.v.Release(g.r)
	if err != nil || info.Yanked == "" || g.f.keeps(g.r, info.SHA256) {
		return // agreement has said what is wrong with the roles
	}
	g.unmet(reqYank, "%s; %s", yankedReason(info), yankedNext(g.r))
}

// certificate: a ready-to-deploy role rests on no newer recalls than those seen here.
func (g *gate) certificate(required requiredRole) {
	kind, product, _ := manifest.SplitRole(required.role)
	if kind != manifest.StageReady {
		return
	}
	target, err := g.v.RoleTarget(required.role, g.r)
	if err != nil || target == nil {
		return // agreement has said so
	}
	g.verdict.Certificate = target.Custom[catalog.CustomEvidence]
	g.waived(*target)
	if ended := catalog.WaiverEnded(*target, g.v.Now()); ended != "" {
		g.unmet(reqWaiver, "%s; its certifiers can certify it again", ended)
	}
	signed, err := catalog.RecalledVersion(target)
	if err != nil {
		g.unmet(reqRecalls, "%v", err)
		return
	}
	recalls, err := g.v.Role(manifest.RoleRecalled(product))
	if err != nil {
		return // recall has said so
	}
	if recalls.Version < signed {
		g.unmet(reqRecalls, "the certifiers saw version %d of %s, here it is %d", signed, manifest.RoleRecalled(product), recalls.Version)
	}
}

// deny: the host's own list.
func (g *gate) deny() {
	for _, entry := range g.f.Gate.Deny {
		if entry == g.r.String() || entry == g.r.Product {
			g.unmet(reqDeny, "[gate] deny lists %s", entry)
		}
	}
}

// follows: the customer of this host follows the product. Where nothing of the registry can be known, the bucket's rights
// and the roles above say who deploys.
func (g *gate) follows(ctx context.Context) {
	var hidden *NotVisible
	if errors.As(g.f.checkFollows(ctx, g.v, g.r), &hidden) {
		g.unmet(reqFollows, "%s; %s", hidden.Reason, hidden.Next)
	}
}

// age: the stricter of the configured limit and the one of this question.
func (g *gate) age(asked time.Duration) {
	limit := g.f.Gate.MaxAge
	if limit <= 0 || asked > 0 && asked < limit {
		limit = asked
	}
	if limit > 0 && g.v.Age() > limit {
		g.unmet(reqAge, "the catalog's timestamp was issued %s ago (%s), allowed are %s",
			g.v.Age().Round(time.Second), g.v.Issued().UTC().Format(time.RFC3339), limit)
	}
}

// manifest: the release leads on from what the host has. On line the manifest is read
// in any case, so that the same question can be asked offline later.
func (g *gate) manifest(ctx context.Context, o ReadyOptions) error {
	if len(g.verdict.Unmet) > 0 || g.v.Offline() && o.From == "" {
		return nil
	}
	m, _, err := g.v.Manifest(ctx, g.r)
	if err != nil || o.From == "" {
		return err
	}
	unmet, err := pathUnmet(m, o.From)
	g.verdict.Unmet = append(g.verdict.Unmet, unmet...)
	if !o.AllowDowngrade {
		g.verdict.Unmet = append(g.verdict.Unmet, downgradeUnmet(g.v, g.r, o.From)...)
	}
	return err
}

// downgradeUnmet tells that a release was published before the version that a host has ("" = none).
func downgradeUnmet(v *catalog.View, r manifest.Release, has string) []catalog.Unmet {
	if order(v, r.Product, r.Version) >= order(v, r.Product, has) {
		return nil
	}
	return []catalog.Unmet{{Requirement: reqOrder, Detail: fmt.Sprintf(
		"%s was published before %s, which is deployed here; --allow-downgrade says that this is meant", r, has)}}
}

// order is the place of a version in the order of publication; 0 for none, and for one
// that the catalog does not hold.
func order(v *catalog.View, product, version string) int64 {
	if version == "" {
		return 0
	}
	info, err := v.Release(manifest.Release{Product: product, Version: version})
	if err != nil {
		return 0
	}
	return info.Seq
}

// pathUnmet tells whether a release may be applied to a host that has version from of
// the product; "" means that it has none.
func pathUnmet(m *manifest.Manifest, from string) ([]catalog.Unmet, error) {
	no := func(format string, args ...any) []catalog.Unmet {
		return []catalog.Unmet{{Requirement: reqPath, Detail: fmt.Sprintf(format, args...)}}
	}
	switch {
	case m.Kind == manifest.KindUpdate && from == "":
		return no("%s is an update from %s, and nothing is deployed here", m.Release(), strings.Join(m.From, ", ")), nil
	case m.Kind == manifest.KindUpdate:
		ok, err := m.AcceptsFrom(from)
		if err != nil || ok {
			return nil, err
		}
		return no("%s is an update from %s, and %s is deployed here; the ways on from it: kitchen paths %s --from %s",
			m.Release(), strings.Join(m.From, ", "), from, m.Product, from), nil
	case from != "":
		return no("%s is an initial deployment, and %s is deployed here", m.Release(), from), nil
	}
	return nil, nil
}
