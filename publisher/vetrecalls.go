package publisher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// vetRecalls: every recall that is new, or made anew, has the number that is next, so that no certificate of before
// names it, and a reason that leaves room for others, since it stays.
func vetRecalls(current, next *trust.Targets) string {
	for path, now := range next.Targets {
		before, ok := current.Targets[path]
		if ok && maps.Equal(before.Custom, now.Custom) {
			continue
		}
		if want := nextRecall(current.Version); now.Custom[customSince] != want {
			return fmt.Sprintf("the recall of %s would be number %q, and the next is %s", path, now.Custom[customSince], want)
		}
		reason := now.Custom[customReason]
		if n := encodedLength(reason); n > maxReason {
			return fmt.Sprintf("the reason of the recall of %s has %d bytes, more than the %d that it may have", path, n, maxReason)
		}
		if manifest.CleanText(reason, maxReason) != reason {
			return fmt.Sprintf("the reason of the recall of %s is no plain text: %q", path, reason)
		}
		if _, reasoned := now.Custom[customReason]; len(now.Custom) > 2 || len(now.Custom) == 2 && !reasoned {
			return fmt.Sprintf("the recall of %s says more than its reason and its number", path)
		}
	}
	return ""
}

// vetUnlisted: of releases that the product does not list, which cost nothing to name, no more are recalled than leave room for
// the others. Where nobody can read what it lists, that is not counted: it must not keep anybody from a recall.
func vetUnlisted(role string, current, next *trust.Targets, after *candidate) string {
	_, name, _ := manifest.SplitRole(role)
	published, err := after.role(manifest.RoleProduct(name))
	if err != nil {
		return ""
	}
	unlisted, more := 0, false
	for path := range next.Targets {
		_, rel, err := manifest.ParseTargetPath(path)
		if _, listed := published.Targets[manifest.TargetPath(manifest.StageCatalog, rel)]; err == nil && listed {
			continue
		}
		_, before := current.Targets[path]
		unlisted, more = unlisted+1, more || !before
	}
	if more && unlisted > maxUnlisted {
		return fmt.Sprintf("it would hold %d recalls of what %s does not list, more than the %d that it may", unlisted, manifest.RoleProduct(name), maxUnlisted)
	}
	return ""
}

// encodedLength is what plain text takes in a role's file, where quotation marks and backslashes take two bytes.
func encodedLength(s string) int { return len(s) + strings.Count(s, `"`) + strings.Count(s, `\`) }

// reasonOfRecall is text as a recall may say it: cut to what its reason may take.
func reasonOfRecall(text string) string {
	text = strings.TrimSpace(manifest.CleanText(text, maxReason))
	for encodedLength(text) > maxReason {
		_, last := utf8.DecodeLastRuneInString(text)
		text = strings.TrimSpace(text[:len(text)-last])
	}
	return text
}

// vetRoom keeps a quarter of a list of recalls, which only grows, for those that a certifier of the product has signed: an engineer lists
// what he likes, and whoever has his key could recall all of that until the list is full.
func vetRoom(v *catalog.View, r *roleDraft) string {
	kind, product, _ := manifest.SplitRole(r.name)
	of, err := manifest.KindOf(manifest.RoleObject(r.name, r.next.Version))
	if err != nil || kind != manifest.StageRecalled || r.fileSize() <= of.MaxSize/4*3 || !r.recalls(v) {
		return ""
	}
	certifiers, _ := v.Authority(manifest.RoleReady(product))
	some := slices.ContainsFunc(certifiers.KeyIDs(), r.signers().Has)
	if !some || len(trust.ValidSignatures(r.payload, r.sigs, certifiers)) > 0 {
		return ""
	}
	return fmt.Sprintf("it would take %d bytes, and what is beyond %d of the %d that readers take is kept for recalls that a holder of %s signs (kitchen recall, with such a key)",
		r.fileSize(), of.MaxSize/4*3, of.MaxSize, manifest.RoleReady(product))
}
