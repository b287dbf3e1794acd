package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	tufconfig "github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/enovance/kitchen/keys"
)

// certified is a catalog in which openstack@1.0.0 went all the way, made by the real binary: published, tested by
// the vendor's CI and by acme/staging, certified by two sysadmins.
type certified struct {
	t   *testing.T
	dir string
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	template, err := catalogTemplate()
	if err != nil {
		t.Fatal(err)
	}
	c := &certified{t, t.TempDir()}
	if err := os.CopyFS(c.dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	site := func(name, id, more string) {
		c.write(name+".toml", "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-"+name+"\"\n[site]\nid = \""+id+"\"\n"+more)
	}
	c.write("release/product.toml", "product = \"openstack\"\nversion = \"1.0.0\"\nkind = \"initial\"\n[marmite]\npath = \"marmite.yaml\"\n"+
		"[[artifact]]\npath = \"node.img\"\nkind = \"image\"\n")
	c.write("release/marmite.yaml", "roles: [controller]\n")
	c.write("release/node.img", "an image\n")
	site("ci", "enovance/ci", "key = \"keys/vendor-ci.key\"\nfollow = \"published\"\n[hooks]\ntest = [\"true\"]\n"+
		"[keys]\nonline = [\"keys/online.key\"]\n\"validated.openstack\" = [\"keys/validator.key\"]\n")
	site("staging", "acme/staging", "key = \"keys/acme-staging.key\"\n[hooks]\ntest = [\"sh\", \"-c\", \"echo tested; echo up >$KITCHEN_RESULTS/boot.txt\"]\n")
	for _, line := range []string{
		"--config vendor.toml publish release --key keys/eng.key", "--config ci.toml run", "--config staging.toml run",
		"--config vendor.toml certify openstack@1.0.0 --key keys/ops-a.key --key keys/ops-b.key",
	} {
		c.run("kitchen", strings.Fields(line)...)
	}
	return c
}

func (c *certified) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

func (c *certified) write(name, text string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path(name), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *certified) read(name string) []byte {
	c.t.Helper()
	data, err := os.ReadFile(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// glob finds the one file of a pattern, below the directory.
func (c *certified) glob(pattern string) string {
	c.t.Helper()
	found, err := filepath.Glob(c.path(pattern))
	if err != nil || len(found) != 1 {
		c.t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	name, err := filepath.Rel(c.dir, found[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return name
}

// try runs a program in the directory and gives what it said.
func (c *certified) try(program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=script", "HOME="+c.dir)
	return cmd.CombinedOutput()
}

func (c *certified) run(program string, args ...string) []byte {
	c.t.Helper()
	out, err := c.try(program, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// fails runs what must be refused, and looks for the reason.
func (c *certified) fails(reason, program string, args ...string) {
	c.t.Helper()
	out, err := c.try(program, args...)
	if err == nil || !bytes.Contains(out, []byte(reason)) {
		c.t.Errorf("%s %s: %v, want %q in\n%s", program, strings.Join(args, " "), err, reason, out)
	}
}

// TestStockTUFClientReadsTheCatalog: go-tuf's own client, over HTTP, in an empty directory, with nothing but the root.
func TestStockTUFClientReadsTheCatalog(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	server := httptest.NewServer(http.FileServer(http.Dir(c.path("bucket"))))
	defer server.Close()
	settings, err := tufconfig.New(server.URL+"/metadata", c.read("root.json"))
	if err != nil {
		t.Fatal(err)
	}
	settings.RemoteTargetsURL = server.URL + "/targets"
	settings.LocalMetadataDir, settings.LocalTargetsDir = t.TempDir(), t.TempDir()
	client, err := updater.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	want := c.read(c.glob("bucket/targets/catalog/openstack/1.0.0/*.manifest.toml"))
	for _, stage := range []string{"ready-to-deploy", "validated", "catalog"} {
		info, err := client.GetTargetInfo(stage + "/openstack/1.0.0/manifest.toml")
		if err != nil {
			t.Fatalf("%s: %v", stage, err)
		}
		_, got, err := client.DownloadTarget(info, "", "")
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes, want %d", stage, err, len(got), len(want))
		}
	}
	if info, err := client.GetTargetInfo("ready-to-deploy/openstack/9.9/manifest.toml"); err == nil {
		t.Errorf("the stock client finds what nobody certified: %v", info)
	}
}

// TestStockTUFClientFollowsRotations: go-tuf's own client, one that was there before and one that comes fresh each time,
// follows from the first root through a new root holder, a new online key (as planned, and stolen), new keys of targets
// and of a product.
func TestStockTUFClientFollowsRotations(t *testing.T) {
	t.Parallel()
	c := newCertified(t)
	server := httptest.NewServer(http.FileServer(http.Dir(c.path("bucket"))))
	defer server.Close()
	read := func(step, dir string) {
		t.Helper()
		settings, err := tufconfig.New(server.URL+"/metadata", c.read("root.json"))
		if err != nil {
			t.Fatal(err)
		}
		settings.RemoteTargetsURL, settings.LocalMetadataDir, settings.LocalTargetsDir = server.URL+"/targets", dir, t.TempDir()
		client, err := updater.New(settings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.GetTargetInfo("ready-to-deploy/openstack/1.0.0/manifest.toml"); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	old := t.TempDir()
	read("before", old)
	for _, who := range []string{"root-c", "online-2", "online-3", "root-d"} {
		c.run("kitchen", "key", "generate", "keys/"+who)
	}
	online := func(names ...string) {
		text := "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-committer\"\n[keys]\nonline = ["
		for _, name := range names {
			text += "\"keys/" + name + ".key\", "
		}
		c.write("committer.toml", text+"]\n")
	}
	for _, step := range []struct {
		online []string
		line   string
	}{
		{[]string{"online"}, "root --old keys/root-b.pub --new keys/root-c.pub --key keys/root-a.key --key keys/root-b.key --key keys/root-c.key"},
		{[]string{"online", "online-2"}, "snapshot --old keys/online.pub --new keys/online-2.pub --key keys/root-a.key --key keys/root-b.key --key keys/root-c.key"},
		{[]string{"online-2"}, "product.openstack --old keys/eng.pub --new keys/eng2.pub --key keys/root-a.key --key keys/root-b.key --key keys/eng2.key"},
		{[]string{"online-2"}, "targets --old keys/root-b.pub --new keys/root-d.pub --key keys/root-a.key --key keys/root-b.key --key keys/root-c.key --key keys/root-d.key"},
		{[]string{"online-3"}, "timestamp --stolen --old keys/online-2.pub --new keys/online-3.pub --key keys/root-a.key --key keys/root-c.key --key keys/root-d.key"},
	} {
		online(step.online...)
		c.run("kitchen", append([]string{"--config", "committer.toml", "role", "rotate", "--yes"}, strings.Fields(step.line)...)...)
		read(step.line, old)
		read(step.line, t.TempDir())
	}
}

// cosign gives sigstore's own command, or skips.
func cosign(t *testing.T) string {
	t.Helper()
	program := os.Getenv("KITCHEN_TEST_COSIGN")
	if program == "" {
		t.Skip("KITCHEN_TEST_COSIGN is not set, so nothing is tested against the real cosign: run `make test`")
	}
	return program
}

const testResultType = "https://in-toto.io/attestation/test-result/v0.1"

// TestCosignVerifiesReports: the real cosign accepts a site's report for the very manifest, without network, and
// nothing else.
func TestCosignVerifiesReports(t *testing.T) {
	t.Parallel()
	cosign := cosign(t)
	c := newCertified(t)
	report := c.glob("bucket/reports/acme/staging/openstack/1.0.0/*.json")
	manifest := c.glob("bucket/targets/catalog/openstack/1.0.0/*.manifest.toml")
	for _, word := range []string{`"log":{`, `"attachments":[{"name":"boot.txt",`} {
		if statement := c.statement(report); !bytes.Contains(statement, []byte(word)) {
			t.Fatalf("the report says nothing of %s: %s", word, statement)
		}
	}
	c.run(cosign, "trusted-root", "create", "--out", "none.json")
	verify := func(key, bundle, blob string) []string {
		return []string{"verify-blob-attestation", "--key", key, "--bundle", bundle, "--type", testResultType,
			"--trusted-root", "none.json", "--insecure-ignore-tlog", blob}
	}
	if out := c.run(cosign, verify("keys/acme-staging.pub", report, manifest)...); !bytes.Contains(out, []byte("Verified OK")) {
		t.Errorf("cosign says %s", out)
	}
	c.fails("", cosign, verify("keys/acme-staging-2.pub", report, manifest)...)
	c.fails("", cosign, verify("keys/acme-staging.pub", report, "release/marmite.yaml")...)
	forged := bytes.Replace(c.read(report), []byte(`"payload":"ey`), []byte(`"payload":"eX`), 1)
	c.write("forged.json", string(forged))
	c.fails("", cosign, verify("keys/acme-staging.pub", "forged.json", manifest)...)
}

// statement is what a bundle signs.
func (c *certified) statement(name string) []byte {
	c.t.Helper()
	var bundle struct {
		Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(c.read(name), &bundle); err != nil {
		c.t.Fatal(err)
	}
	return bundle.Envelope.Payload
}

// TestReportsThatCosignSigns: the same statement, signed by cosign with the site's key file, is a report to Kitchen.
func TestReportsThatCosignSigns(t *testing.T) {
	t.Parallel()
	cosign := cosign(t)
	c := newCertified(t)
	statement := c.statement(c.glob("bucket/reports/acme/staging/openstack/1.0.0/*.json"))
	c.write("statement.json", string(statement))
	c.run(cosign, "attest-blob", "--key", "keys/acme-staging.key", "--statement", "statement.json",
		"--tlog-upload=false", "--yes", "--new-bundle-format", "--bundle", "cosigned.json")
	signed := c.read("cosigned.json")
	own, other := loadPublic(t, c, "acme-staging"), loadPublic(t, c, "acme-staging-2")
	if got, err := keys.VerifyStatement(signed, own); err != nil || !sameJSON(t, got, statement) {
		t.Errorf("Kitchen reads %s, %v; want %s", got, err, statement)
	}
	if _, err := keys.VerifyStatement(signed, other); err == nil {
		t.Error("another site's key verifies it")
	}
}

func loadPublic(t *testing.T, c *certified, who string) *keys.Public {
	t.Helper()
	pub, err := keys.LoadPublic(c.path("keys/" + who + ".pub"))
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatalf("not JSON: %s, %s", a, b)
	}
	first, _ := json.Marshal(x)
	second, _ := json.Marshal(y)
	return bytes.Equal(first, second)
}

// TestCosignKeyPairsBothWays: cosign signs and verifies with a pair that Kitchen made, and Kitchen signs with a pair
// that cosign made.
func TestCosignKeyPairsBothWays(t *testing.T) {
	t.Parallel()
	cosign := cosign(t)
	c := &certified{t, t.TempDir()}
	c.write("blob", "some bytes\n")
	c.run(cosign, "trusted-root", "create", "--out", "none.json")

	c.run("kitchen", "key", "generate", "ours")
	c.run(cosign, "sign-blob", "--key", "ours.key", "--tlog-upload=false", "--yes", "--new-bundle-format", "--bundle", "signed.json", "blob")
	verify := []string{"verify-blob", "--bundle", "signed.json", "--trusted-root", "none.json", "--insecure-ignore-tlog", "--key"}
	c.run(cosign, append(verify, "ours.pub", "blob")...)

	c.run(cosign, "generate-key-pair", "--output-key-prefix", "theirs")
	c.fails("", cosign, append(verify, "theirs.pub", "blob")...)
	if shown, own := c.run("kitchen", "key", "show", "theirs.key", "-o", "json"), c.run("kitchen", "key", "show", "theirs.pub", "-o", "json"); !bytes.Equal(shown, own) {
		t.Errorf("the two halves are not one pair:\n%s\n%s", shown, own)
	}
	c.run("kitchen", "init", "--catalog", "bucket", "--vendor", "enovance", "--root-key", "theirs.key", "--online-key", "ours.key",
		"--registry-key", "theirs.key", "--write-root", "root.json", "--write-config", "vendor.toml")
	c.run("kitchen", "--config", "vendor.toml", "list")
}
