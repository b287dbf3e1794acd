package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words of PolicyRule.Require that stand for several sites. All else there is a site's name, "acme/staging".
const (
	VendorCI   = "vendor-ci"   // every CI site of the vendor, and there has to be one
	CustomerCI = "customer-ci" // every CI site of the customer that is certified for, likewise; nobody's in a certificate for everybody
)

// Words of the other settings of PolicyRule.
const (
	ChainEvery = "every" // every required site has to have passed
	ChainLast  = "last"  // a required site that another one waits for need not have
	WarnedFail = "fail"
	WarnedPass = "pass"
	SpanNone   = "none" // no limit, where a wider rule has one
)

// Policy is the certification policy, policy/policy.toml: what a certificate has to rest on. A setting that Default
// leaves out is that of DefaultRequirements; one that a rule leaves out is that of the next wider rule.
type Policy struct {
	Default PolicyRule   `toml:"default"`
	Rules   []PolicyRule `toml:"rule"` // no two for the same product and customer
}

// PolicyRule is what holds for some certificates: those of a product, those for a customer alone, or both.
type PolicyRule struct {
	Product  string   `toml:"product"`  // "" = every product
	Customer string   `toml:"customer"` // "" = whomever the certificate is for; a name = certificates for that customer alone
	Require  []string `toml:"require"`  // sites whose latest report has to be PASSED: VendorCI, CustomerCI, names
	Chain    string   `toml:"chain"`    // ChainEvery | ChainLast
	Warned   string   `toml:"warned"`   // WarnedFail | WarnedPass: of a required site
	MaxAge   Span     `toml:"max_age"`  // of a required site's report, from the end of its run
	Soak     Span     `toml:"soak"`     // since the journal saw the first PASSED of a required site
}

// Span is a duration as a policy writes it: a whole number of minutes (90m), hours (72h) or days (30d), or SpanNone.
// "" is not said.
type Span string

// Duration is the span's length; 0 for SpanNone and what is not said.
func (s Span) Duration() time.Duration {
	d, _ := s.parse()
	return d
}

func (s Span) parse() (time.Duration, error) {
	if s == "" || s == SpanNone {
		return 0, nil
	}
	unit := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[s[len(s)-1]]
	number := string(s[:len(s)-1])
	n, err := strconv.ParseInt(number, 10, 64)
	if unit == 0 || err != nil || n < 1 || strconv.FormatInt(n, 10) != number || n > int64(100*365*24*time.Hour/unit) {
		return 0, fmt.Errorf(`%q is no duration; write it like "90m", "72h" or "30d", or "none"`, clip(string(s)))
	}
	return time.Duration(n) * unit, nil
}

// Requirements are the settings that hold for one certificate.
type Requirements struct {
	Require     []string
	LastOfChain bool
	WarnedPass  bool
	MaxAge      time.Duration // 0 = no limit
	Soak        time.Duration // 0 = none
}

// DefaultRequirements hold where no policy was signed: the vendor's CI passed and, for one customer, every CI site of
// that customer.
func DefaultRequirements() Requirements {
	return Requirements{Require: []string{VendorCI, CustomerCI}}
}

// For gives what holds for a certificate of a product for everybody, or for one customer alone: of each setting
// what the rule for product and customer says, else the one for the customer, else the one for the product, else
// Default, else DefaultRequirements.
func (p *Policy) For(product, customer string) Requirements {
	req := DefaultRequirements()
	p.Default.apply(&req)
	for _, scope := range [][2]string{{product, ""}, {"", customer}, {product, customer}} {
		for i := range p.Rules {
			if r := &p.Rules[i]; r.Product == scope[0] && r.Customer == scope[1] {
				r.apply(&req)
			}
		}
	}
	return req
}

func (r *PolicyRule) apply(to *Requirements) {
	if r.Require != nil {
		to.Require = r.Require
	}
	if r.Chain != "" {
		to.LastOfChain = r.Chain == ChainLast
	}
	if r.Warned != "" {
		to.WarnedPass = r.Warned == WarnedPass
	}
	if r.MaxAge != "" {
		to.MaxAge = r.MaxAge.Duration()
	}
	if r.Soak != "" {
		to.Soak = r.Soak.Duration()
	}
}

const (
	maxPolicyRules   = 10_000
	maxPolicyRequire = 1000
)

// ParsePolicy reads a policy; name is what errors call it. It is strict: unknown keys, wrong types and
// contradictions are errors of type *FileError that carry the line. The document is at most 1 MiB. Whether the
// sites, products and customers exist is for the registry to say.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	if int64(len(data)) > kindPolicy.MaxSize {
		return nil, &FileError{Name: name, Reason: "is larger than 1 MiB"}
	}
	var p Policy
	if err := DecodeTOML(name, data, &p); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, located(name, data, err)
	}
	return &p, nil
}

// Encode renders the policy, the rules in order. The same policy gives the same bytes, and ParsePolicy gives the
// same policy back.
func (p *Policy) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("certification policy: %w", err)
	}
	w := &tomlWriter{}
	w.table("[default]")
	w.policyRule(&p.Default)
	rules := slices.Clone(p.Rules)
	slices.SortFunc(rules, func(a, b PolicyRule) int {
		return cmp.Or(strings.Compare(a.Product, b.Product), strings.Compare(a.Customer, b.Customer))
	})
	for i := range rules {
		w.blank()
		w.table("[[rule]]")
		w.policyRule(&rules[i])
	}
	if int64(len(w.b)) > kindPolicy.MaxSize {
		return nil, errors.New("certification policy: is larger than 1 MiB")
	}
	return w.b, nil
}

func (w *tomlWriter) policyRule(r *PolicyRule) {
	for _, s := range [][2]string{{"product", r.Product}, {"customer", r.Customer}} {
		if s[1] != "" {
			w.str(s[0], s[1])
		}
	}
	w.list("require", r.Require)
	for _, s := range r.settings() {
		if s[1] != "" {
			w.str(s[0], s[1])
		}
	}
}

// settings are all but the sites, by name.
func (r *PolicyRule) settings() [][2]string {
	return [][2]string{{"chain", r.Chain}, {"warned", r.Warned}, {"max_age", string(r.MaxAge)}, {"soak", string(r.Soak)}}
}

func (r *PolicyRule) empty() bool { return r.Words() == "" }

// Scope says in words which certificates the rule is for.
func (r *PolicyRule) Scope() string {
	switch {
	case r.Product == "" && r.Customer == "":
		return "every certificate"
	case r.Product == "":
		return "certificates for " + r.Customer
	case r.Customer == "":
		return "certificates of " + r.Product
	}
	return "certificates of " + r.Product + " for " + r.Customer
}

// Words are the rule's settings in words; "" when it has none.
func (r *PolicyRule) Words() string {
	var parts []string
	if len(r.Require) > 0 {
		require := slices.Clone(r.Require)
		for i, name := range require {
			if name == CustomerCI && r.Customer == "" {
				require[i] += " (with --for)"
			}
		}
		parts = append(parts, "PASSED by "+strings.Join(require, ", "))
	}
	for _, s := range r.settings() {
		if s[1] != "" {
			parts = append(parts, s[0]+" "+s[1])
		}
	}
	return strings.Join(parts, "; ")
}

// Sites are the sites that the policy names, each once, sorted.
func (p *Policy) Sites() []SiteID {
	var names []string
	for _, r := range append([]PolicyRule{p.Default}, p.Rules...) {
		names = append(names, r.Require...)
	}
	slices.Sort(names)
	var sites []SiteID
	for _, name := range slices.Compact(names) {
		if id, err := ParseSite(name); err == nil {
			sites = append(sites, id)
		}
	}
	return sites
}

func (p *Policy) check() error {
	if p.Default.Product != "" || p.Default.Customer != "" {
		return fieldf("default", "is for every product and customer; write a [[rule]] for one")
	}
	if err := p.Default.check("default"); err != nil {
		return err
	}
	if len(p.Rules) > maxPolicyRules {
		return fieldf("rule", "more than %d rules", maxPolicyRules)
	}
	seen := map[[2]string]bool{}
	for i := range p.Rules {
		r, at := &p.Rules[i], indexKey("rule", i)
		scope := [2]string{r.Product, r.Customer}
		switch {
		case scope == [2]string{}:
			return fieldf(at, "names neither product nor customer; what holds for all is in [default]")
		case seen[scope]:
			return fieldf(at, "there is another rule for %s", r.Scope())
		case r.empty():
			return fieldf(at, "says nothing: write require, chain, warned, max_age or soak")
		}
		seen[scope] = true
		if err := r.check(at); err != nil {
			return err
		}
	}
	return nil
}

func (r *PolicyRule) check(at string) error {
	for what, name := range map[string]string{"product": r.Product, "customer": r.Customer} {
		if name != "" {
			if err := CheckName(what, name); err != nil {
				return field(at+"."+what, err)
			}
		}
	}
	if err := r.checkRequire(at); err != nil {
		return err
	}
	if !slices.Contains([]string{"", ChainEvery, ChainLast}, r.Chain) {
		return fieldf(at+".chain", "%q is neither %q nor %q", clip(r.Chain), ChainEvery, ChainLast)
	}
	if !slices.Contains([]string{"", WarnedFail, WarnedPass}, r.Warned) {
		return fieldf(at+".warned", "%q is neither %q nor %q", clip(r.Warned), WarnedFail, WarnedPass)
	}
	if _, err := r.MaxAge.parse(); err != nil {
		return field(at+".max_age", err)
	}
	_, err := r.Soak.parse()
	return field(at+".soak", err)
}

func (r *PolicyRule) checkRequire(at string) error {
	at += ".require"
	if r.Require != nil && len(r.Require) == 0 || len(r.Require) > maxPolicyRequire {
		return fieldf(at, "names between 1 and %d sites", maxPolicyRequire)
	}
	for i, name := range r.Require {
		if slices.Contains(r.Require[:i], name) {
			return fieldf(indexKey(at, i), "%q is listed twice", clip(name))
		}
		if name == VendorCI || name == CustomerCI {
			continue
		}
		if _, err := ParseSite(name); err != nil {
			return field(indexKey(at, i), fmt.Errorf("is neither %q nor %q, and no site: %w", VendorCI, CustomerCI, err))
		}
	}
	return nil
}
