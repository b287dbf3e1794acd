package manifest

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPolicyGolden(t *testing.T) {
	p := samplePolicy()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "policy.toml", data)
	back, err := ParsePolicy("policy.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("it is written again as\n%s\n%v", again, err)
	}
	swapped := samplePolicy()
	swapped.Rules[0], swapped.Rules[2] = swapped.Rules[2], swapped.Rules[0]
	if other, err := swapped.Encode(); err != nil || !bytes.Equal(other, data) {
		t.Errorf("the order of rules matters: %v\n%s", err, other)
	}
	if empty, err := (&Policy{}).Encode(); err != nil || string(empty) != "[default]\n" {
		t.Errorf("the default is %q, %v", empty, err)
	}
}

// Of each setting the narrowest rule that has it counts.
func TestPolicyFor(t *testing.T) {
	const day = 24 * time.Hour
	all := []string{VendorCI, CustomerCI}
	for _, c := range []struct {
		product, customer string
		want              Requirements
	}{
		{"ceph", "", Requirements{Require: all, MaxAge: 30 * day}},
		{"openstack", "", Requirements{Require: []string{VendorCI, "acme/staging"}, MaxAge: 30 * day, Soak: 72 * time.Hour}},
		{"ceph", "acme", Requirements{Require: all, LastOfChain: true, WarnedPass: true, MaxAge: 30 * day}},
		{"openstack", "acme", Requirements{Require: []string{VendorCI, "acme/staging"}, LastOfChain: true, WarnedPass: true}},
		{"openstack", "umbrella", Requirements{Require: []string{VendorCI, "acme/staging"}, MaxAge: 30 * day, Soak: 72 * time.Hour}},
	} {
		if have := samplePolicy().For(c.product, c.customer); !reflect.DeepEqual(have, c.want) {
			t.Errorf("%s for %q: %+v, want %+v", c.product, c.customer, have, c.want)
		}
	}
	if have := (&Policy{}).For("ceph", "acme"); !reflect.DeepEqual(have, Requirements{Require: all}) {
		t.Errorf("the default: %+v", have)
	}
}

func TestBadPolicies(t *testing.T) {
	for text, want := range map[string]string{
		"[default]\nsites = []\n":                                       "unknown key",
		"[default]\nproduct = \"openstack\"\n":                          "write a [[rule]]",
		"[default]\nrequire = []\n":                                     "between 1 and",
		"[default]\nrequire = [\"vendor-ci\", \"ci\"]\n":                "no site",
		"[default]\nrequire = [\"a/b\", \"a/b\"]\n":                     "listed twice",
		"[default]\nchain = \"first\"\n":                                "neither",
		"[default]\nwarned = \"yes\"\n":                                 "neither",
		"[default]\nmax_age = \"30\"\n":                                 "no duration",
		"[default]\nsoak = \"-1d\"\n":                                   "no duration",
		"[default]\nsoak = \"99999999999999999999d\"\n":                 "no duration",
		"[default]\nsoak = \"036500d\"\n":                               "no duration",
		"[[rule]]\nsoak = \"1d\"\n":                                     "neither product nor customer",
		"[[rule]]\nproduct = \"openstack\"\n":                           "says nothing",
		"[[rule]]\nproduct = \"Open Stack\"\nsoak=\"1d\"":               "product",
		"[[rule]]\ncustomer = \"a\"\nsoak = 7\n":                        "wants a string",
		strings.Repeat("[[rule]]\nproduct = \"a\"\nsoak = \"1d\"\n", 2): "another rule",
		strings.Repeat("#", 1<<20+1):                                    "larger than",
	} {
		p, err := ParsePolicy("policy.toml", []byte(text))
		var where *FileError
		if p != nil || !errors.As(err, &where) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %+v, %v, want %q", text, p, err, want)
		}
	}
}

func TestAWaiverEndsWithItsLastDay(t *testing.T) {
	e := sampleEvidence()
	e.Waivers = []Waiver{{Site: "acme/a", Against: "x", Reason: "y"}, {Site: "acme/b", Against: "x", Reason: "y", Until: "2026-03-01"}, {Site: "acme/c", Against: "x", Reason: "y", Until: "2026-02-28"}}
	if want := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC); !e.Ends().Equal(want) {
		t.Errorf("they end at %s", e.Ends())
	}
	if !sampleEvidence().Ends().Equal(time.Time{}) {
		t.Error("no waiver ends")
	}
	for _, until := range []string{"2026-02-30", "2026-1-1", "1999-01-01", "tomorrow", "2026-01-01T00:00:00Z"} {
		e.Waivers[0].Until = until
		if _, err := e.Encode(); err == nil {
			t.Errorf("%q is taken", until)
		}
	}
}

func TestBadWaivers(t *testing.T) {
	good := Waiver{Site: "acme/staging", Against: "its latest report is FAILED", Reason: "broken hardware"}
	for name, change := range map[string]func(*Evidence){
		"twice":                  func(e *Evidence) { e.Waivers = []Waiver{good, good} },
		"no site":                func(e *Evidence) { e.Waivers[0].Site = "customer-ci" },
		"no reason":              func(e *Evidence) { e.Waivers[0].Reason = "" },
		"lines":                  func(e *Evidence) { e.Waivers[0].Against = "a\nb" },
		"policy without version": func(e *Evidence) { e.PolicySHA256 = digest("p") },
		"version without policy": func(e *Evidence) { e.PolicyVersion = 1 },
		"customer":               func(e *Evidence) { e.Customer = "A C" },
	} {
		e := sampleEvidence()
		e.Waivers = []Waiver{good}
		if _, err := e.Encode(); err != nil {
			t.Fatal(err)
		}
		change(e)
		if _, err := e.Encode(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Evidence of before there were policies and waivers is read as it was written.
func TestEvidenceWithoutPolicy(t *testing.T) {
	data, err := sampleEvidence().Encode()
	if err != nil || bytes.Contains(data, []byte("policy")) || bytes.Contains(data, []byte("waivers")) {
		t.Errorf("%s, %v", data, err)
	}
}
