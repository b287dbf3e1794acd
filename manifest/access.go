package manifest

import (
	"slices"
	"strings"
)

// Access is what a party may do in the bucket: the least that its commands need. Trust never rests on it; it keeps
// people out of each other's way, and out of each other's reports. Prefixes are those of object keys, "" being all
// of them; <customer> and <site> stand for the party's own (see For). Nobody needs the right to delete.
type Access struct {
	Persona string   // as docs/ACCESS.md names it
	Uses    string   // the commands that need these rights
	Reads   []string // s3:GetObject below
	Lists   []string // s3:ListBucket with this prefix
	Creates []string // s3:PutObject below, each object once (If-None-Match: *)
	Swaps   []string // s3:PutObject of these, by If-Match
}

// all is every object of the catalog.
var all = []string{""}

// Accesses is the matrix of personas and rights, the widest first.
var Accesses = []Access{
	{Persona: "founder", Uses: "init", Reads: all, Lists: all, Creates: all, Swaps: []string{TimestampObject, "_kitchen/"}},
	{Persona: "committer", Uses: "commit, and every signing command with the online key", Reads: all, Lists: all,
		Creates: []string{"metadata/", "targets/", "blobs/", "evidence/", "journal/", PendingPrefix}, Swaps: []string{TimestampObject}},
	{Persona: "root holder", Uses: "product add, role rotate, role set-threshold, sign, pending", Reads: all, Lists: []string{PendingPrefix},
		Creates: []string{PendingPrefix}},
	{Persona: "administrator", Uses: "customer, site", Reads: all, Lists: []string{PendingPrefix},
		Creates: []string{PendingPrefix, "targets/registry/", "targets/policy/"}},
	{Persona: "release engineer", Uses: "publish, yank, recall, sign, pending", Reads: all, Lists: []string{PendingPrefix},
		Creates: []string{PendingPrefix, "blobs/", "targets/catalog/", "targets/recalled/"}},
	{Persona: "vendor's CI", Uses: "run, validate, report", Reads: all, Lists: []string{PendingPrefix, "reports/<customer>/<site>/"},
		Creates: []string{PendingPrefix, "targets/validated/", "reports/<customer>/<site>/"}},
	{Persona: "sysadmin", Uses: "status, certify, decertify, recall, sign, pending", Reads: all, Lists: []string{PendingPrefix, "reports/"},
		Creates: []string{PendingPrefix, "evidence/", "targets/ready-to-deploy", "targets/recalled/"}},
	{Persona: "operator", Uses: "status, log, list, show, pending", Reads: all, Lists: []string{PendingPrefix, "reports/"}},
	{Persona: "auditor", Uses: "check, and what an operator does", Reads: all, Lists: all},
	{Persona: "customer's site", Uses: "refresh, fetch, run, report", Reads: []string{"metadata/", "targets/", "blobs/", "reports/<customer>/", "journal/"},
		Lists: []string{"reports/<customer>/"}, Creates: []string{"reports/<customer>/<site>/"}},
	{Persona: "production host", Uses: "refresh, fetch, ready, deploy, deployed, run", Reads: []string{"metadata/", "targets/", "blobs/", "reports/<customer>/<site>/", "journal/"},
		Lists: []string{"reports/<customer>/<site>/"}, Creates: []string{"reports/<customer>/<site>/"}},
	{Persona: "reader", Uses: "refresh, list, show, ready, fetch without a site", Reads: []string{"metadata/", "targets/", "blobs/"}},
}

// For puts a site's names in, and leaves the matrix as it is.
func (a Access) For(site SiteID) Access {
	names := strings.NewReplacer("<customer>", site.Customer, "<site>", site.Site)
	for _, list := range []*[]string{&a.Reads, &a.Lists, &a.Creates, &a.Swaps} {
		named := make([]string, len(*list))
		for i, prefix := range *list {
			named[i] = names.Replace(prefix)
		}
		*list = named
	}
	return a
}

// Access is what one credential for all sites of the customer needs: the rows of its sites, with targets/ narrowed to
// what all customers share (the registry and the policy) and to the stages of the given products, nil being all that
// it subscribes to. Of the sites of other customers that its own wait for it reads the reports on these products,
// and no logs.
func (c *Customer) Access(products []string) Access {
	if products == nil {
		products = c.Subscribe
	}
	below := make([]string, len(products)) // "" is every product
	for i, product := range products {
		if product != "*" {
			below[i] = product + "/"
		}
	}
	own := "reports/" + c.Customer + "/"
	reads := []string{"metadata/", "targets/registry/", "targets/policy/"}
	for _, stage := range []string{StageCatalog, StageValidated, StageReady, StageReadyFor(c.Customer), StageRecalled} {
		for _, product := range below {
			reads = append(reads, "targets/"+stage+"/"+product)
		}
	}
	a := Access{Persona: c.Customer, Uses: "all that its sites do", Lists: []string{own}, Creates: []string{own}}
	for _, other := range c.waitedFor() {
		for _, product := range below {
			reads = append(reads, ReportsPrefix(other)+product)
			a.Lists = append(a.Lists, ReportsPrefix(other)+product)
		}
	}
	a.Reads = append(reads, "blobs/", "journal/", own)
	return a
}

// waitedFor are the sites of other customers that the customer's own wait for, sorted.
func (c *Customer) waitedFor() []SiteID {
	var names []string
	for _, site := range c.Sites {
		if !site.Retired {
			names = append(names, site.After...)
		}
	}
	slices.Sort(names)
	var others []SiteID
	for _, name := range slices.Compact(names) {
		if id, err := ParseSite(name); err == nil && id.Customer != c.Customer {
			others = append(others, id)
		}
	}
	return others
}
