package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/storage/storagetest"
)

// TestLeastRights plays the parties with the bucket rights that README gives each of them, and no more; what goes
// beyond these is exit 6 and names the right that is missing.
func TestLeastRights(t *testing.T) {
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
	config := func(name, more string) {
		c.write(name+".toml", "catalog = \""+store+"\"\nroot = \"s3root.json\"\nstate = \"state-"+name+"\"\n"+more)
	}
	config("reader", "")
	config("engineer", "")
	config("staging", "[site]\nid = \"acme/staging\"\nkey = \"keys/acme-staging.key\"\n[hooks]\ntest = [\"true\"]\n")
	c.write("release/product.toml", "product = \"openstack\"\nversion = \"1.0.0\"\nkind = \"initial\"\n[marmite]\npath = \"m\"\n[[artifact]]\npath = \"i\"\nkind = \"image\"\n")
	c.write("release/m", "m\n")
	c.write("release/i", "i\n")

	server.User(t, "reader")
	server.User(t, "engineer")
	server.User(t, "staging")
	read := []string{"s3:GetObject"}
	server.SetPolicy(t, bucket,
		storagetest.Allow{User: "reader", Actions: read},
		storagetest.Allow{User: "staging", Actions: read},
		storagetest.Allow{User: "staging", Actions: []string{"s3:PutObject"}, Prefix: "cat/reports/acme/staging/"},
		storagetest.Allow{User: "engineer", Actions: []string{"s3:GetObject", "s3:ListBucket"}},
		storagetest.Allow{User: "engineer", Actions: []string{"s3:PutObject"}, Prefix: "cat/pending/"},
		storagetest.Allow{User: "engineer", Actions: []string{"s3:PutObject"}, Prefix: "cat/blobs/"},
		storagetest.Allow{User: "engineer", Actions: []string{"s3:PutObject"}, Prefix: "cat/targets/"})
	as := func(user string, code int, want string, line string) {
		t.Helper()
		cmd := exec.Command("kitchen", strings.Fields(line)...)
		cmd.Dir, cmd.Env = dir, append(append(os.Environ(), server.Env()...), "COSIGN_PASSWORD=script", "HOME="+dir)
		if user != "" {
			cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+user, "AWS_SECRET_ACCESS_KEY="+user+"-secret")
		}
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

	as("reader", 6, "s3:PutObject", "init --catalog "+store+" --vendor v --root-key keys/root-a.key --online-key keys/online.key --registry-key keys/admin.key")
	as("", 0, "", "init --catalog "+store+" --vendor enovance --root-key keys/root-a.key --online-key keys/online.key --registry-key keys/admin.key --write-root s3root.json --write-config committer.toml")
	as("", 0, "", "--config committer.toml product add openstack --engineer keys/eng.pub --validator keys/validator.pub --certifier keys/ops-a.pub --key keys/root-a.key")
	as("", 0, "", "--config committer.toml customer add acme --subscribe openstack --key keys/admin.key")
	as("", 0, "", "--config committer.toml site add acme/staging --kind ci --pub keys/acme-staging.pub --key keys/admin.key")

	as("reader", 6, "s3:PutObject", "--config reader.toml publish release --key keys/eng.key")
	as("engineer", 8, "openstack@1.0.0", "--config engineer.toml publish release --key keys/eng.key")
	as("engineer", 6, "s3:PutObject", "--config engineer.toml --online-key keys/online.key commit")
	as("reader", 0, "no releases", "--config reader.toml list")
	as("", 0, "openstack@1.0.0", "--config committer.toml commit")
	as("", 0, "", "--config committer.toml validate openstack@1.0.0 --key keys/validator.key")

	as("reader", 0, "openstack@1.0.0", "--config reader.toml list")
	as("reader", 6, "s3:ListBucket", "--config reader.toml status")
	as("staging", 0, "PASSED", "--config staging.toml run")
	as("staging", 0, "nothing to do", "--config staging.toml run")
	as("", 0, "PASSED", "--config committer.toml status")
	as("stranger", 6, "403", "--config reader.toml refresh")
}
