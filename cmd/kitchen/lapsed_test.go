package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestAProposalThatLapsesIsTold before and after: its change is not in effect, whoever believes so.
func TestAProposalThatLapsesIsTold(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready").copy(t)
	s.ask("--config ./laptop.toml decertify openstack@1.0.0 --reason driver --key ./keys/ops-a.key").want(t, exitNotInEffect)
	id := proposalOf(t, s, "ready-to-deploy.openstack.2.")
	start := time.Now()
	commit := func(days int, words ...string) ended {
		t.Helper()
		e := s.askAt(start.AddDate(0, 0, days), "--config ./vendor.toml commit")
		e.want(t, exitDone, words...)
		return e
	}
	if e := commit(6); strings.Contains(e.stdout, "LAPSES") {
		t.Errorf("with 8 days left: %v", e)
	}
	commit(12, "12 days old, LAPSES in ")
	s.askAt(start.AddDate(0, 0, 12), "--config ./laptop.toml pending").want(t, exitDone, "LAPSES in ")

	if e := commit(15, id, "it lapsed on", "kitchen pending again "+id); strings.Contains(e.stdout, "was signed by") {
		t.Errorf("each commit says all of it: %v", e)
	}
	past := start.AddDate(0, 0, 15)
	s.askAt(past, "--config ./laptop.toml pending").want(t, exitDone, id, "STALE: it lapsed on", "decertify openstack@1.0.0", "kitchen pending again "+id+" --key FILE")
	s.askAt(past, "--config ./laptop.toml pending ready-to-deploy.openstack.2").want(t, exitDone, id)
	s.askAt(past, "--config ./laptop.toml check").want(t, exitDone, "pending/"+id+"/", "it lapsed on")
	e := s.askAt(past, "--config ./laptop.toml sign ready-to-deploy.openstack --yes --key ./keys/ops-b.key")
	e.want(t, exitDone, "nothing to sign", id+" takes no signature any more: it lapsed on", "kitchen pending again "+id+" --key FILE")
	if strings.Contains(e.stdout, "says so already") {
		t.Errorf("it is not so: %v", e)
	}
	s.askAt(past, "--config ./laptop.toml sign "+id[:len(id)-4]+" --yes --key ./keys/ops-b.key").want(t, exitNo, "it lapsed on")

	// Another change of the role does not hide it; its own change, made again, does.
	other := s.copy(t)
	other.askAt(past, "--config ./vendor.toml renew --within 90d --key ./keys/ops-a.key --key ./keys/ops-b.key").want(t, exitDone)
	if err := os.Chtimes(other.path("bucket/metadata/"+"2.ready-to-deploy.openstack.json"), past, past); err != nil {
		t.Fatal(err)
	}
	other.askAt(past, "--config ./laptop.toml pending").want(t, exitDone, id)
	s.askAt(past, "--config ./vendor.toml pending again "+id[:len(id)-4]+" --yes --key ./keys/ops-a.key --key ./keys/ops-b.key").want(t, exitDone)
	s.askAt(past, "--config ./laptop.toml pending").want(t, exitDone, "nothing waits")

	other.askAt(start.AddDate(0, 0, 29), "--config ./vendor.toml commit").want(t, exitDone)
	other.askAt(start.AddDate(0, 0, 29), "--config ./laptop.toml pending").want(t, exitDone, "nothing waits")
}

// proposalOf is the id of a proposal that begins so.
func proposalOf(t *testing.T, s scene, begins string) string {
	t.Helper()
	entries, err := os.ReadDir(s.path("bucket/pending"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), begins) {
			return e.Name()
		}
	}
	t.Fatalf("no proposal %s", begins)
	return ""
}
