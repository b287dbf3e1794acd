package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRefreshAsksInTheOrderOfTheWorkflow(t *testing.T) {
	t.Parallel()
	r := bareRepository(t)
	r.publish("root", "targets", "snapshot", "timestamp")
	r.takes(r.init(r.files["1.root.json"]))
	r.wasAsked() // init makes no request
	r.trusts("root:1")
	r.takes(r.refresh())
	r.wasAsked("2.root", "timestamp", "1.snapshot", "1.targets")
	for role, name := range map[string]string{"root": "1.root", "timestamp": "timestamp", "snapshot": "1.snapshot", "targets": "1.targets"} {
		held, err := os.ReadFile(r.file(role))
		if err != nil || !bytes.Equal(held, r.files[name+".json"]) {
			t.Errorf("%s is not what was served: %v", role, err)
		}
	}
	r.takes(r.refresh())
	r.wasAsked("2.root", "timestamp") // the rest is still what was announced
	r.publishAll()
	r.publish("root", "root")
	r.takes(r.refresh())
	r.wasAsked("2.root", "3.root", "4.root", "timestamp", "2.snapshot", "2.targets")
}

// TestNoVersionsInNamesWithoutConsistentSnapshots but for the root.
func TestNoVersionsInNamesWithoutConsistentSnapshots(t *testing.T) {
	t.Parallel()
	r := bareRepository(t)
	r.flat, r.docs["root"]["consistent_snapshot"] = true, false
	r.addTarget("targets", "dir/file", "content")
	r.publish("root", "targets", "snapshot", "timestamp")
	r.trust(r.files["1.root.json"])
	r.takes(r.download("dir/file"))
	r.wasAsked("2.root", "timestamp", "snapshot", "targets")
	if len(r.targetsAsked()) != 1 || r.targetsAsked()[0] != "dir/file" {
		t.Errorf("fetched %q", r.targetsAsked())
	}
}

func TestDownloadRefreshesFirst(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.refuses(r.download("no such target"), "no role lists it")
	r.wasAsked("2.root", "timestamp", "1.snapshot", "1.targets")
	r.trusts("root:1 snapshot:1 targets:1 timestamp:1")
}

// TestBadInitialRoot is refused by init; and by refresh, before any request, should it stand in MDIR all the same.
func TestBadInitialRoot(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	good := r.files["1.root.json"]
	for name, spoil := range map[string]func(object){
		"no version":             func(e object) { delete(e["signed"].(object), "version") },
		"no signature":           func(e object) { e["signatures"] = []any{} },
		"signature of something": func(e object) { e["signatures"].([]any)[0].(object)["sig"] = "3006020101020101" },
		"another key's":          func(e object) { e["signatures"].([]any)[0].(object)["keyid"] = strings.Repeat("0", 64) },
		"changed since":          func(e object) { e["signed"].(object)["expires"] = "2099-01-01T00:00:00Z" },
		"another type":           func(e object) { e["signed"].(object)["_type"] = "targets" },
	} {
		r.replace("1.root.json", good)
		r.respoil("root", spoil)
		bad := r.files["1.root.json"]
		fresh := newInstallation(t, r.base)
		fresh.refuses(fresh.init(bad), "root: ")
		fresh.trusts("")
		check(t, os.WriteFile(r.file("root"), bad, 0o600))
		r.refuses(r.refresh(), "the trusted root")
		r.wasAsked()
		t.Logf("%s: %s", name, r.stderr)
	}
	check(t, os.Remove(r.file("root")))
	r.refuses(r.refresh(), "the trusted root")
	r.wasAsked()
}

func TestInitNeverReplacesATrustedRoot(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.publish("root")
	r.takes(r.refresh())
	r.refuses(r.init(r.files["1.root.json"]), "exists")
	r.trusts("root:2 snapshot:1 targets:1 timestamp:1")
}

func TestMetadataSignedByNobody(t *testing.T) {
	t.Parallel()
	for role, trusted := range map[string]string{"root": "root:1", "timestamp": "root:2", "snapshot": "root:2 timestamp:2",
		"targets": "root:2 snapshot:2 timestamp:2"} {
		r := newRow(t)
		r.signers[role] = nil
		r.publish("root", "targets", "snapshot", "timestamp")
		r.refuses(r.refresh(), role+": no valid signature")
		r.trusts(trusted)
	}
}

// TestVersionOfAnotherName: a file that was signed as version 3 is offered as version 2.
func TestVersionOfAnotherName(t *testing.T) {
	t.Parallel()
	for role, trusted := range map[string]string{"root": "root:1", "snapshot": "root:2 timestamp:2", "targets": "root:2 snapshot:2 timestamp:2"} {
		r := newRow(t)
		for _, other := range []string{"root", "targets", "snapshot", "timestamp"} {
			r.publish(other)
			if other == role {
				r.docs[role]["version"] = 3
				r.put(role, 2, r.seal(role))
			}
		}
		r.refuses(r.refresh(), role+": not the file that was announced: got version 3, want version 2")
		r.trusts(trusted)
	}
}

// TestTimestampChangedUnderItsVersion is discarded without an error (5.4.3.1).
func TestTimestampChangedUnderItsVersion(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.takes(r.refresh())
	held := r.files["timestamp.json"]
	r.docs["timestamp"]["meta"].(object)["snapshot.json"] = object{"version": 100}
	r.jump("timestamp", 0)
	r.publish("timestamp")
	r.forgetRequests()
	r.takes(r.refresh())
	r.wasAsked("2.root", "timestamp")
	if now, err := os.ReadFile(r.file("timestamp")); err != nil || !bytes.Equal(now, held) {
		t.Errorf("the timestamp was replaced: %v", err)
	}
}

func TestDigestsAndLengthsOfMetadata(t *testing.T) {
	t.Parallel()
	zeros := object{"sha256": strings.Repeat("0", 64)}
	for _, c := range []struct {
		name, role, trusted string
		spoil               func(meta object)
	}{
		{"targets digest", "targets", "root:1 snapshot:3 targets:2 timestamp:3", func(m object) { m["hashes"] = zeros }},
		{"targets length", "targets", "root:1 snapshot:3 targets:2 timestamp:3", func(m object) { m["length"] = m["length"].(int) - 1 }},
		{"snapshot digest", "snapshot", "root:1 snapshot:2 targets:2 timestamp:3", func(m object) { m["hashes"] = zeros }},
		{"snapshot length", "snapshot", "root:1 snapshot:2 targets:2 timestamp:3", func(m object) { m["length"] = m["length"].(int) + 1 }},
		{"one digest of two", "snapshot", "root:1 snapshot:2 targets:2 timestamp:3", func(m object) {
			m["hashes"].(object)["sha512"] = strings.Repeat("0", 128)
		}},
		{"unheard-of digest", "snapshot", "root:1 snapshot:2 targets:2 timestamp:2", func(m object) { m["hashes"] = object{"unheard-of": "00"} }},
	} {
		r := newRow(t)
		r.detailed = true
		r.publishAll()
		r.takes(r.refresh())
		r.publish("targets")
		if c.role == "targets" {
			c.spoil(r.docs["snapshot"]["meta"].(object)["targets.json"].(object))
		}
		r.publish("snapshot")
		if c.role == "snapshot" {
			c.spoil(r.docs["timestamp"]["meta"].(object)["snapshot.json"].(object))
		}
		r.publish("timestamp")
		r.refuses(r.refresh(), "")
		r.trusts(c.trusted)
	}
}

// TestBytesAreKeptAsReceived: whatever stands around the signed part.
func TestBytesAreKeptAsReceived(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	odd := append(bytes.Clone(r.files["timestamp.json"]), " \n\t "...)
	r.replace("timestamp.json", odd)
	r.takes(r.refresh())
	if held, err := os.ReadFile(r.file("timestamp")); err != nil || !bytes.Equal(held, odd) {
		t.Errorf("kept %q, %v", held, err)
	}
}

// TestUnknownFields are part of what is signed, and mean nothing.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.takes(r.refresh())
	extra := newKey(t)
	extra.form["x"], extra.form["keyid_hash_algorithms"] = object{"a": 1, "b": []any{nil, true}}, "md5"
	extra = extra.with(t, extra.form)
	r.setKeys("snapshot", 1, extra)
	r.setKeys("root", 2, r.signers["root"][0], extra.with(t, object{"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256",
		"keyval": object{"public": extra.form["keyval"].(object)["public"], "note": "n"}}))
	r.docs["root"]["roles"].(object)["root"].(object)["x"] = "of the role"
	r.docs["root"]["x"] = "of the root"
	r.docs["timestamp"]["issued"] = "2099-01-01T00:00:00Z" // Kitchen's own field, in a repository that is not Kitchen's
	r.docs["targets"]["x"] = []any{object{"deep": []any{}}}
	r.addTarget("targets", "file", "content")
	r.docs["targets"]["targets"].(object)["file"].(object)["custom"] = object{"numbers": []any{1, 2}}
	r.publish("root")
	r.publishAll()
	r.takes(r.download("file"))
	r.trusts("root:2 snapshot:2 targets:2 timestamp:2")
}

// TestMetadataThatIsNotThere: nothing else is asked for, and nothing twice.
func TestMetadataThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role, trusted string
		asked         []string
	}{
		{"timestamp", "root:1 snapshot:1 targets:1 timestamp:1", []string{"2.root", "timestamp"}},
		{"snapshot", "root:1 snapshot:1 targets:1 timestamp:2", []string{"2.root", "timestamp", "2.snapshot"}},
		{"targets", "root:1 snapshot:2 targets:1 timestamp:2", []string{"2.root", "timestamp", "2.snapshot", "2.targets"}},
	} {
		r := newRow(t)
		r.takes(r.refresh())
		r.publishAll()
		r.replace(r.name(c.role, 2), nil)
		r.forgetRequests()
		r.refuses(r.refresh(), "404")
		r.wasAsked(c.asked...)
		r.trusts(c.trusted)
	}
}

// TestOnlyNotFoundEndsTheRootChain: 403 means the same; anything else is no answer to whether there is a newer root.
func TestOnlyNotFoundEndsTheRootChain(t *testing.T) {
	t.Parallel()
	for status, ends := range map[int]bool{404: true, 403: true, 401: false, 410: false, 429: false, 500: false, 503: false, 204: false} {
		r := newRow(t)
		r.answering(func(w http.ResponseWriter, name string) bool {
			if name == "2.root.json" {
				w.WriteHeader(status)
			}
			return name == "2.root.json"
		})
		if ends {
			r.takes(r.refresh())
			continue
		}
		r.refuses(r.refresh(), "2.root.json")
		r.wasAsked("2.root")
		r.trusts("root:1")
	}
}

// TestOneTypeAsAnother: a snapshot, signed by the timestamp's key too, is no timestamp.
func TestOneTypeAsAnother(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.setKeys("snapshot", 1, r.signers["snapshot"][0], r.signers["timestamp"][0])
	r.docs["snapshot"]["meta"] = object{"snapshot.json": object{"version": 1}}
	r.publish("root", "snapshot")
	r.replace("timestamp.json", r.files["2.snapshot.json"])
	r.refuses(r.refresh(), `the file is of type "snapshot"`)
	r.trusts("root:2")
}

// TestTheTimeIsThatOfDate, the program; this host's own, where nobody put another in its place.
func TestTheTimeIsThatOfDate(t *testing.T) {
	t.Parallel()
	r := bareRepository(t)
	for _, doc := range r.docs {
		r.expires(doc, time.Now().Add(day))
	}
	r.publish("root", "targets", "snapshot", "timestamp")
	r.trust(r.files["1.root.json"])
	r.realDate = true
	r.takes(r.refresh())
	r.realDate = false
	r.now = time.Now().Add(2 * day)
	r.refuses(r.refresh(), "root: expired")
}

// TestCommandLine: what is not understood is exit code 1, and no request.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	urls := []string{"--metadata-url", r.base + "/metadata", "--metadata-dir", r.metadata}
	for _, args := range [][]string{{}, {"refresh"}, {"--metadata-dir", r.metadata}, {"--metadata-dir", r.metadata, "refresh"},
		{"--metadata-dir", r.metadata, "init"}, append([]string{"refresh"}, urls...), append(urls, "refresh", "more"),
		append(urls, "download"), append(urls, "--target-name", "x", "download"), append(urls, "publish"), {"--nonsense", "refresh"}} {
		r.refuses(r.exec(args...), "")
	}
	r.wasAsked()
	if r.exec("--help") != 0 {
		t.Error(r.stderr)
	}
}

// TestEndlessMetadata, of every role: no more is read than was announced, or than there can be.
func TestEndlessMetadata(t *testing.T) {
	t.Parallel()
	for name, trusted := range map[string]string{"2.root.json": "root:1", "timestamp.json": "root:1",
		"1.snapshot.json": "root:1 timestamp:1", "1.targets.json": "root:1 snapshot:1 timestamp:1"} {
		r := newRepository(t)
		r.answering(func(w http.ResponseWriter, asked string) bool {
			for asked == name {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return true
				}
			}
			return false
		})
		r.refuses(r.refresh(), "more than")
		r.trusts(trusted)
	}
}

// TestMetadataThatDripsForEver, after a good beginning.
func TestMetadataThatDripsForEver(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.deadline = "300ms"
	done := make(chan struct{})
	defer close(done)
	r.answering(func(w http.ResponseWriter, asked string) bool {
		if asked != "timestamp.json" {
			return false
		}
		w.Write([]byte("{"))
		w.(http.Flusher).Flush()
		<-done
		return true
	})
	r.refuses(r.refresh(), "deadline exceeded")
	r.trusts("root:1")
}

// TestDamagedMemory heals, but for the root; nothing half-written counts.
func TestDamagedMemory(t *testing.T) {
	t.Parallel()
	r := newRow(t)
	r.delegate(delegation{from: "targets", to: "a"})
	r.addTarget("a", "file", "content")
	r.publish("a")
	r.publishAll()
	for _, spoil := range []func([]byte) []byte{
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return make([]byte, len(b)) },
		func(b []byte) []byte { return bytes.Replace(b, []byte("2026"), []byte("2027"), 1) },
	} {
		for _, role := range []string{"timestamp", "snapshot", "targets", "a"} {
			r.takes(r.download("file"))
			held, err := os.ReadFile(r.file(role))
			check(t, err)
			check(t, os.WriteFile(r.file(role), spoil(held), 0o600))
			check(t, os.WriteFile(filepath.Join(r.metadata, "_tmp-x"), held[:9], 0o600))
			r.takes(r.download("file"))
			if healed, err := os.ReadFile(r.file(role)); err != nil || !bytes.Equal(healed, held) {
				t.Errorf("%s did not heal: %v", role, err)
			}
		}
	}
	r.trusts("a:1 root:1 snapshot:2 targets:2 timestamp:2")
}
