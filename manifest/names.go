package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameLength bounds product, customer and site names, and versions, in bytes.
const maxNameLength = 63

// NameError reports a name that does not follow the rules of its kind.
type NameError struct {
	What string // "product", "version", "customer", "site", "release", …
	Name string
	Rule string // what is allowed, in words
}

func (e *NameError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s is empty: %s", e.What, e.Rule)
	}
	return fmt.Sprintf("%s %q is not allowed: %s", e.What, clip(e.Name), e.Rule)
}

const (
	nameRule    = "use 1 to 63 lower-case letters, digits and dashes, beginning with a letter or digit"
	versionRule = "use 1 to 63 letters, digits, '.', '_', '~' and '-', beginning with a letter or digit"
)

// CheckName accepts the identifier of a product, customer or site:
// [a-z0-9][a-z0-9-]{0,62}. what names the thing in the error, a *NameError.
func CheckName(what, s string) error {
	ok := s != "" && len(s) <= maxNameLength && s[0] != '-'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
	}
	if !ok {
		return &NameError{What: what, Name: s, Rule: nameRule}
	}
	return nil
}

// CheckVersion accepts a version: [A-Za-z0-9][A-Za-z0-9._~-]{0,62}.
// The error is a *NameError.
func CheckVersion(s string) error {
	ok := s != "" && len(s) <= maxNameLength && isAlnum(s[0])
	for i := 0; ok && i < len(s); i++ {
		ok = isAlnum(s[i]) || strings.IndexByte("._~-", s[i]) >= 0
	}
	if !ok {
		return &NameError{What: "version", Name: s, Rule: versionRule}
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Release names one version of one product.
type Release struct{ Product, Version string }

// String returns "product@version".
func (r Release) String() string { return r.Product + "@" + r.Version }

// ParseRelease reads "product@version". The error is a *NameError.
func ParseRelease(s string) (Release, error) {
	product, version, found := strings.Cut(s, "@")
	if !found {
		return Release{}, &NameError{What: "release", Name: s, Rule: `write PRODUCT@VERSION, such as "openstack@2.1.0"`}
	}
	r := Release{Product: product, Version: version}
	if err := r.check(); err != nil {
		return Release{}, err
	}
	return r, nil
}

func (r Release) check() error {
	if err := CheckName("product", r.Product); err != nil {
		return err
	}
	return CheckVersion(r.Version)
}

// SiteID names one site of one customer.
type SiteID struct{ Customer, Site string }

// String returns "customer/site".
func (s SiteID) String() string { return s.Customer + "/" + s.Site }

// ParseSite reads "customer/site". The error is a *NameError.
func ParseSite(s string) (SiteID, error) {
	customer, site, found := strings.Cut(s, "/")
	if !found {
		return SiteID{}, &NameError{What: "site", Name: s, Rule: `write CUSTOMER/SITE, such as "acme/staging"`}
	}
	id := SiteID{Customer: customer, Site: site}
	if err := id.check(); err != nil {
		return SiteID{}, err
	}
	return id, nil
}

func (s SiteID) check() error {
	if err := CheckName("customer", s.Customer); err != nil {
		return err
	}
	return CheckName("site", s.Site)
}

// checkDigest accepts a SHA-256 digest in lower-case hex, 64 characters.
func checkDigest(what, s string) error {
	ok := len(s) == 64
	for i := 0; ok && i < len(s); i++ {
		ok = '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
	}
	if !ok {
		return fmt.Errorf("%s %q is not a sha256 digest in lower-case hex", what, clip(s))
	}
	return nil
}

// checkText accepts valid UTF-8 of at most max bytes without control or
// formatting characters, so that showing it cannot drive a terminal. With
// lines, newlines and tabs are allowed. Empty text is accepted.
func checkText(what, s string, max int, lines bool) error {
	if len(s) > max {
		return fmt.Errorf("%s is longer than %d bytes", what, max)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if !showable(r, lines) {
			return fmt.Errorf("%s contains the control character %U", what, r)
		}
	}
	return nil
}

// showable tells whether a rune may be shown on a terminal as it is: no control
// characters, no bidirectional overrides, no private or unassigned tricks.
func showable(r rune, lines bool) bool {
	if lines && (r == '\n' || r == '\t') {
		return true
	}
	return !unicode.Is(unicode.Cc, r) && !unicode.Is(unicode.Cf, r) && r != '\u2028' && r != '\u2029'
}

// CleanText makes foreign text, such as a test's name or a hook's last words,
// fit for a report and for a sentence of Kitchen's: invalid bytes, control
// characters and letters that show nothing become '?', and the result is at
// most max bytes, cut between characters. Newlines, tabs and other spaces
// become spaces, and backquotes, which mark Kitchen's commands, apostrophes.
func CleanText(s string, max int) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case r == '\n' || r == '\t' || unicode.Is(unicode.Zs, r):
			r = ' '
		case r == '`':
			r = '\''
		case !showable(r, false) || blank(r):
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > max {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// WithoutBackquotes is foreign text for a sentence of Kitchen's, in which backquotes mark commands.
func WithoutBackquotes(s string) string { return strings.ReplaceAll(s, "`", "'") }

// blank tells whether a letter or symbol shows nothing.
func blank(r rune) bool {
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || strings.ContainsRune("\u2800\U00013441\U00013442\U00016fe4\U0001d159", r)
}

// clip shortens what an error quotes.
func clip(s string) string {
	if len(s) <= 120 {
		return s
	}
	return strings.ToValidUTF8(s[:120], "") + "…"
}
