package publisher

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

const (
	customSince = catalog.CustomSince
	customLifts = catalog.CustomLifts
)

// Recall signs a release into recalled.<product>: it must not be deployed, whoever certified it. Any one engineer
// or certifier of the product can. reason is required and cut to 1,000 bytes of plain text, as it is encoded.
//
// A release that is recalled for this reason already is Unchanged. For another reason, or once a certificate has
// lifted its recall, it is recalled anew: the entry gets another number, and no certificate of before lifts that. The
// reasons of a recall that stands are kept behind the new one, as far as there is room.
// Errors: *catalog.UnknownRelease, *Invalid, *NotAuthorized, *Refused where it can never take effect.
func (p *Publisher) Recall(ctx context.Context, r manifest.Release, reason string, signers []keys.Signer) (*Outcome, error) {
	reason, err := plainReason("recall", r, reasonOfRecall(reason))
	if err != nil {
		return nil, err
	}
	// Recalls only grow, and whoever may make one may repeat another's: so that of two who recall at the same time,
	// neither overtakes the other.
	onlyRecalls := func(_ *catalog.View, w *waiting, own bool) bool {
		return (own || w.complete()) && len(w.roles) == 1 && w.roles[0].name == manifest.RoleRecalled(r.Product)
	}
	return p.writeOn(ctx, func(ctx context.Context, d *desk) (*draft, error) {
		name, path := manifest.RoleRecalled(r.Product), manifest.TargetPath(manifest.StageRecalled, r)
		if err := authorizeRole(d.view, name, signers); err != nil {
			return nil, err
		}
		role, err := d.role(name)
		if err != nil {
			return nil, err
		}
		target, again := role.Targets[path]
		why := reason
		if again && stands(d.view, r, target) {
			before := target.Custom[customReason]
			if slices.Contains(strings.Split(before, alsoRecalled), reason) {
				return nil, nil
			}
			why = reasonOfRecall(reason + alsoRecalled + before)
		}
		if !again {
			known, err := knownTarget(d, r)
			if err != nil {
				return nil, err
			}
			target = trust.Target{Length: known.Length, SHA256: known.SHA256}
		}
		target.Custom = map[string]string{customReason: why, customSince: nextRecall(currentVersion(d.view, name))}
		role.Targets[path] = target
		dr := newDraft("recall", name, fmt.Sprintf("recall %s%s (sha256 %s): %s", r, ifSo(again, " again"), target.SHA256, why)).set(name, role)
		dr.urgent = true
		if err := dr.copyManifest(ctx, d, manifest.StageRecalled, r); storeFailure(err) {
			return nil, err
		}
		return dr, nil // a manifest that cannot be had must not keep anybody from stopping its release
	}, signers, onlyRecalls)
}

// alsoRecalled stands between the reasons of a release that was recalled for several, the latest first.
const alsoRecalled = "; recalled before: "

// nextRecall is the number of a recall that is made on a version of recalled.<p>. Versions rise, so that no two
// recalls of one release have the same.
func nextRecall(version int64) string { return strconv.FormatInt(version+1, 10) }

// stands tells whether a recall holds, and will hold, for everybody: it has a number, and no certificate names it,
// not even one in a role that has expired and may be signed again. In doubt it does not, and is made anew.
func stands(v *catalog.View, r manifest.Release, target trust.Target) bool {
	certificates, ok := certificatesOf(v, r.Product)
	return ok && certificates.leave(r, target)
}

// certificates are the roles that certify a product, by name.
type certificates map[string]*trust.Targets

// certificatesOf are those of a product; false where one cannot be read.
func certificatesOf(v *catalog.View, product string) (certificates, bool) {
	all := certificates{}
	for _, name := range v.Roles() {
		if kind, of, _ := manifest.SplitRole(name); kind != manifest.StageReady || of != product {
			continue
		}
		role, err := currentRole(v, name)
		if err != nil {
			return nil, false
		}
		all[name] = role
	}
	return all, true
}

// leave tells whether a recall has a number, and none of the certificates lifts it.
func (c certificates) leave(r manifest.Release, target trust.Target) bool {
	recall := catalog.RecallOf(manifest.RoleRecalled(r.Product), target)
	for name, role := range c {
		if certificate, ok := role.Targets[manifest.TargetPath(manifest.RoleStage(name), r)]; ok && recall.LiftedBy(certificate) {
			return false
		}
	}
	return recall.Since != 0
}

func ifSo(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// knownTarget is the release as any stage shows it: a damaged product role must not keep anybody from stopping it.
func knownTarget(d *desk, r manifest.Release) (*trust.Target, error) {
	_, err := d.view.Release(r)
	for _, stage := range []string{manifest.StageCatalog, manifest.StageReady, manifest.StageValidated} {
		role, roleErr := currentRole(d.view, manifest.StageRole(stage, r.Product))
		if roleErr != nil {
			continue
		}
		if target, ok := role.Targets[manifest.TargetPath(stage, r)]; ok {
			return &target, nil
		}
	}
	return nil, err
}
