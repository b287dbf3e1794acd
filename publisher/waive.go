package publisher

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// BadWaiver is a waiver that makes no sense, whatever was reported (exit 2): for no site that there is, without a reason,
// given twice, or one that has ended.
type BadWaiver struct{ error }

func (e *BadWaiver) Unwrap() error { return e.error }

// checkWaivers completes waivers with a clean reason, in the order of their sites.
func checkWaivers(ctx context.Context, d *desk, asked []manifest.Waiver) ([]manifest.Waiver, error) {
	var waivers []manifest.Waiver
	for _, w := range asked {
		refuse := func(format string, args ...any) ([]manifest.Waiver, error) {
			return nil, &BadWaiver{&Invalid{What: "waiver for " + w.Site, Reason: fmt.Sprintf(format, args...)}}
		}
		id, err := manifest.ParseSite(w.Site)
		if err != nil {
			return nil, &BadWaiver{err}
		}
		if _, _, err := d.view.Site(ctx, id); storeFailure(err) {
			return nil, err
		} else if err != nil {
			return nil, &BadWaiver{err}
		}
		w.Reason = strings.TrimSpace(manifest.CleanText(w.Reason, maxReason))
		end := w.Ends()
		switch {
		case w.Reason == "":
			return refuse("needs a reason")
		case !end.IsZero() && !d.now.Before(end):
			return refuse("it ended with %s", w.Until)
		case slices.ContainsFunc(waivers, func(other manifest.Waiver) bool { return other.Site == w.Site }):
			return refuse("is given twice")
		}
		waivers = append(waivers, w)
	}
	slices.SortFunc(waivers, func(a, b manifest.Waiver) int { return strings.Compare(a.Site, b.Site) })
	return waivers, nil
}

// against is what stands against certifying at a site; "" for nothing.
func against(a *catalog.Assessment, site string) string {
	i := slices.IndexFunc(a.Sites, func(u catalog.Unmet) bool { return u.Requirement == site })
	if i < 0 {
		return ""
	}
	return a.Sites[i].Against()
}

// waive completes the waivers with what each lets pass. Every one has to be needed, by a site that there is, and in time.
func waive(ctx context.Context, d *desk, a *catalog.Assessment, asked []manifest.Waiver) ([]manifest.Waiver, error) {
	waivers, err := checkWaivers(ctx, d, asked)
	if err != nil {
		return nil, err
	}
	for i := range waivers {
		w := &waivers[i]
		if w.Against = against(a, w.Site); w.Against == "" {
			return nil, &Invalid{What: "waiver for " + w.Site, Reason: "nothing stands against certifying there", Next: "leave that --waive out"}
		}
	}
	return waivers, nil
}

// notToday says of a release that is certified why it would not be today, by the policy and with the waivers of its certificate.
func (p *Publisher) notToday(ctx context.Context, d *desk, r manifest.Release, req CertifyRequest, reports *catalog.Reports, certificate trust.Target, result *CertifyResult) error {
	a, err := d.view.Certification(ctx, r, catalog.Question{Customer: req.Customer, Lift: certificate.Custom[customLifts] != ""}, reports)
	if err != nil {
		return err
	}
	var signed []manifest.Waiver
	if e, err := p.evidence(ctx, certificate.Custom[customEvidence]); err == nil {
		signed = e.Waivers
	}
	if result.Today = a.Since(signed); len(result.Today) == 0 {
		role := req.role(r.Product)
		if until, _, ends := catalog.WaivedUntil(certificate); ends && p.waiverDue(ctx, d.now, role, certificate, 0) {
			*result.notWaived = append(*result.notWaived, "its certificate ends with "+until+", as its waiver does; one that lasts longer: "+certifyAgain(role, r, catalog.Waived(certificate))[0])
		}
		return nil
	}
	*result.notWaived = append(*result.notWaived, r.String()+" is certified already; IT COULD NOT BE TODAY: "+unmetWords(result.Today),
		"to take that back: kitchen decertify "+r.String()+" --reason TEXT"+ifSo(req.Customer != "", " --for "+req.Customer)+" --key FILE")
	return nil
}

// notWaived says of waivers for a release that is certified, or signed so in a proposal that waits, that they change nothing,
// and what adds one. Of those that are part of the certificate there is nothing to say.
func (p *Publisher) notWaived(ctx context.Context, d *desk, r manifest.Release, req CertifyRequest, reports *catalog.Reports, certificate trust.Target, result *CertifyResult) error {
	waivers, err := checkWaivers(ctx, d, req.Waivers)
	if err != nil {
		return err
	}
	if signed, err := p.evidence(ctx, certificate.Custom[customEvidence]); err == nil {
		waivers = slices.DeleteFunc(waivers, func(w manifest.Waiver) bool {
			return slices.ContainsFunc(signed.Waivers, func(s manifest.Waiver) bool { return s.Site == w.Site && s.Until == w.Until && s.Reason == w.Reason })
		})
	}
	if len(waivers) == 0 {
		return nil
	}
	a, err := d.view.Certification(ctx, r, catalog.Question{Customer: req.Customer}, reports)
	if err != nil {
		return err
	}
	there, remedy := r.String()+" is certified already", fmt.Sprintf("kitchen decertify %s --reason TEXT%s --key FILE, then this command again; between the two it is not certified",
		r, ifSo(req.Customer != "", " --for "+req.Customer))
	if d.base != nil {
		there, remedy = "you have certified "+r.String()+" already, in "+d.base.id, "kitchen pending drop "+d.base.id+" --supersede --key FILE, and this command again once that is in effect"
	}
	var lines []string
	missing := false
	for _, w := range waivers {
		switch {
		case slices.Contains(catalog.Waived(certificate), w.Site):
			lines, missing = append(lines, there+"; your waiver for "+w.Site+" was not added: another was given for that site"), true
		case against(a, w.Site) == "":
			lines = append(lines, there+"; your waiver for "+w.Site+" is not needed, and was not added: nothing stands against certifying there")
		default:
			lines, missing = append(lines, there+"; your waiver for "+w.Site+" was not added: a certificate stays as it was signed"), true
		}
	}
	if missing {
		lines = append(lines, "if it must be part of the certificate: "+remedy)
	}
	*result.notWaived = append(*result.notWaived, lines...)
	return nil
}
