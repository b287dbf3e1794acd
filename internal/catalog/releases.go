package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// Names in the signed "custom" of a target, and who is believed about them.
const (
	CustomSeq             = "seq"              // product.<p>: order of publication, decimal
	CustomYanked          = "yanked"           // product.<p>: why it is hidden from new use
	CustomReason          = "reason"           // recalled.<p>: why it must not be deployed
	CustomSince           = "since"            // recalled.<p>: which recall of the release it is, decimal; see Recall
	CustomLifts           = "lifts-recall"     // ready-to-deploy.…: the recall ("since") that the certificate takes back
	CustomEvidence        = "evidence"         // ready-to-deploy.…: sha256 of the evidence document
	CustomRecalledVersion = "recalled-version" // ready-to-deploy.…: version of recalled.<p> its signers saw, decimal; 0 = none
)

// StagePublished is what ReleaseInfo and people call manifest.StageCatalog.
const StagePublished = "published"

// ReleaseInfo is one release as its roles show it.
type ReleaseInfo struct {
	manifest.Release
	SHA256   string  // of manifest.toml
	Length   int64   // of manifest.toml, bytes
	Seq      int64   // order of publication within the product, from 1
	Stage    string  // "published", "validated", "ready-to-deploy" (for everybody); "" with Conflict
	Yanked   string  // the reason, "" = not yanked
	Recalled *Recall // nil = no recall stands for everybody; whether that can be relied on is for View.Recall to say
	Lifted   *Recall // a recall that the certificate for everybody takes back; nil = none
	// CertifiedFor are the customers whose own role certifies the release, for them alone; sorted.
	CertifiedFor []string
	// Ended are the certificates that rest on a waiver that has ended, and so are refused by gates: each role's name and the
	// waiver's last day.
	Ended map[string]string
	// Conflict says that the roles contradict each other about this release (*trust.Error). It is in no stage,
	// and View.Release gives this error instead of it.
	Conflict error
}

// Recall says that a release must not be deployed. It stands until a certificate names it: a later recall of the
// same release has another number, and no certificate of before names that.
type Recall struct {
	Role   string // recalled.<p>, whose holders decided it
	Reason string
	SHA256 string // what was recalled
	// Since tells this recall from an earlier one of the same release: the version of Role that it was made on,
	// plus one. 0 = it does not say, and nothing can lift it but another recall that does.
	Since int64
	// Certificate is the digest of the evidence of the certificate that lifts it; "" while it stands.
	Certificate string
}

// RecallOf reads what recalled.<p> says of a release.
func RecallOf(role string, t trust.Target) *Recall {
	return &Recall{Role: role, Reason: manifest.WithoutBackquotes(t.Custom[CustomReason]), SHA256: t.SHA256, Since: recallNumber(t.Custom[CustomSince])}
}

// recallNumber reads the number of a recall; 0 for what is none.
func recallNumber(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
		return 0
	}
	return n
}

// String is the recall in words: why, and who says so.
func (r *Recall) String() string { return decided("recalled", r.Reason, r.Role) }

// LiftedBy tells whether a certificate takes exactly this recall back: it is for the same bytes, names this
// recall, and its signers had seen it.
func (r *Recall) LiftedBy(certificate trust.Target) bool {
	saw, err := RecalledVersion(&certificate)
	return err == nil && r.Since > 0 && saw >= r.Since && certificate.SHA256 == r.SHA256 &&
		certificate.Custom[CustomLifts] == strconv.FormatInt(r.Since, 10)
}

// Liftable tells whether a certificate may lift the recall of a release: not before it was validated, since what is
// recalled is validated no more.
func (i *ReleaseInfo) Liftable() bool { return i.Stage != "" && i.Stage != StagePublished }

// YankWords says that a release is yanked: why, and who says so. "" when it is not.
func (i *ReleaseInfo) YankWords() string {
	if i.Yanked == "" {
		return ""
	}
	return decided("yanked", i.Yanked, manifest.RoleProduct(i.Product))
}

func decided(what, reason, role string) string {
	return fmt.Sprintf("%s: %s (%s)", what, cmp.Or(reason, "no reason given"), role)
}

// Releases are a product's releases in the order of their publication. The error is that of the product's role,
// or *UnknownProduct; a product whose role was never signed has none. Trouble of the other roles only lowers the
// stages: see Broken.
func (v *View) Releases(product string) ([]ReleaseInfo, error) {
	role, err := v.Role(manifest.RoleProduct(product))
	var absent *RoleAbsent
	switch {
	case errors.As(err, &absent) && absent.Delegated:
		return nil, nil
	case errors.As(err, &absent):
		return nil, &UnknownProduct{product}
	case err != nil:
		return nil, err
	}
	var all []ReleaseInfo
	for path, target := range role.Targets {
		if _, r, err := manifest.ParseTargetPath(path); err == nil {
			all = append(all, v.releaseInfo(r, target))
		}
	}
	slices.SortFunc(all, func(a, b ReleaseInfo) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Version, b.Version))
	})
	return all, nil
}

// Release is one release. *UnknownRelease when it is not published; a *trust.Error when its roles contradict
// each other.
func (v *View) Release(r manifest.Release) (*ReleaseInfo, error) {
	target, err := v.published(r)
	if err != nil {
		return nil, err
	}
	info := v.releaseInfo(r, *target)
	if info.Conflict != nil {
		return nil, info.Conflict
	}
	return &info, nil
}

// published is the release in product.<p>, the role that all others are compared with.
func (v *View) published(r manifest.Release) (*trust.Target, error) {
	target, err := v.StageTarget(manifest.StageCatalog, r)
	if err == nil && target == nil {
		err = &UnknownRelease{r}
	}
	return target, err
}

func (v *View) releaseInfo(r manifest.Release, published trust.Target) ReleaseInfo {
	info := ReleaseInfo{Release: r, SHA256: published.SHA256, Length: published.Length, Yanked: manifest.WithoutBackquotes(published.Custom[CustomYanked])}
	seq, err := strconv.ParseInt(published.Custom[CustomSeq], 10, 64)
	if err != nil || seq < 1 {
		info.Conflict = &trust.Error{Kind: trust.Malformed, Role: manifest.RoleProduct(r.Product),
			Err: fmt.Errorf("%s has no order of publication (custom %q)", r, CustomSeq)}
	}
	info.Seq = max(seq, 0)
	info.Recalled, info.Lifted, _ = v.RecallFor(r, manifest.RoleReady(r.Product))
	if info.Conflict == nil {
		info.Stage, info.Conflict = v.stage(r, published)
		info.CertifiedFor = v.certifiedFor(r, published)
		info.Ended = v.waiversEnded(info)
	}
	return info
}

// certifiedFor are the customers for whom alone the release is certified, with the published bytes.
func (v *View) certifiedFor(r manifest.Release, published trust.Target) (customers []string) {
	for _, name := range v.Roles() {
		kind, product, customer := manifest.SplitRole(name)
		if kind != manifest.StageReady || product != r.Product || customer == "" {
			continue
		}
		target, err := v.RoleTarget(name, r)
		if err == nil && target != nil && sameTarget(name, r, *target, published) == nil {
			customers = append(customers, customer)
		}
	}
	return customers
}

// CertificateRoles are the roles that may list its certificates: for everybody, and for each customer that it is certified for.
func (r *ReleaseInfo) CertificateRoles() []string {
	roles := []string{manifest.RoleReady(r.Product)}
	for _, customer := range r.CertifiedFor {
		roles = append(roles, manifest.RoleReadyFor(r.Product, customer))
	}
	return roles
}

// waiversEnded fills ReleaseInfo.Ended.
func (v *View) waiversEnded(info ReleaseInfo) map[string]string {
	ended := map[string]string{}
	for _, role := range info.CertificateRoles() {
		target, err := v.RoleTarget(role, info.Release)
		if err != nil || target == nil {
			continue
		}
		if until, ends, ok := WaivedUntil(*target); ok && !v.Now().Before(ends) {
			ended[role] = until
		}
	}
	return ended
}

// stage is the highest one whose role, and all below it, list the release with the published length and digest.
func (v *View) stage(r manifest.Release, published trust.Target) (string, error) {
	stage, reached := StagePublished, true
	for _, name := range []string{manifest.StageValidated, manifest.StageReady} {
		target, err := v.StageTarget(name, r)
		if err != nil || target == nil {
			reached = false // broken and missing both mean no
			continue
		}
		if err := sameTarget(manifest.StageRole(name, r.Product), r, *target, published); err != nil {
			return "", err
		}
		if reached {
			stage = name
		}
	}
	return stage, nil
}

// sameTarget compares by value what two roles say of one release.
func sameTarget(role string, r manifest.Release, have, want trust.Target) error {
	if have.SHA256 == want.SHA256 && have.Length == want.Length {
		return nil
	}
	describe := func(t trust.Target) string { return fmt.Sprintf("%d bytes, sha256 %s", t.Length, t.SHA256) }
	return &trust.Error{Kind: trust.Mismatch, Role: role, Have: describe(have), Want: describe(want),
		Err: fmt.Errorf("%s lists another manifest for %s than %s does", role, r, manifest.RoleProduct(r.Product))}
}

// StageTarget is what the role of a stage ("catalog", "validated", "ready-to-deploy", "ready-to-deploy.<c>",
// "recalled") lists for a release. Nil without an error when the role does not list it or was never signed; the
// role's error when it cannot be used.
func (v *View) StageTarget(stage string, r manifest.Release) (*trust.Target, error) {
	role := manifest.StageRole(stage, r.Product)
	if role == "" {
		return nil, fmt.Errorf("unknown stage %q", stage)
	}
	return v.RoleTarget(role, r)
}

// RoleTarget is StageTarget by the role's name, such as "ready-to-deploy.openstack.acme".
func (v *View) RoleTarget(role string, r manifest.Release) (*trust.Target, error) {
	stage := manifest.RoleStage(role)
	if stage == "" {
		return nil, fmt.Errorf("role %q lists no releases", role)
	}
	targets, err := v.Role(role)
	var absent *RoleAbsent
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	target, ok := targets.Targets[manifest.TargetPath(stage, r)]
	if !ok {
		return nil, nil
	}
	return &target, nil
}

// Agreement compares a release in every given role with product.<p>: nil when all of them list it with the same
// length and digest. *UnknownRelease when it is not published; *NotListed for the first role that does not list
// it; a *trust.Error when a role disagrees or cannot be used.
func (v *View) Agreement(r manifest.Release, roles ...string) error {
	published, err := v.published(r)
	if err != nil {
		return err
	}
	for _, role := range roles {
		target, err := v.RoleTarget(role, r)
		if err != nil {
			return err
		}
		if target == nil {
			return &NotListed{Release: r, Role: role}
		}
		if err := sameTarget(role, r, *target, *published); err != nil {
			return err
		}
	}
	return nil
}

// Recall answers whether a release is recalled for everybody, and can be relied on: the error says that
// recalled.<p> is missing, expired or unverifiable, which must be taken for a recall.
func (v *View) Recall(r manifest.Release) (*Recall, error) {
	standing, _, err := v.RecallFor(r, manifest.RoleReady(r.Product))
	return standing, err
}

// RecallFor is Recall for whoever demands certificates in the given roles: a recall is lifted when every one of
// them, and there is one, lists a certificate that names it. While recalled.<p> itself cannot be relied on, a later
// recall cannot be ruled out, and the one that is known stands.
func (v *View) RecallFor(r manifest.Release, certificates ...string) (standing, lifted *Recall, err error) {
	known := v.knownRecall(r)
	_, err = v.Role(manifest.RoleRecalled(r.Product))
	switch {
	case known == nil:
		return nil, nil, err
	case err != nil || len(certificates) == 0:
		return known, nil, nil
	}
	found := *known
	for _, role := range certificates {
		target, err := v.RoleTarget(role, r)
		if err != nil || target == nil || !known.LiftedBy(*target) {
			return known, nil, nil
		}
		found.Certificate = target.Custom[CustomEvidence]
	}
	return nil, &found, nil
}

// knownRecall is the recall that the role lists, or that this host saw before, whichever is later.
func (v *View) knownRecall(r manifest.Release) *Recall {
	role := manifest.RoleRecalled(r.Product)
	var known *Recall
	if target, err := v.RoleTarget(role, r); err == nil && target != nil {
		known = RecallOf(role, *target)
	}
	if seen, ok := v.memory.Recalled[r.String()]; ok && (known == nil || seen.Since > known.Since) {
		known = &Recall{Role: role, Reason: seen.Reason, SHA256: seen.SHA256, Since: seen.Since}
	}
	return known
}

// WasListed tells whether this host ever saw a role list a release, whatever it lists now.
func (v *View) WasListed(role string, r manifest.Release) bool {
	_, seen := v.memory.Targets[manifest.TargetPath(manifest.RoleStage(role), r)]
	return seen
}

// RecalledVersion is the version of recalled.<p> that the signers of a certificate saw. A gate accepts no older
// one. The error says that the certificate does not tell.
func RecalledVersion(certificate *trust.Target) (int64, error) {
	text, ok := certificate.Custom[CustomRecalledVersion]
	version, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || version < 0 {
		return 0, fmt.Errorf("the certificate does not say which version of the recalls its signers saw (custom %q is %q)", CustomRecalledVersion, text)
	}
	return version, nil
}
