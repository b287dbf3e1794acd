package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/manifest"
)

// parties are the users of the story, and the rows of the matrix that each of them gets.
var parties = []struct{ user, persona, site string }{
	{"founder", "founder", ""}, {"committer", "committer", ""}, {"root", "root holder", ""}, {"admin", "administrator", ""},
	{"engineer", "release engineer", ""}, {"vendor-ci", "vendor's CI", "enovance/ci"}, {"sysadmin", "sysadmin", ""},
	{"operator", "operator", ""}, {"staging", "customer's site", "acme/staging"}, {"prod", "production host", "acme/prod"}, {"reader", "reader", ""}, {"auditor", "auditor", ""},
}

// access is the row of a party.
func access(t *testing.T, persona, site string) manifest.Access {
	t.Helper()
	i := slices.IndexFunc(manifest.Accesses, func(a manifest.Access) bool { return a.Persona == persona })
	if i < 0 {
		t.Fatalf("no persona %q", persona)
	}
	customer, name, _ := strings.Cut(site, "/")
	return manifest.Accesses[i].For(manifest.SiteID{Customer: customer, Site: name})
}

// grant gives every user its row and nothing else, but that who lists, lists all: so many conditions are more than the
// server's 4 KiB. isolation_attack_test.go has them.
func grant(t *testing.T, server *storagetest.S3, bucket string) {
	t.Helper()
	var list []storagetest.Allow
	for _, p := range parties {
		server.User(t, p.user)
		a := access(t, p.persona, p.site)
		for _, prefix := range widest(a.Reads) {
			list = append(list, storagetest.Allow{User: p.user, Actions: []string{"s3:GetObject"}, Prefix: "cat/" + prefix})
		}
		for _, prefix := range widest(slices.Concat(a.Creates, a.Swaps)) {
			list = append(list, storagetest.Allow{User: p.user, Actions: []string{"s3:PutObject"}, Prefix: "cat/" + prefix})
		}
		if len(a.Lists) > 0 {
			list = append(list, storagetest.Allow{User: p.user, Actions: []string{"s3:ListBucket"}})
		}
	}
	server.SetPolicy(t, bucket, list...)
}

// widest leaves out the prefixes that others of them hold: the server's 4 KiB are short.
func widest(prefixes []string) []string {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p string) bool {
		return slices.ContainsFunc(prefixes, func(other string) bool { return other != p && strings.HasPrefix(p, other) })
	})
}

// TestEveryPartyManagesWithItsRights plays the whole story with the rights of docs/ACCESS.md, each party with its row
// alone: what it needs works; everything else is refused by the store, as exit 6 that names the missing right.
func TestEveryPartyManagesWithItsRights(t *testing.T) {
	t.Parallel()
	server := storagetest.StartS3(t)
	bucket := server.Bucket(t)
	store := server.URL(bucket, "cat")
	template, err := catalogTemplate()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	c := &certified{t, dir}
	grant(t, server, bucket)
	config := func(name, more string) {
		c.write(name+".toml", "catalog = \""+store+"\"\nroot = \"s3root.json\"\nstate = \"state-"+name+"\"\n"+more)
	}
	site := func(id, key, hook string) string {
		return "[site]\nid = \"" + id + "\"\nkey = \"keys/" + key + ".key\"\n[hooks]\n" + hook + " = [\"true\"]\n"
	}
	for _, p := range parties {
		config(p.user, "")
	}
	config("committer", "[keys]\nonline = [\"keys/online.key\"]\n")
	config("vendor-ci", "[keys]\n\"validated.openstack\" = [\"keys/validator.key\"]\n"+strings.Replace(site("enovance/ci", "vendor-ci", "test"), "key =", "follow = \"published\"\nkey =", 1))
	config("staging", site("acme/staging", "acme-staging", "test"))
	config("prod", site("acme/prod", "acme-prod", "deploy"))
	config("engineer-keys", "[keys]\nregistry = [\"keys/eng.key\"]\n")
	config("publisher", "[keys]\n\"product.openstack\" = [\"keys/eng.key\"]\n")
	config("reader-site", site("acme/staging", "acme-staging", "test"))
	c.write("release/product.toml", "product = \"openstack\"\nversion = \"1.0.0\"\nkind = \"initial\"\n[marmite]\npath = \"m\"\n[[artifact]]\npath = \"i\"\nkind = \"image\"\n")
	c.write("release/m", "m\n")
	c.write("release/i", "i\n")

	as := func(user string, code int, want string, line string) {
		t.Helper()
		if user != "founder" && user != "stranger" {
			line = "--config " + user + ".toml " + line
		}
		cmd := exec.Command("kitchen", strings.Fields(line)...)
		cmd.Dir, cmd.Env = dir, append(append(os.Environ(), server.Env()...), "COSIGN_PASSWORD=script", "HOME="+dir,
			"AWS_ACCESS_KEY_ID="+user, "AWS_SECRET_ACCESS_KEY="+user+"-secret")
		out, err := cmd.CombinedOutput()
		got := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if got != code || !bytes.Contains(out, []byte(want)) {
			t.Fatalf("kitchen %s as %q: exit %d, want %d and %q in\n%s", line, user, got, code, want, out)
		}
	}
	const initLine = "init --catalog STORE --vendor enovance --root-key keys/root-a.key --online-key keys/online.key --registry-key keys/admin.key --write-root s3root.json --write-config written.toml"
	as("reader", 6, "s3:PutObject", strings.Replace(initLine, "STORE", store, 1))
	as("founder", 0, "", strings.Replace(initLine, "STORE", store, 1))

	as("root", 8, "", "product add openstack --engineer keys/eng.pub --validator keys/validator.pub --certifier keys/ops-a.pub --certifier keys/ops-b.pub --key keys/root-a.key")
	as("root", 6, "s3:PutObject", "commit --online-key keys/online.key")
	as("committer", 0, "", "commit")
	as("admin", 8, "", "customer add acme --subscribe openstack --key keys/admin.key")
	as("committer", 0, "", "commit")
	for _, add := range []string{"enovance/ci --kind ci --pub keys/vendor-ci.pub", "acme/staging --kind ci --pub keys/acme-staging.pub", "acme/prod --kind production --pub keys/acme-prod.pub"} {
		as("admin", 8, "", "site add "+add+" --key keys/admin.key")
		as("committer", 0, "", "commit")
	}
	as("reader", 6, "s3:", "publish release --key keys/eng.key")
	as("engineer", 8, "openstack@1.0.0", "publish release --key keys/eng.key")
	as("engineer", 6, "s3:PutObject", "--online-key keys/online.key commit")
	as("reader", 0, "no releases", "list")
	as("committer", 0, "openstack@1.0.0", "commit")
	as("vendor-ci", 0, "waits for the committer", "run")
	as("committer", 0, "openstack@1.0.0", "commit")
	as("staging", 0, "PASSED", "run")
	as("staging", 0, "nothing to do", "run")
	as("prod", 3, "ready-to-deploy", "ready openstack@1.0.0")
	as("sysadmin", 8, "", "certify openstack@1.0.0 --key keys/ops-a.key")
	as("sysadmin", 8, "", "sign ready-to-deploy.openstack --yes --key keys/ops-b.key")
	as("committer", 0, "openstack@1.0.0", "commit")
	as("prod", 0, "", "ready openstack@1.0.0")
	as("prod", 0, "", "deploy openstack@1.0.0")
	as("operator", 0, "PASSED", "status")
	as("operator", 0, "", "log openstack@1.0.0 --site acme/staging")
	as("reader", 0, "openstack@1.0.0", "list")
	as("reader", 0, "", "fetch openstack@1.0.0 --into fetched")
	as("reader", 6, "s3:ListBucket", "status")
	as("engineer", 8, "", "recall openstack@1.0.0 --reason broken --key keys/eng.key")
	as("committer", 0, "openstack@1.0.0", "commit")
	as("prod", 3, "broken", "ready openstack@1.0.0")
	as("stranger", 6, "403", "--config reader.toml refresh")
	as("committer", 0, "", "commit")
	as("auditor", 0, "sound: 0 faults", "check --read-data")

	before := storagetest.Keys(t, server.Open(t, bucket, "cat", storage.Options{}), "", "")
	as("staging", 0, "may create below reports/acme/staging/", "doctor")
	as("committer", 0, "journal/, metadata/", "doctor")
	as("engineer", 0, "may create below blobs/", "doctor --config publisher.toml")
	as("admin", 3, "blobs/kitchen-doctor", "doctor --config publisher.toml")
	as("engineer", 3, "journal/kitchen-doctor", "doctor --config committer.toml")
	as("engineer", 0, "was not tried", "doctor")
	as("engineer", 3, "may not sign registry", "doctor --config engineer-keys.toml")
	as("reader", 3, "s3:PutObject", "doctor --config reader-site.toml")
	if after := storagetest.Keys(t, server.Open(t, bucket, "cat", storage.Options{}), "", ""); !slices.Equal(before, after) {
		t.Errorf("the doctor left something: %v", after)
	}

	nothingBeyond(t, server, bucket)
}

// nothingBeyond tries every right that the matrix does not give, on one object of every kind that the story left.
func nothingBeyond(t *testing.T, server *storagetest.S3, bucket string) {
	t.Helper()
	sample := map[string]string{}
	for _, key := range storagetest.Keys(t, server.Open(t, bucket, "cat", storage.Options{}), "", "") {
		kind, err := manifest.KindOf(key)
		if err != nil {
			t.Errorf("the story left %s: %v", key, err)
			continue
		}
		top, _, _ := strings.Cut(strings.TrimPrefix(key, "targets/"), "/")
		if kind.Name == "report" || kind.Name == "log" {
			top = strings.Join(strings.Split(key, "/")[:3], "/")
		}
		sample[kind.Name+" "+top] = key
	}
	if len(sample) < 18 {
		t.Errorf("only %d kinds of objects: %v", len(sample), sample)
	}
	allowed := func(prefixes []string, key string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
	}
	for _, p := range parties {
		a := access(t, p.persona, p.site)
		env := func(name string) string {
			switch name {
			case "AWS_ACCESS_KEY_ID":
				return p.user
			case "AWS_SECRET_ACCESS_KEY":
				return p.user + "-secret"
			}
			return server.Getenv(name)
		}
		store := server.Open(t, bucket, "cat", storage.Options{Getenv: env})
		for _, key := range sample {
			_, err := store.Stat(t.Context(), key)
			checkRight(t, p.user, "read "+key, err, allowed(a.Reads, key))
			probe := key + ".rights"
			err = store.Create(t.Context(), probe, strings.NewReader(p.user), int64(len(p.user)), "text/plain", "")
			if errors.Is(err, storage.ErrExists) {
				err = nil // another party's probe: the right was there
			}
			checkRight(t, p.user, "create "+probe, err, allowed(a.Creates, probe) || allowed(a.Swaps, probe))
		}
		_, err := store.Swap(t.Context(), manifest.TimestampObject, "\"no-such-etag\"", []byte("x"), "application/json", "")
		if errors.Is(err, storage.ErrConflict) {
			err = nil // the right is there, the condition does not hold
		}
		checkRight(t, p.user, "swap the timestamp", err, allowed(a.Swaps, manifest.TimestampObject))
	}
}

func checkRight(t *testing.T, user, what string, err error, may bool) {
	t.Helper()
	if forbidden := errors.Is(err, storage.ErrForbidden); may && err != nil || !may && !forbidden {
		t.Errorf("%s tries to %s: %v, allowed: %v", user, what, err, may)
	}
}
