package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// askAt is ask with a clock.
func (s scene) askAt(now time.Time, line string) ended {
	var stdout, stderr bytes.Buffer
	k, err := s.kitchen(&stdout, &stderr)
	if err != nil {
		return ended{line: line, code: -1, stderr: err.Error()}
	}
	k.now = func() time.Time { return now }
	code := k.main(context.Background(), s.words(line))
	return ended{line: line, code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// TestANeglectedCatalogComesBackByTheCommands: a year and five days without a commit. What the commands say leads all the way back.
func TestANeglectedCatalogComesBackByTheCommands(t *testing.T) {
	t.Parallel()
	s := chapter(t, "empty").copy(t)
	now := time.Now().Add(370 * 24 * time.Hour)
	do := func(code int, line string, words ...string) ended {
		t.Helper()
		e := s.askAt(now, line)
		e.want(t, code, words...)
		return e
	}
	do(exitDone, "--config ./laptop.toml pending", "nothing waits")
	do(exitNotTrusted, "--config ./vendor.toml commit", "kitchen renew --key FILE", "root, targets, then the others")
	do(exitNo, "--config ./laptop.toml renew --key ./keys/admin.key", "DUE, once targets is in effect again", "in this order",
		"each waits until the one before is in effect", "holders of root: kitchen renew --key FILE", "the committer: kitchen commit")
	for _, role := range []string{"root", "targets"} {
		signed := map[string]int{"root": exitNo, "targets": exitNotInEffect}[role] // with root, targets is theirs, and has to wait
		do(signed, "--config ./laptop.toml renew --key ./keys/root-a.key", "signed again; waits for", "waits: "+role+".")
		do(exitNo, "--config ./laptop.toml renew", "signed again by 1, needs 2", "holders of "+role)
		do(signed, "--config ./laptop.toml renew --key ./keys/root-b.key", "the committer")
		if role == "root" {
			e := do(exitNotTrusted, "--config ./vendor.toml commit", "in effect: root.2.", "targets: expired")
			if n := strings.Count(e.stderr, "the journal"); n > 1 {
				t.Errorf("the journal's note is there %d times:\n%s", n, e.stderr)
			}
		} else {
			do(exitDone, "--config ./vendor.toml commit", "in effect: targets.")
		}
	}
	do(exitDone, "--config ./vendor.toml renew --key ./keys/admin.key", "signed again, in effect")
	do(exitDone, "--config ./laptop.toml refresh")
}

// TestDoctorMissesTheHook without which kitchen run fails.
func TestDoctorMissesTheHook(t *testing.T) {
	t.Parallel()
	s := chapter(t, "empty").copy(t)
	for config, hook := range map[string]string{"prod.toml": "deploy", "staging.toml": "test"} {
		text, err := os.ReadFile(s.path(config))
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(text), "[hooks]")
		mustWrite(t, s, config, before)
		s.ask("--config ./"+config+" doctor").want(t, exitNo, "problem hook "+hook+": no [hooks] "+hook+" in", "add to it: [hooks] "+hook)
	}
}

// TestDoctorTriesTheRightsOfEachKey that the configuration names. A file in the place of a directory stands for one that may not
// be written, also for the superuser.
func TestDoctorTriesTheRightsOfEachKey(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published").copy(t)
	s.ask("--config ./laptop.toml doctor").want(t, exitDone, "what else is needed here was not tried", "docs/ACCESS.md")
	for _, c := range []struct{ config, role, key, dir string }{
		{"engineer", "product.openstack", "eng", "blobs"},
		{"engineer", "product.openstack", "eng", "targets/catalog"},
		{"committer", "online", "online", "journal"},
		{"sysadmin", "ready-to-deploy.openstack", "ops-a", "evidence"},
		{"admin", "registry", "admin", "targets/registry"},
		{"anybody", "root", "root-a", "_store/tmp"},
	} {
		s := s.copy(t)
		text := "catalog = \"bucket\"\nroot = \"root.json\"\nstate = \"state-" + c.config + "\"\n[keys]\n\"" + c.role + "\" = [\"keys/" + c.key + ".key\"]\n"
		if err := s.write(c.config+".toml", text); err != nil {
			t.Fatal(err)
		}
		s.ask("--config ./"+c.config+".toml refresh").want(t, exitDone)
		dir := s.path("bucket/" + c.dir)
		if err := os.Rename(dir, dir+".away"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := s.write("bucket/"+c.dir, ""); err != nil {
			t.Fatal(err)
		}
		s.ask("--config ./"+c.config+".toml doctor").want(t, exitNo, "problem rights: may not create below", c.dir+" may not be written", "docs/ACCESS.md")
	}
}
