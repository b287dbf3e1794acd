package main

import (
	"testing"
)

func TestTimestampRollback(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.publish("timestamp")
	r.takes(r.refresh())
	r.restart("timestamp")
	r.publish("timestamp")
	r.forgetRequests()
	r.refuses(r.refresh(), "timestamp: version 1 was offered, version 2 was seen before")
	r.wasAsked("2.root", "timestamp")
	r.trusts("root:1 snapshot:1 targets:1 timestamp:2")
}

// TestRollbackBelowTheTimestamp: a newer timestamp that leads to something older, listed with digests or without.
func TestRollbackBelowTheTimestamp(t *testing.T) {
	t.Parallel()
	for _, detailed := range []bool{false, true} {
		for role, c := range map[string]struct{ trusted, last string }{
			"snapshot": {"a:2 root:1 snapshot:2 targets:2 timestamp:2", "timestamp"},
			"targets":  {"a:2 root:1 snapshot:2 targets:2 timestamp:3", "3.snapshot"},
			"a":        {"a:2 root:1 snapshot:2 targets:2 timestamp:3", "3.snapshot"},
		} {
			r := newRow(t)
			r.detailed = detailed
			r.delegate(delegation{from: "targets", to: "a"})
			r.addTarget("a", "file", "content")
			r.publish("a", "a")
			r.publishAll()
			r.takes(r.download("file"))
			r.restart(role)
			if role != "snapshot" {
				r.publish(role)
			}
			r.publish("snapshot", "timestamp")
			r.refuses(r.refresh(), role+": version 1 was offered, version 2 was seen before")
			r.trusts(c.trusted)
			if last := r.lastAsked(); last != c.last {
				t.Errorf("%s: asked for %s last", role, last)
			}
		}
	}
}

func TestRoleDroppedFromTheSnapshot(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.delegate(delegation{from: "targets", to: "a"})
	r.publish("a")
	r.publishAll()
	r.takes(r.refresh())
	delete(r.docs["snapshot"]["meta"].(object), "a.json")
	r.publish("snapshot", "timestamp")
	r.refuses(r.refresh(), "snapshot: missing a")
	r.trusts("root:1 snapshot:2 targets:2 timestamp:3")
}

// TestFastForwardRecovery: after a thief pushed a version up, new keys let it start again (5.3.11).
func TestFastForwardRecovery(t *testing.T) {
	t.Parallel()
	for pushed, rotated := range map[string][]string{"timestamp": {"timestamp"}, "snapshot": {"timestamp", "snapshot"}, "targets": {"snapshot"}} {
		r := newRepository(t)
		r.delegate(delegation{from: "targets", to: "a"})
		r.publish("a")
		r.jump(pushed, 99)
		r.publishAll()
		r.takes(r.refresh())
		for _, role := range rotated {
			r.setKeys(role, 1, newKey(t))
		}
		delete(r.docs["snapshot"]["meta"].(object), "a.json")
		r.restart(pushed)
		r.publish("root")
		r.publishAll()
		r.takes(r.refresh())
		if v := r.version(pushed); v != 1 {
			t.Errorf("%s: version %d", pushed, v)
		}
	}
}

// TestRecoveryThatWasCutShort: the root with the new keys came, expired, and ended that run. The next one begins with
// it, sees no change of keys, and must not hold the new files to what the thief left.
func TestRecoveryThatWasCutShort(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.jump("targets", 99)
	r.publishAll()
	r.takes(r.refresh())
	r.setKeys("snapshot", 1, newKey(t))
	r.expires(r.docs["root"], today.Add(-day))
	r.publish("root")
	r.refuses(r.refresh(), "root: expired at")
	r.trusts("root:2 targets:100")
	r.expires(r.docs["root"], today.Add(day))
	r.restart("targets")
	r.publish("root")
	r.publishAll()
	r.takes(r.refresh())
	r.trusts("root:3 snapshot:3 targets:1 timestamp:3")
}

// TestNewTargetsKeysForgetNothing: only those of timestamp and snapshot do.
func TestNewTargetsKeysForgetNothing(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.publishAll()
	r.takes(r.refresh())
	r.setKeys("targets", 1, newKey(t))
	r.restart("targets")
	r.publish("root")
	r.publishAll()
	r.refuses(r.refresh(), "targets: version 1 was offered, version 2 was seen before")
	r.trusts("root:2 snapshot:2 targets:2 timestamp:3")
}
