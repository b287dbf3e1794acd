package main

import "testing"

// TestExpiredMetadata is refused and not kept; but for the root, which is kept before its expiry is looked at (5.3.10).
func TestExpiredMetadata(t *testing.T) {
	t.Parallel()
	for role, trusted := range map[string]string{
		"root":      "a:1 root:2 snapshot:2 targets:2 timestamp:2",
		"timestamp": "a:1 root:1 snapshot:2 targets:2 timestamp:2",
		"snapshot":  "a:1 root:1 snapshot:2 targets:2 timestamp:3",
		"targets":   "a:1 root:1 snapshot:3 targets:2 timestamp:3",
		"a":         "a:1 root:1 snapshot:3 targets:3 timestamp:3",
	} {
		r := newRow(t)
		r.delegate(delegation{from: "targets", to: "a"})
		r.addTarget("a", "file", "content")
		r.publish("a")
		r.publishAll()
		r.takes(r.download("file"))
		r.expires(r.docs[role], today)
		if role == "root" {
			r.publish("root")
		}
		r.publish("a")
		r.publishAll()
		r.refuses(r.download("file"), role+": expired at")
		r.trusts(trusted)
	}
}

// TestWhatExpiredHereIsReplaced: expired memory is no reason to refuse what is new.
func TestWhatExpiredHereIsReplaced(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		r := newRow(t)
		r.expires(r.docs[role], today.Add(7*day))
		r.publish("root")
		r.publishAll()
		r.takes(r.refresh())
		r.now = today.Add(18 * day)
		r.refuses(r.refresh(), role+": expired at")
		r.expires(r.docs[role], today.Add(21*day))
		r.publish("root")
		r.publishAll()
		r.takes(r.refresh())
		r.trusts("root:3 snapshot:3 targets:3 timestamp:3")
	}
}

// TestExpiredRootsOnTheWay do not matter; the last one's expiry does.
func TestExpiredRootsOnTheWay(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.expires(r.docs["root"], today.Add(-day))
	r.publish("root", "root")
	r.refuses(r.refresh(), "root: expired at")
	r.trusts("root:3")
	r.expires(r.docs["root"], today.Add(day))
	r.publish("root")
	r.takes(r.refresh())
	r.trusts("root:4 snapshot:1 targets:1 timestamp:1")
}
