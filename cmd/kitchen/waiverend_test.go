package main

import (
	"testing"
	"time"
)

// TestAWaiversEndIsTold before and after, by whatever a monitor or a person looks at.
func TestAWaiversEndIsTold(t *testing.T) {
	t.Parallel()
	s := chapter(t, "validated").copy(t)
	mustWrite(t, s, "test.sh", "exit 1\n")
	s.ask("--config ./staging.toml run").want(t, exitNo)
	start := time.Now()
	until := start.AddDate(0, 0, 2).UTC().Format(time.DateOnly)
	certify := "--config ./vendor.toml certify openstack@1.0.0 --waive acme/staging@" + until + ":rebuilt --key ./keys/ops-a.key --key ./keys/ops-b.key"
	s.ask(certify).want(t, exitDone)
	s.ask("--config ./laptop.toml renew").want(t, exitDone, "certificate ends with "+until)
	s.ask("--config ./laptop.toml check").want(t, exitDone, "0 warnings")

	soon := start.AddDate(0, 0, 2)
	s.askAt(soon, "--config ./laptop.toml renew").want(t, exitNo, "openstack@1.0.0 certificate ENDS with "+until, "waiver for acme/staging",
		"kitchen certify openstack@1.0.0 --waive acme/staging@DATE:REASON --key FILE", "kitchen decertify openstack@1.0.0 --reason TEXT --key FILE")
	e := s.askAt(soon, "--config ./laptop.toml renew -o json")
	var d renewDocument
	decode(t, e, &d)
	if d.Due != 1 || len(d.Ends) != 1 || d.Ends[0].Until != until {
		t.Errorf("%v", e)
	}
	s.askAt(soon, "--config ./laptop.toml check").want(t, exitDone, "WARNING waiver-ends-soon", "ends with "+until, "sound: 0 faults, 1 warning")

	past := start.AddDate(0, 0, 3)
	for _, line := range []string{"list", "status", "show openstack@1.0.0", "--state ./state-new refresh"} {
		s.askAt(past, "--config ./laptop.toml "+line).want(t, exitDone, "waiver ended "+until)
	}
	s.askAt(past, "--config ./laptop.toml check").want(t, exitDone, "WARNING waiver-ended", "ended with "+until, "no host deploys it")
	s.askAt(past, "--config ./laptop.toml renew").want(t, exitNo, "ENDED with "+until)

	// Whoever begins to mend it takes it off the list; what is decided against is not on it.
	s.askAt(past, "--config ./laptop.toml decertify openstack@1.0.0 --reason over --key ./keys/ops-a.key").want(t, exitNotInEffect)
	s.askAt(past, "--config ./laptop.toml renew").want(t, exitNotInEffect, "waits: ready-to-deploy.openstack.2.")
	s.askAt(past, "--config ./vendor.toml recall openstack@1.0.0 --reason over --key ./keys/ops-a.key").want(t, exitDone)
	s.askAt(past, "--config ./laptop.toml check").want(t, exitDone, "0 warnings")
}

// TestWhatIsCertifiedAndCouldNotBeToday is no plain "no change".
func TestWhatIsCertifiedAndCouldNotBeToday(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready").copy(t)
	s.ask("--config ./staging.toml report openstack@1.0.0 --result FAILED --note dark").want(t, exitDone)
	const line = "--config ./vendor.toml certify openstack@1.0.0 --key ./keys/ops-a.key --key ./keys/ops-b.key"
	s.ask(line).want(t, exitDone, "no change", "IT COULD NOT BE TODAY: acme/staging", "to take that back: kitchen decertify openstack@1.0.0")
	e := s.ask(line + " -o json")
	var d certifyDocument
	decode(t, e, &d)
	if d.Status != "unchanged" || len(d.UnmetToday) != 1 || len(d.Unmet) > 0 {
		t.Errorf("%v", e)
	}
}
