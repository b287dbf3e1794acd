package publisher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// verdict is the latest one of acme/staging on openstack@1.0.0 as a fresh reader counts it; "" for none.
func (w *world) verdict(t *testing.T) string {
	t.Helper()
	reports, err := w.view(t).Reports(ctx, catalog.ReportFilter{})
	check(t, err)
	if latest := reports.Latest(siteID("acme/staging"), release("openstack@1.0.0")); latest != nil {
		return latest.Verdict()
	}
	return ""
}

func (w *world) rotate(t *testing.T, online bool, to key, since time.Time) *publisher.Outcome {
	t.Helper()
	p := w.publisher(t, nil)
	if online {
		p = w.publisher(t, w.online)
	}
	out, err := p.RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: to.Public(), CompromisedSince: since}, signers(w.admin))
	check(t, err)
	return out
}

// TestRotateSiteKey: what was sent before counts, although the commit of the rotation is the first to see it; what the
// old key signs afterwards does not, and the site's chain goes on with the new one.
func TestRotateSiteKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	next := catalogtest.NewKey(t)
	if out := w.rotate(t, true, next, time.Time{}); out.Status != publisher.Committed {
		t.Fatalf("%+v", out)
	}
	check(t, w.journaled(t, 2))
	w.now = w.now.Add(time.Hour)
	if v := w.verdict(t); v != manifest.Failed {
		t.Errorf("what was sent before the rotation counts as %q", v)
	}
	w.report(t, "acme/staging", next, "openstack@1.0.0", manifest.Passed, nil)
	if v := w.verdict(t); v != manifest.Passed {
		t.Errorf("the new key's: %q", v)
	}
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	if v := w.verdict(t); v != manifest.Passed {
		t.Errorf("the old key's: %q", v)
	}
	must(t, publisher.Unchanged)(w.rotate(t, true, next, time.Time{}), nil)
	_, err := w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: w.stagingCI.Public()}, signers(w.admin))
	wantError[*publisher.Invalid](t, err, "had the key", "before")
	_, err = w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: w.vendorCI.Public()}, signers(w.admin))
	wantError[*publisher.Invalid](t, err, "enovance/ci")
	_, err = w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/nobody"), Key: catalogtest.NewKey(t).Public()}, signers(w.admin))
	wantError[*catalog.UnknownSite](t, err)
	_, err = w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: catalogtest.NewKey(t).Public()}, signers(w.engineer))
	wantError[*publisher.NotAuthorized](t, err)
}

// TestRotateACompromisedKey: what the journal saw since the theft does not count any more, what it saw before does.
func TestRotateACompromisedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	commit(t, w.publisher(t, w.online))
	w.now = w.now.Add(time.Hour)
	theft := w.now
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	commit(t, w.publisher(t, w.online))
	if v := w.verdict(t); v != manifest.Passed {
		t.Errorf("nobody knows yet: %q", v)
	}
	w.now = w.now.Add(catalogtest.Day)
	out := w.rotate(t, true, catalogtest.NewKey(t), theft)
	if !strings.Contains(strings.Join(out.Summary, " "), "DO NOT COUNT") {
		t.Errorf("%q", out.Summary)
	}
	if v := w.verdict(t); v != manifest.Failed {
		t.Errorf("the thief's report counts: %q", v)
	}
	_, err := w.publisher(t, w.online).RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/staging"), CompromisedSince: w.now.Add(time.Hour)}, signers(w.admin))
	wantError[*publisher.Invalid](t, err, "yet to come")
}

// TestRetireSite: a proposal says what it means; once in effect the site decides nothing, and nothing brings it back.
func TestRetireSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mustCommit(t)(w.publisher(t, w.online).AddSite(ctx, w.site("acme/staging-2", catalogtest.NewKey(t), "acme/staging"), signers(w.admin)))
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	retire := func(p *publisher.Publisher, since time.Time) (*publisher.Outcome, error) {
		return p.RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/staging"), CompromisedSince: since}, signers(w.admin))
	}
	out := must(t, publisher.Pending)(retire(w.publisher(t, nil), time.Time{}))
	if text := strings.Join(out.Summary, " "); !strings.Contains(text, "is retired") || !strings.Contains(text, "acme/staging-2 waits for it") {
		t.Errorf("%q", out.Summary)
	}
	pending, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)
	if text := strings.Join(pending[0].Change, " "); !strings.Contains(text, "acme: site staging: ci, retired, key "+short(w.stagingCI)) || !strings.Contains(text, " to 2026-") {
		t.Errorf("pending says %q", text)
	}
	commit(t, w.publisher(t, w.online))
	must(t, publisher.Unchanged)(retire(w.publisher(t, w.online), time.Time{}))
	w.now = w.now.Add(time.Minute)
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	commit(t, w.publisher(t, w.online))
	if v := w.verdict(t); v != manifest.Failed {
		t.Errorf("after its retirement: %q", v)
	}
	result, err := w.publisher(t, w.online).Certify(ctx, release("openstack@1.0.0"), publisher.CertifyRequest{DryRun: true}, nil)
	if err != nil || len(result.Unmet) != 0 {
		t.Errorf("a retired site stands in the way: %v, %+v", err, result)
	}
	mustCommit(t)(retire(w.publisher(t, w.online), w.now.Add(-time.Hour))) // the theft is found later
	if v := w.verdict(t); v != "" {
		t.Errorf("it counts as %q", v)
	}
	_, err = w.publisher(t, w.online).RotateSiteKey(ctx, publisher.RotateRequest{Site: siteID("acme/staging"), Key: catalogtest.NewKey(t).Public()}, signers(w.admin))
	wantError[*publisher.Invalid](t, err, "is retired")
}

// TestSuspendCustomer, and back: its FAILED stands against nobody meanwhile, and what it reports is not recorded.
func TestSuspendCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, "openstack@1.0.0")
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Failed, nil)
	commit(t, w.publisher(t, w.online))
	suspend := func(name string, on bool) (*publisher.Outcome, error) {
		return w.publisher(t, w.online).SuspendCustomer(ctx, name, on, signers(w.admin))
	}
	unmet := func() int {
		result, err := w.publisher(t, w.online).Certify(ctx, release("openstack@1.0.0"), publisher.CertifyRequest{DryRun: true}, nil)
		if result == nil {
			t.Fatal(err)
		}
		return len(result.Unmet)
	}
	if n := unmet(); n != 1 {
		t.Errorf("%d unmet", n)
	}
	mustCommit(t)(suspend("acme", true))
	must(t, publisher.Unchanged)(suspend("acme", true))
	if n := unmet(); n != 0 {
		t.Errorf("%d unmet while it is suspended", n)
	}
	w.report(t, "acme/staging", w.stagingCI, "openstack@1.0.0", manifest.Passed, nil)
	if result := commit(t, w.publisher(t, w.online)); result.Journaled != 0 {
		t.Errorf("recorded: %+v", result)
	}
	out := mustCommit(t)(suspend("acme", false))
	if !strings.Contains(strings.Join(out.Summary, " "), "no longer suspended") {
		t.Errorf("%q", out.Summary)
	}
	_, err := suspend("enovance", true)
	wantError[*publisher.Invalid](t, err, "is the vendor")
	_, err = suspend("nobody", true)
	wantError[*catalog.UnknownCustomer](t, err)
}

// TestWhatIsGoneDoesNotComeBack, however many administrators sign it.
func TestWhatIsGoneDoesNotComeBack(t *testing.T) {
	t.Parallel()
	start := newWorld(t)
	next := catalogtest.NewKey(t)
	start.rotate(t, true, next, start.now.Add(-time.Minute))
	mustCommit(t)(start.publisher(t, start.online).AddSite(ctx, start.site("acme/old", catalogtest.NewKey(t)), signers(start.admin)))
	mustCommit(t)(start.publisher(t, start.online).RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/old")}, signers(start.admin)))
	for says, edit := range map[string]func(c *manifest.Customer){
		"is retired, and would not be": func(c *manifest.Customer) { c.Site("old").Retired = false },
		"would be dropped":             func(c *manifest.Customer) { s := c.Site("staging"); s.Keys = s.Keys[1:] },
		"for longer":                   func(c *manifest.Customer) { c.Site("staging").Keys[0].ValidTo = time.Time{} },
		"would be valid for longer":    func(c *manifest.Customer) { c.Site("staging").Keys[0].CompromisedSince = time.Time{} },
		"would be valid again": func(c *manifest.Customer) {
			s := c.Site("staging")
			s.Keys = append(s.Keys, manifest.SiteKey{Public: s.Keys[0].Public, ValidFrom: start.now.UTC()})
		},
	} {
		w := start.copy(t)
		entry, err := w.view(t).Customer(ctx, "acme")
		check(t, err)
		edit(entry)
		data, err := entry.Encode()
		check(t, err)
		path := manifest.RegistryTarget("acme")
		w.put(t, manifest.TargetObject(path, catalogtest.Digest(data)), data)
		w.craft(t, crafted{manifest.RoleRegistry, lists(path, trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data)}), signers(w.admin)})
		result := commit(t, w.publisher(t, w.online))
		if len(result.Committed) != 0 || len(result.Refused) != 1 || !strings.Contains(result.Refused[0].Refused, says) {
			t.Errorf("%s: %+v", says, result)
		}
	}
}

// TestASiteWaitsForOthers: what a site waits for can be changed, in a circle it cannot.
func TestASiteWaitsForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	addSite := func(name string) {
		t.Helper()
		must(t, publisher.Committed)(p.AddSite(ctx, publisher.SiteRequest{Site: siteID(name), Kind: manifest.SiteCI, Key: catalogtest.NewKey(t).Public()}, signers(w.admin)))
	}
	addSite("acme/first")
	addSite("acme/second")
	after := func(site string, others ...string) (*publisher.Outcome, error) {
		var ids []manifest.SiteID
		for _, name := range others {
			ids = append(ids, siteID(name))
		}
		return p.ChangeSiteAfter(ctx, siteID(site), ids, signers(w.admin))
	}
	must(t, publisher.Committed)(after("acme/second", "acme/staging", "acme/first"))
	must(t, publisher.Unchanged)(after("acme/second", "acme/first", "acme/staging"))
	c, err := w.view(t).Customer(ctx, "acme")
	check(t, err)
	if got := strings.Join(c.Site("second").After, " "); got != "acme/first acme/staging" {
		t.Errorf("waits for %s", got)
	}
	_, err = after("acme/first", "acme/second")
	wantError[*publisher.Invalid](t, err, "wait for each other")
	_, err = after("acme/first", "acme/nobody")
	wantError[*publisher.Invalid](t, err, "does not exist")
	_, err = p.ChangeSiteAfter(ctx, siteID("acme/first"), nil, signers(w.engineer))
	must(t, publisher.Unchanged)(after("acme/first"))
	wantError[*publisher.NotAuthorized](t, err)
	must(t, publisher.Committed)(after("acme/second"))
	must(t, publisher.Committed)(p.RetireSite(ctx, publisher.RetireRequest{Site: siteID("acme/second")}, signers(w.admin)))
	_, err = after("acme/second", "acme/first")
	wantError[*publisher.Invalid](t, err, "retired")
}

// TestACustomerFollowsOthers: subscriptions come and go one by one, or all at once.
func TestACustomerFollowsOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publisher(t, w.online)
	must(t, publisher.Committed)(p.AddCustomer(ctx, publisher.CustomerRequest{Name: "globex"}, signers(w.admin)))
	change := func(name string, add, remove []string) (*publisher.Outcome, error) {
		return p.ChangeCustomer(ctx, publisher.CustomerChange{Name: "globex", DisplayName: name, Subscribe: add, Unsubscribe: remove}, signers(w.admin))
	}
	follows := func(want string) {
		t.Helper()
		c, err := w.view(t).Customer(ctx, "globex")
		check(t, err)
		if got := strings.Join(c.Subscribe, " "); got != want {
			t.Errorf("follows %q, want %q", got, want)
		}
	}
	must(t, publisher.Committed)(change("Globex Corporation", []string{"openstack"}, nil))
	must(t, publisher.Unchanged)(change("Globex Corporation", []string{"openstack"}, nil))
	follows("openstack")
	must(t, publisher.Committed)(change("", []string{"*"}, nil))
	follows("*")
	_, err := change("", []string{"openstack"}, nil)
	wantError[*publisher.Invalid](t, err, "follows every product")
	_, err = change("", nil, []string{"openstack"})
	wantError[*publisher.Invalid](t, err, "follows every product")
	must(t, publisher.Committed)(change("", []string{"openstack"}, []string{"*"}))
	follows("openstack")
	must(t, publisher.Committed)(change("", nil, []string{"openstack"}))
	follows("")
	_, err = change("", []string{"nonsense"}, nil)
	wantError[*catalog.UnknownProduct](t, err)
	_, err = change("", []string{"openstack"}, []string{"openstack"})
	wantError[*publisher.Invalid](t, err, "both")
}
