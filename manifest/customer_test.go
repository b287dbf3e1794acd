package manifest

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCustomerGolden(t *testing.T) {
	c := sampleCustomer()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "acme.toml", data)
	back, err := ParseCustomer("acme.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, c) {
		t.Errorf("have %+v\nwant %+v", back, c)
	}
}

func TestVendor(t *testing.T) {
	c := &Customer{Customer: "enovance", Vendor: true, Subscribe: []string{"*"}}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "enovance.toml", data)
	back, err := ParseCustomer("enovance.toml", data)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("have %+v, %v", back, err)
	}
	if !c.Subscribes("anything") || sampleCustomer().Subscribes("anything") || !sampleCustomer().Subscribes("ceph") {
		t.Error("Subscribes")
	}
}

// TestTimesAreCut: a clock's nanoseconds and zone do not reach a document.
func TestTimesAreCut(t *testing.T) {
	c := sampleCustomer()
	c.Sites[0].Keys[0].ValidFrom = noon.Add(7 * time.Millisecond).In(time.FixedZone("CET", 3600))
	have, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := sampleCustomer().Encode(); !bytes.Equal(have, want) {
		t.Errorf("have %s", have)
	}
}

func TestSiteAndValidity(t *testing.T) {
	c := sampleCustomer()
	if s := c.Site("staging-2"); s == nil || !s.Retired || c.Site("none") != nil {
		t.Error("Site")
	}
	k := c.Site("staging").Keys[0]
	for at, want := range map[time.Time]bool{
		noon: true, noon.Add(-time.Second): false, noon.AddDate(1, 0, 0): false, noon.AddDate(1, 0, 0).Add(-time.Second): true,
	} {
		if k.ValidAt(at) != want {
			t.Errorf("ValidAt(%v) = %v", at, !want)
		}
	}
	if open := c.Site("staging").Keys[1]; !open.ValidAt(noon.AddDate(50, 0, 0)) {
		t.Error("an open key ends")
	}
}

func TestBadCustomer(t *testing.T) {
	good, err := sampleCustomer().Encode()
	if err != nil {
		t.Fatal(err)
	}
	pem := func(key string) string { return "\"\"\"\n" + key + "\"\"\"" }
	for _, c := range []struct {
		name, old, new string
		line           int
		says           string
	}{
		{"unknown key", `name = "staging-2"`, "name = \"staging-2\"\nadmin = true", 29, "site[1].admin: unknown key"},
		{"unknown key of a site's second key", "valid_from = 2026-12-31T12:00:00Z", "valid_from = 2026-12-31T12:00:00Z\nx = 1", 21, "site[0].key[1].x: unknown key"},
		{"no customer", `customer = "acme"`, ``, 0, "customer: is missing"},
		{"bad customer", `"acme"`, `"Acme"`, 1, "lower-case"},
		{"escape in the name", `name = "ACME`, `name = "\u001b]ACME`, 2, "control character"},
		{"star among others", `"ceph"`, `"*"`, 3, "must be alone"},
		{"product twice", `"ceph"`, `"openstack"`, 3, "listed twice"},
		{"bad product", `"ceph"`, `"../ceph"`, 3, "subscribe[1]"},
		{"bad kind", `kind = "ci"`, `kind = "test"`, 7, `site[0].kind: "test" is neither`},
		{"site twice", `"staging-2"`, `"staging"`, 28, "listed twice"},
		{"waits for nobody", `"acme/staging",`, `"acme/stage",`, 30, `no site "acme/stage"`},
		{"waits for itself", `"acme/staging",`, `"acme/staging-2",`, 30, "waits for itself"},
		{"waits for what is no site", `"acme/staging",`, `"staging",`, 30, "site[1].after[0]"},
		{"local time", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", 10, "wants a time with its offset"},
		{"fraction of a second", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", 10, "whole seconds"},
		{"ends before it begins", "valid_to = 2027", "valid_to = 2025", 11, "not after valid_from"},
		{"no key", string(good[bytes.LastIndex(good, []byte("[[site.key]]")):]), "", 27, "needs 1 to 64"},
		{"key of another site", pem(keyB), pem(keyA), 35, `also a key of the site "staging"`},
		{"P-384 key", pem(keyB), pem(keyP384), 35, "neither a P-256"},
		{"private key", pem(keyB), pem(strings.ReplaceAll(keyB, "PUBLIC", "PRIVATE")), 35, "exactly one PEM block"},
		{"two keys in one", pem(keyB), pem(keyB + keyA), 35, "exactly one PEM block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(string(good), c.old, c.new, 1)
			if text == string(good) {
				t.Fatal("the case changes nothing")
			}
			got, err := ParseCustomer("acme.toml", []byte(text))
			if got != nil {
				t.Error("a value came with the error")
			}
			where := "acme.toml: "
			if c.line > 0 {
				where = fmt.Sprintf("acme.toml:%d: ", c.line)
			}
			wantError(t, err, where, c.says)
		})
	}
}
