package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// tenants are two customers with a bucket in common, each with credentials that have what `kitchen customer policy`
// prints and nothing else.
type tenants struct {
	*testing.T
	scene
	server *storagetest.S3
	bucket string
	store  string // URL
	users  map[string]func(string) string
}

// newTenants makes a catalog of two products: openstack@1.0.0, which the vendor's CI validated, and vault@1.0.0. Only
// beta follows vault.
func newTenants(t *testing.T) *tenants {
	t.Helper()
	server := storagetest.StartS3(t)
	s := &tenants{T: t, scene: scene{dir: t.TempDir()}, server: server, bucket: server.Bucket(t)}
	s.store = server.URL(s.bucket, "cat")
	s.users = map[string]func(string) string{"vendor": server.Getenv, "acme": server.User(t, "acme"), "beta": server.User(t, "beta")}
	for _, who := range strings.Fields("root-a online admin eng validator ops-a ops-b vendor-ci acme-staging acme-staging-2 acme-prod beta-ci") {
		if err := s.key(who); err != nil {
			t.Fatal(err)
		}
	}
	s.configure()
	product := " --engineer ./keys/eng.pub --validator ./keys/validator.pub --certifier ./keys/ops-a.pub --certifier ./keys/ops-b.pub --key ./keys/root-a.key"
	for _, line := range []string{
		"init --catalog " + s.store + " --vendor enovance --root-key ./keys/root-a.key --online-key ./keys/online.key --registry-key ./keys/admin.key --write-root ./s3root.json --write-config ./written.toml",
		"product add openstack" + product, "product add vault" + product,
		"customer add acme --subscribe openstack --key ./keys/admin.key",
		"customer add beta --subscribe * --key ./keys/admin.key",
		"customer add idle --key ./keys/admin.key",
		"site add enovance/ci --kind ci --pub ./keys/vendor-ci.pub --key ./keys/admin.key",
		"site add acme/staging --kind ci --after enovance/ci --pub ./keys/acme-staging.pub --key ./keys/admin.key",
		"site add acme/staging-2 --kind ci --after acme/staging --pub ./keys/acme-staging-2.pub --key ./keys/admin.key",
		"site add acme/prod --kind production --pub ./keys/acme-prod.pub --key ./keys/admin.key",
		"site add beta/ci --kind ci --pub ./keys/beta-ci.pub --key ./keys/admin.key",
		"publish ./openstack --key ./keys/eng.key", "publish ./vault --key ./keys/eng.key", "--config ./vendor-ci.toml run",
	} {
		s.as("vendor", 0, "", line)
	}
	return s
}

func (s *tenants) configure() {
	write := func(name, text string) {
		if err := s.write(name, text); err != nil {
			s.Fatal(err)
		}
	}
	config := func(name, more string) {
		write(name+".toml", "catalog = \""+s.store+"\"\nroot = \"s3root.json\"\nstate = \"state-"+name+"\"\n"+more)
	}
	site := func(id, key, hook string) string {
		return "[site]\nid = \"" + id + "\"\nkey = \"keys/" + key + ".key\"\n[hooks]\n" + hook + " = [\"sh\", \"-c\", \"echo ran here\"]\n"
	}
	online := "[keys]\nonline = [\"keys/online.key\"]\n"
	config("vendor", online)
	config("vendor-ci", online+"\"validated.openstack\" = [\"keys/validator.key\"]\n\"validated.vault\" = [\"keys/validator.key\"]\n"+
		strings.Replace(site("enovance/ci", "vendor-ci", "test"), "key =", "follow = \"published\"\nkey =", 1))
	config("staging", site("acme/staging", "acme-staging", "test"))
	config("staging-2", site("acme/staging-2", "acme-staging-2", "test"))
	config("prod", site("acme/prod", "acme-prod", "deploy"))
	config("beta", site("beta/ci", "beta-ci", "test"))
	config("plain", "")
	for _, product := range []string{"openstack", "vault"} {
		write(product+"/product.toml", "product = \""+product+"\"\nversion = \"1.0.0\"\nkind = \"initial\"\n[marmite]\npath = \"m\"\n[[artifact]]\npath = \"i\"\nkind = \"image\"\n")
		write(product+"/m", "m of "+product+"\n")
		write(product+"/i", "i of "+product+"\n")
	}
}

// by runs kitchen with somebody's credentials. Without --config in the line it is vendor.toml.
func (s *tenants) by(user, line string) ended {
	if !strings.HasPrefix(line, "--config") && !strings.HasPrefix(line, "init") {
		line = "--config ./vendor.toml " + line
	}
	mine := s.scene
	mine.env = map[string]string{}
	for _, name := range strings.Fields("AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION SSL_CERT_FILE AWS_CA_BUNDLE") {
		mine.env[name] = s.users[user](name)
	}
	return mine.ask(line)
}

// as is by, held to an exit code and to words; it gives what was said on stdout.
func (s *tenants) as(user string, code int, want, line string) []byte {
	s.Helper()
	e := s.by(user, line)
	e.want(s, code, want)
	return []byte(e.stdout)
}

// apply gives the users what the command prints for them, the statements of both in one policy.
func (s *tenants) apply() {
	s.Helper()
	merged := storage.S3Policy{}
	for _, customer := range []string{"acme", "beta"} {
		var printed storage.S3Policy
		if err := json.Unmarshal(s.as("vendor", 0, "", "customer policy "+customer+" --format versitygw"), &printed); err != nil {
			s.Fatal(err)
		}
		merged.Version = printed.Version
		merged.Statement = append(merged.Statement, printed.Statement...)
	}
	text, err := json.Marshal(merged)
	if err != nil {
		s.Fatal(err)
	}
	s.server.SetPolicyText(s.T, s.bucket, text)
}

// objects are all objects of the bucket: key → entity tag and size.
func (s *tenants) objects() map[string]storage.Info {
	s.Helper()
	found := map[string]storage.Info{}
	for info, err := range s.server.Open(s.T, s.bucket, "", storage.Options{}).List(s.Context(), "", "") {
		if err != nil {
			s.Fatal(err)
		}
		found[info.Key] = storage.Info{ETag: info.ETag, Size: info.Size}
	}
	return found
}

// keyOf finds the one object below a prefix whose name ends so.
func (s *tenants) keyOf(prefix, end string) string {
	s.Helper()
	var found []string
	for key := range s.objects() {
		if strings.HasPrefix(key, prefix) && strings.HasSuffix(key, end) {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		s.Fatalf("%s…%s: %q", prefix, end, found)
	}
	return found[0]
}

// TestCustomersWithThePrintedPolicyDoTheirWork: what `customer policy` prints is enough for everything that a customer's
// hosts do, chains over customers included.
func TestCustomersWithThePrintedPolicyDoTheirWork(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.as("acme", 6, "s3:GetObject on metadata/timestamp.json", "--config ./staging.toml refresh")
	s.apply()
	s.as("acme", 0, "", "--config ./staging.toml refresh")
	s.as("acme", 0, "openstack@1.0.0", "--config ./staging.toml list")
	s.as("acme", 0, "", "--config ./staging.toml fetch openstack@1.0.0 --into ./fetched")
	s.as("acme", 0, "waits for acme/staging", "--config ./staging-2.toml run")
	s.as("acme", 0, "PASSED", "--config ./staging.toml run")
	s.as("acme", 0, "nothing to do", "--config ./staging.toml run")
	s.as("acme", 0, "PASSED", "--config ./staging-2.toml run")
	s.as("acme", 0, "WARNED", "--config ./staging-2.toml report openstack@1.0.0 --result WARNED --note by-hand")
	s.as("beta", 0, "PASSED", "--config ./beta.toml run")
	s.as("acme", 0, "ran here", "--config ./plain.toml log openstack@1.0.0 --site acme/staging")
	s.as("acme", 3, "ready-to-deploy", "--config ./prod.toml ready openstack@1.0.0")
	s.as("vendor", 0, "", "certify openstack@1.0.0 --key ./keys/ops-a.key --key ./keys/ops-b.key")
	s.as("acme", 0, "", "--config ./prod.toml ready openstack@1.0.0")
	s.as("acme", 0, "PASSED", "--config ./prod.toml deploy openstack@1.0.0")
	s.as("vendor", 0, "acme/prod", "status openstack@1.0.0")

	s.as("vendor", 1, "does not subscribe to vault", "customer policy acme --product vault")
	s.as("vendor", 1, "product nope is not in this catalog", "customer policy acme --product nope")
	s.as("vendor", 1, "subscribes to nothing", "customer policy idle")
	s.as("vendor", 1, "customer add", "customer policy nobody")
	s.as("vendor", 1, "vendor's CI", "customer policy enovance")
	s.as("vendor", 2, "versitygw", "customer policy acme --format gcs")
}

// TestCustomerReachesForMore: with the commands of Kitchen, stolen keys included, a customer gets no further than its
// policy; the end is exit 6 with the right that is missing and what for.
func TestCustomerReachesForMore(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply()
	s.as("beta", 0, "PASSED", "--config ./beta.toml run")
	s.as("vendor", 0, "", "customer add later --subscribe openstack --key ./keys/admin.key")
	s.as("acme", 0, "", "--config ./staging.toml run")
	before := s.objects()
	for _, attack := range []struct{ line, right string }{
		{"--config ./plain.toml fetch vault@1.0.0 --into ./stolen", "s3:GetObject on targets/catalog/vault/1.0.0/"},
		{"--config ./beta.toml report openstack@1.0.0 --result FAILED --note forged", "s3:PutObject on reports/beta/ci/"},
		{"publish ./vault --key ./keys/eng.key", "s3:GetObject on targets/catalog/vault/1.0.0/"},
		{"recall openstack@1.0.0 --reason spite --key ./keys/eng.key", "s3:PutObject on targets/recalled/openstack/1.0.0/"},
		{"customer add evil --subscribe * --key ./keys/admin.key", "s3:PutObject on targets/registry/"},
		{"certify openstack@1.0.0 --key ./keys/ops-a.key --key ./keys/ops-b.key", "s3:ListBucket with the prefix "},
		{"pending", "s3:ListBucket with the prefix pending/"},
		{"commit", "s3:ListBucket with the prefix pending/"},
	} {
		s.as("acme", 6, attack.right, attack.line)
	}
	for _, log := range []string{"openstack@1.0.0 --site beta/ci", "vault@1.0.0 --site beta/ci", "vault@1.0.0 --site enovance/ci", "openstack@1.0.0 --site enovance/ci"} {
		s.by("vendor", "log "+log).want(t, 0, "ran here")
		if e := s.by("acme", "--config ./plain.toml log "+log); e.code == exitDone || strings.Contains(e.stdout, "ran here") {
			t.Errorf("a log of others: %v", e)
		}
	}
	for user, config := range map[string]string{"vendor": "vendor", "acme": "staging"} { // what one verified is kept in its state
		e := s.by(user, "--config ./"+config+".toml status openstack@1.0.0 -o json")
		sees := strings.Contains(strings.Join(strings.Fields(e.stdout), ""), `"site":"beta/ci","kind":"ci","verdict":"PASSED"`)
		if sees != (user == "vendor") {
			t.Errorf("%s and the verdict of beta/ci: %v", user, e)
		}
	}
	if after := s.objects(); !equalObjects(before, after) {
		t.Errorf("the store is not what it was:\n%v\n%v", before, after)
	}
}

func equalObjects(a, b map[string]storage.Info) bool {
	if len(a) != len(b) {
		return false
	}
	for key, info := range a {
		if b[key] != info {
			return false
		}
	}
	return true
}

// TestCustomerWithAPlainClient: without Kitchen's manners a customer still reads, lists, writes and deletes nothing but
// what its policy says.
func TestCustomerWithAPlainClient(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply()
	s.as("acme", 0, "PASSED", "--config ./staging.toml run")
	s.as("beta", 0, "PASSED", "--config ./beta.toml run")
	own, foreign := s.keyOf("cat/reports/acme/staging/openstack/", ".json"), s.keyOf("cat/reports/beta/ci/openstack/", ".json")
	before := s.objects()
	refused := func(what string, r storagetest.Raw) {
		t.Helper()
		if status, body := s.server.Send(t, s.users["acme"], s.bucket, r); status < 400 || status >= 500 {
			t.Errorf("%s: %d\n%.300s", what, status, body)
		}
	}
	readable := func(key string) bool {
		for _, prefix := range strings.Fields("metadata/ targets/registry/ targets/policy/ targets/catalog/openstack/ targets/validated/openstack/ blobs/ journal/ reports/acme/ reports/enovance/ci/openstack/") {
			if strings.HasPrefix(key, "cat/"+prefix) {
				return true
			}
		}
		return false
	}
	hidden := 0
	for key := range before {
		get := storagetest.Raw{Method: http.MethodGet, Path: "/" + key}
		if readable(key) {
			if status, body := s.server.Send(t, s.users["acme"], s.bucket, get); status != http.StatusOK {
				t.Errorf("read of %s: %d %.200s", key, status, body)
			}
		} else {
			hidden++
			refused("read of "+key, get)
			refused("head of "+key, storagetest.Raw{Method: http.MethodHead, Path: "/" + key})
			refused("copy of "+key, storagetest.Raw{Method: http.MethodPut, Path: "/cat/reports/acme/staging/copy", Header: http.Header{"X-Amz-Copy-Source": {s.bucket + "/" + key}}})
		}
		refused("delete of "+key, storagetest.Raw{Method: http.MethodDelete, Path: "/" + key})
		if !strings.HasPrefix(key, "cat/reports/acme/") {
			refused("overwriting "+key, storagetest.Raw{Method: http.MethodPut, Path: "/" + key, Content: []byte("x")})
			refused("an upload in parts over "+key, storagetest.Raw{Method: http.MethodPost, Path: "/" + key, Query: url.Values{"uploads": {""}}})
		}
	}
	if hidden < 5 {
		t.Errorf("only %d objects are hidden from the customer", hidden)
	}
	for _, key := range strings.Fields("cat/pending/x/proposal.json cat/metadata/9.root.json cat/journal/9.json cat/evidence/sha256/00/x cat/targets/registry/x.acme.toml " +
		"cat/reports/acme cat/reports/acme-2/ci/x cat/reports/beta/ci/x cat/_kitchen/x cat/x x other/reports/acme/staging/x " +
		"cat/reports/acme/../beta/ci/x cat/reports/acme/../../metadata/9.root.json cat/reports/acme/%2e%2e/beta/x cat/reports/acme/..%2fbeta/x ../x/reports/acme/x") {
		refused("creating "+key, storagetest.Raw{Method: http.MethodPut, Path: "/" + key, Content: []byte("x")})
	}
	for _, way := range []string{"cat/reports/acme/../beta/", "cat/reports/acme/staging/../../beta/", "cat/blobs/../reports/beta/"} {
		path := "/" + way + strings.TrimPrefix(foreign, "cat/reports/beta/")
		refused("reading "+path, storagetest.Raw{Method: http.MethodGet, Path: path})
		refused("deleting "+path, storagetest.Raw{Method: http.MethodDelete, Path: path})
		refused("copying "+path, storagetest.Raw{Method: http.MethodPut, Path: "/cat/reports/acme/staging/copy", Header: http.Header{"X-Amz-Copy-Source": {s.bucket + path}}})
	}
	s.listings(refused)
	body := "<Delete><Object><Key>" + own + "</Key></Object><Object><Key>" + foreign + "</Key></Object></Delete>"
	s.server.Send(t, s.users["acme"], s.bucket, storagetest.Raw{Method: http.MethodPost, Path: "/", Query: url.Values{"delete": {""}}, Content: []byte(body)})
	if after := s.objects(); !equalObjects(before, after) {
		t.Errorf("the store is not what it was:\n%v\n%v", before, after)
	}
}

// listings tries to see what is there, and to change what the bucket allows.
func (s *tenants) listings(refused func(string, storagetest.Raw)) {
	list := func(query ...string) storagetest.Raw {
		values := url.Values{}
		for i := 0; i < len(query); i += 2 {
			values.Set(query[i], query[i+1])
		}
		return storagetest.Raw{Method: http.MethodGet, Path: "/", Query: values}
	}
	for _, prefix := range []string{"", "c", "cat/", "cat/metadata/", "cat/pending/", "cat/blobs/", "cat/journal/", "cat/targets/", "cat/reports/", "cat/reports/acme", "cat/reports/beta/",
		"cat/reports/enovance/", "cat/reports/enovance/ci/", "cat/reports/enovance/ci/vault/"} {
		refused("listing "+prefix, list("list-type", "2", "prefix", prefix))
		refused("listing in the old way "+prefix, list("prefix", prefix, "delimiter", "/"))
		refused("listing versions of "+prefix, list("versions", "", "prefix", prefix))
	}
	if status, body := s.server.Send(s.T, s.users["acme"], s.bucket, list("list-type", "2", "prefix", "cat/reports/acme/../beta/")); strings.Contains(body, "<Key>") {
		s.Errorf("listing through ..: %d %s", status, body)
	}
	for _, prefix := range []string{"cat/reports/acme/", "cat/reports/acme/staging/openstack/1.0.0/", "cat/reports/enovance/ci/openstack/1.0.0/"} {
		if status, body := s.server.Send(s.T, s.users["acme"], s.bucket, list("list-type", "2", "prefix", prefix)); status != http.StatusOK {
			s.Errorf("listing %s: %d %.200s", prefix, status, body)
		}
	}
	for _, of := range []string{"policy", "acl", "versioning", "uploads", "tagging", "cors", "object-lock"} {
		refused("reading the bucket's "+of, list(of, ""))
		change := list(of, "")
		change.Method, change.Content = http.MethodPut, []byte("{}")
		refused("changing the bucket's "+of, change)
	}
	refused("deleting the bucket", storagetest.Raw{Method: http.MethodDelete, Path: "/"})
}

// TestCustomerOverwritesItsOwnReport: a server whose policies know no conditional writes lets a customer overwrite its
// own report. That changes no verdict: what lies there then does not count, and everybody is told.
func TestCustomerOverwritesItsOwnReport(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	s.apply()
	s.as("acme", 0, "PASSED", "--config ./staging.toml run")
	first := s.keyOf("cat/reports/acme/staging/openstack/", ".json")
	key := strings.TrimPrefix(first, "cat/")
	store := s.server.Open(t, s.bucket, "cat", storage.Options{Getenv: s.users["acme"]})
	if err := store.Create(t.Context(), key, strings.NewReader("x"), 1, "", ""); !errors.Is(err, storage.ErrExists) {
		t.Errorf("Kitchen's own way of writing: %v, want ErrExists", err)
	}
	s.as("acme", 0, "", "--config ./staging.toml report openstack@1.0.0 --result FAILED --note later")
	second := slices.DeleteFunc(storagetest.Keys(t, store, "reports/acme/staging/openstack/", ""), func(k string) bool { return k == key })
	signed, _, err := storage.ReadAll(t.Context(), store, second[0], 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{signed, []byte("x"), nil} { // another report that its key signed, garbage, nothing
		status, body := s.server.Send(t, s.users["acme"], s.bucket, storagetest.Raw{Method: http.MethodPut, Path: "/" + first, Content: content})
		if status != http.StatusOK {
			t.Fatalf("this server was expected to allow it: %d %s", status, body)
		}
		out := s.as("vendor", 0, "FAILED", "status openstack@1.0.0 -o json")
		if !bytes.Contains(out, []byte(key)) {
			t.Errorf("status does not name the report that was overwritten, %s:\n%s", key, out)
		}
		s.as("vendor", 3, "acme/staging", "certify openstack@1.0.0 --key ./keys/ops-a.key --key ./keys/ops-b.key")
	}
}
