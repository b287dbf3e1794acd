package manifest

import "strings"

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
	{Persona: "root holder", Uses: "product add, sign, pending", Reads: all, Lists: []string{PendingPrefix},
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
