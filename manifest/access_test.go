package manifest

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestAccessDoc holds the matrix of docs/ACCESS.md to the table of access.go.
func TestAccessDoc(t *testing.T) {
	text, err := os.ReadFile("../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	cell := func(prefixes []string) string {
		switch {
		case len(prefixes) == 0:
			return "–"
		case slices.Equal(prefixes, all):
			return "everything"
		}
		return "`" + strings.Join(prefixes, "` `") + "`"
	}
	var rows []string
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, line)
		}
	}
	for _, a := range Accesses {
		row := "| " + strings.Join([]string{a.Persona, a.Uses, cell(a.Reads), cell(a.Lists), cell(a.Creates), cell(a.Swaps)}, " | ") + " |"
		if !slices.Contains(rows, row) {
			t.Errorf("docs/ACCESS.md lacks the row\n%s", row)
		}
	}
	if len(rows) < len(Accesses)+1 || !strings.HasPrefix(rows[0], "| party | uses |") {
		t.Errorf("docs/ACCESS.md has %d rows and begins with %q", len(rows), rows[:1])
	}
}

// TestAccessMeansObjects: every prefix is one of objects that a catalog has, and nobody but the committer and the
// founder may change what others rely on.
func TestAccessMeansObjects(t *testing.T) {
	site := SiteID{"c", "s"}
	for _, a := range Accesses {
		a = a.For(site)
		for _, prefix := range slices.Concat(a.Reads, a.Lists, a.Creates, a.Swaps) {
			if prefix == "reports/c/" {
				prefix = "reports/c/s/"
			}
			found := false
			for _, key := range kindSamples {
				key = strings.NewReplacer("targets/catalog/p/1/", prefix).Replace(key)
				found = found || strings.HasPrefix(key, prefix)
			}
			if !found {
				t.Errorf("%s: %q is no prefix of any object of a catalog", a.Persona, prefix)
			}
		}
		mayCommit := a.Persona == "founder" || a.Persona == "committer"
		for _, prefix := range a.Creates {
			if !mayCommit && (strings.HasPrefix(TimestampObject, prefix) || strings.HasPrefix("metadata/", prefix)) {
				t.Errorf("%s may write metadata", a.Persona)
			}
		}
		if len(a.Swaps) > 0 != mayCommit {
			t.Errorf("%s swaps %q", a.Persona, a.Swaps)
		}
	}
	if strings.Contains(Accesses[len(Accesses)-3].Reads[3], site.Customer+"/") {
		t.Error("For changed the matrix itself")
	}
}

// TestCustomerAccess: what all sites of a customer need together lies within the rows of its sites, and says which
// products and whose reports.
func TestCustomerAccess(t *testing.T) {
	c := &Customer{Customer: "acme", Subscribe: []string{"nova", "openstack"}, Sites: []Site{
		{Name: "staging", Kind: SiteCI, After: []string{"enovance/ci"}}, {Name: "second", Kind: SiteCI, After: []string{"acme/staging", "enovance/ci"}},
		{Name: "gone", Kind: SiteCI, After: []string{"beta/ci"}, Retired: true},
	}}
	got := c.Access([]string{"openstack"})
	want := Access{Persona: "acme", Uses: got.Uses,
		Reads: strings.Fields("metadata/ targets/registry/ targets/policy/ targets/catalog/openstack/ targets/validated/openstack/ " +
			"targets/ready-to-deploy/openstack/ targets/ready-to-deploy.acme/openstack/ targets/recalled/openstack/ " +
			"reports/enovance/ci/openstack/ blobs/ journal/ reports/acme/"),
		Lists: []string{"reports/acme/", "reports/enovance/ci/openstack/"}, Creates: []string{"reports/acme/"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("one product:\n%+v, want\n%+v", got, want)
	}
	if all := c.Access(nil); len(all.Reads) != len(got.Reads)+6 || len(all.Lists) != 3 {
		t.Errorf("both products: %+v", all)
	}
	everything := &Customer{Customer: "acme", Subscribe: []string{"*"}}
	if reads := everything.Access(nil).Reads; !slices.Contains(reads, "targets/ready-to-deploy.acme/") || slices.Contains(reads, "targets/") {
		t.Errorf("every product: %q", reads)
	}
	row := Accesses[slices.IndexFunc(Accesses, func(a Access) bool { return a.Persona == "customer's site" })].For(SiteID{"acme", "staging"})
	for _, prefix := range got.Reads {
		within := strings.HasPrefix(prefix, "reports/enovance/ci/") // the chain's
		for _, p := range row.Reads {
			within = within || strings.HasPrefix(prefix, p)
		}
		if !within {
			t.Errorf("%q is more than the row %q reads", prefix, row.Persona)
		}
	}
}
