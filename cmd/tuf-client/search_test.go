package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// TestRoleNamesInURLsAndFiles: a role's name leads nowhere else.
func TestRoleNamesInURLsAndFiles(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	names := []string{"?", "#", "/role", "../role", "..", "a b+c", "%2e%2e", `\`, "ü", "snapshot.json"}
	for _, name := range names {
		r.delegate(delegation{from: "targets", to: name})
		r.publish(name)
	}
	r.publishAll()
	r.refuses(r.download("missing"), "no role lists it")
	var want []string
	for _, name := range names {
		want = append(want, "1."+strings.ReplaceAll(url.QueryEscape(name), "+", "%20"))
	}
	r.wasAskedBelowTop(want...)
	files, err := os.ReadDir(r.metadata)
	if err != nil || len(files) != 4+len(names) {
		t.Errorf("MDIR holds %v, %v", files, err)
	}
}

// TestGraphs: delegations as from>to, "!" for terminating, "*.py" where that is all they cover; and the roles that are
// visited for a path that nobody lists.
func TestGraphs(t *testing.T) {
	t.Parallel()
	chain := []string{"targets>r00"}
	for i := range 40 {
		chain = append(chain, fmt.Sprintf("r%02d>r%02d", i, i+1))
	}
	fan := []string{}
	for i := range 40 {
		fan = append(fan, fmt.Sprintf("targets>r%02d", i))
	}
	numbers := strings.Fields(strings.Repeat("r%02d ", maxVisited))
	for i := range numbers {
		numbers[i] = fmt.Sprintf(numbers[i], i)
	}
	for _, c := range []struct{ graph, visited string }{
		{"targets>A", "A"},
		{"targets>A targets>B", "A B"},
		{"targets>A targets>B B>C", "A B C"},
		{"targets>A targets>B A>C A>D", "A C D B"},
		{"targets>A targets>B A>C C>D", "A C D B"},
		{"targets>A targets>B A>C! A>D", "A C"},
		{"targets>A targets>B A>C! C>D", "A C D"},
		{"targets>A targets>B A>D A>C! A>E", "A D C"},
		{"targets>A*.py targets>B A>C", "B"},
		{"targets>A targets>B A>C*.py C>D", "A B"},
		{"targets>A*.py! targets>B", "B"}, // terminates nothing: it does not cover the path
		{"targets>A targets>B B>C C>D D>B", "A B C D"},
		{"targets>A A>A targets>B", "A B"},
		{"targets>A A>B B>A! targets>C", "A B"}, // terminating, though A is not visited twice
		{"targets>A targets>B B>C A>C", "A C B"},
		{"targets>A targets>B B>C A>C*.py", "A B C"},
		{strings.Join(chain, " "), strings.Join(numbers, " ")},
		{strings.Join(fan, " "), strings.Join(numbers, " ")},
	} {
		r := newRow(t)
		for _, edge := range strings.Fields(c.graph) {
			from, to, _ := strings.Cut(edge, ">")
			to, terminating := strings.CutSuffix(to, "!")
			to, narrow := strings.CutSuffix(to, "*.py")
			d := delegation{from: from, to: to, terminating: terminating}
			if narrow {
				d.paths = []any{"*.py"}
			}
			r.delegate(d)
		}
		for role := range r.docs {
			if len(role) < 4 {
				r.publish(role)
			}
		}
		r.publishAll()
		r.refuses(r.download("missing"), "target \"missing\"")
		var want []string
		for _, role := range strings.Fields(c.visited) {
			want = append(want, "1."+role)
		}
		r.wasAskedBelowTop(want...)
	}
}

// TestSearchInATree: A has documents, B releases, of which C and D have parts.
func TestSearchInATree(t *testing.T) {
	t.Parallel()
	r := newRow(t)
	for _, d := range []delegation{
		{from: "targets", to: "A", paths: []any{"*.doc", "*.md", "foo-?.tgz"}},
		{from: "targets", to: "B", paths: []any{"releases/*/*"}},
		{from: "B", to: "C", paths: []any{"releases/x/*"}},
		{from: "B", to: "D", paths: []any{"releases/y/*.zip"}},
	} {
		r.delegate(d)
	}
	for path, role := range map[string]string{"top": "targets", "README.md": "A", "releases/README.md": "A", "foo-1.tgz": "A",
		"foo-alpha.tgz": "A", "releases/x/x_v1": "C", "releases/y/y_v1.zip": "D", "releases/z/z_v1.zip": "D"} {
		r.addTarget(role, path, path)
	}
	r.publish("A", "B", "C", "D")
	r.publishAll()
	for path, c := range map[string]struct {
		found   bool
		visited []string
	}{
		"top":                 {true, nil},
		"README.md":           {true, []string{"1.A"}},
		"releases/x/x_v1":     {true, []string{"1.B", "1.C"}},
		"releases/y/y_v1.zip": {true, []string{"1.B", "1.D"}},
		"releases/z/z_v1.zip": {false, []string{"1.B"}}, // D lists it, and nobody lets D
		"releases/README.md":  {false, nil},             // "*" ends at a slash
		"foo-1.tgz":           {true, []string{"1.A"}},
		"foo-alpha.tgz":       {false, nil}, // "?" is one character
		"README.MD":           {false, nil}, // case counts
	} {
		fresh := newInstallation(t, r.base)
		fresh.inside = true
		fresh.trust(r.files["1.root.json"])
		r.forgetRequests()
		if code := fresh.download(path); c.found {
			fresh.takes(code)
			fresh.holds(path)
		} else {
			fresh.refuses(code, "no role lists it")
			fresh.holds()
		}
		r.wasAskedBelowTop(c.visited...)
	}
}

// TestRoleOfTwoDelegators: what was verified with the keys of one is nothing under the keys of the other; not in the
// same run, not from memory in a later one.
func TestRoleOfTwoDelegators(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, team := range []string{"a", "b"} {
		paths := []any{"team-" + team + "/*"}
		r.delegate(delegation{from: "targets", to: "parent-" + team, paths: paths})
		r.delegate(delegation{from: "parent-" + team, to: "release", paths: paths})
	}
	both := r.signers["release"]
	r.signers["release"] = both[:1] // parent-a's
	r.addTarget("release", "team-a/file", "trusted")
	r.addTarget("release", "team-b/file", "malign")
	r.publish("release", "parent-a", "parent-b")
	r.publishAll()
	r.refuses(r.download("team-a/file", "team-b/file"), "release: no valid signature")
	r.holds("trusted")
	r.wasAsked("2.root", "timestamp", "2.snapshot", "2.targets", "1.parent-a", "1.release", "1.parent-b")
	r.refuses(r.download("team-b/file"), "release: no valid signature")
	r.holds("trusted")
	r.signers["release"] = both
	r.publish("release", "snapshot", "timestamp")
	r.forgetRequests()
	r.takes(r.download("team-a/file", "team-b/file"))
	r.wasAsked("2.root", "timestamp", "3.snapshot", "2.release")
}

// TestDelegationThatTheSnapshotDoesNotList is not followed, and not asked for.
func TestDelegationThatTheSnapshotDoesNotList(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.delegate(delegation{from: "targets", to: "a"})
	r.addTarget("a", "file", "content")
	r.publish("a", "targets")
	delete(r.docs["snapshot"]["meta"].(object), "a.json")
	r.publish("snapshot", "timestamp")
	r.takes(r.refresh())
	r.forgetRequests()
	r.refuses(r.download("file"), "snapshot: missing a")
	r.wasAsked("2.root", "timestamp")
	r.trusts("root:1 snapshot:2 targets:2 timestamp:2")
}

// TestDelegatedRoleThatFails ends the search: no other role is asked in its place.
func TestDelegatedRoleThatFails(t *testing.T) {
	t.Parallel()
	for refusal, spoil := range map[string]func(r *repository){
		"a: no valid signature": func(r *repository) {
			r.signers["a"] = []key{newKey(t)}
			r.replace("1.a.json", r.seal("a"))
		},
		"404": func(r *repository) { r.replace("1.a.json", nil) },
		"a: not the file that was announced: got version 7": func(r *repository) {
			r.docs["a"]["version"] = 7
			r.replace("1.a.json", r.seal("a"))
		},
	} {
		r := newRepository(t)
		r.delegate(delegation{from: "targets", to: "a"})
		r.delegate(delegation{from: "targets", to: "b"})
		r.addTarget("b", "file", "content")
		r.publish("a", "b")
		r.publishAll()
		spoil(r)
		r.refuses(r.download("file"), refusal)
		r.wasAskedBelowTop("1.a")
		r.holds()
	}
}

// TestHashBins: by prefixes of the path's hash, and succinct (TAP 15): one bin is asked for, the one of the path.
func TestHashBins(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("dir/file"))
	first := hex.EncodeToString(digest[:])[:1]
	r := newRepository(t)
	const digits = "0123456789abcdef"
	for _, digit := range strings.Split(digits, "") {
		r.delegate(delegation{from: "targets", to: "bin " + digit, prefixes: []any{digit}})
		r.publish("bin " + digit)
	}
	r.addTarget("bin "+first, "dir/file", "content")
	r.publish("bin " + first)
	r.publishAll()
	r.takes(r.download("dir/file"))
	r.wasAskedBelowTop("2.bin%20" + first)

	r = newRepository(t)
	r.delegate(delegation{from: "targets", to: "bin-" + first})
	list := r.docs["targets"]["delegations"].(object)
	role := list["roles"].([]any)[0].(object)
	delete(list, "roles")
	list["succinct_roles"] = object{"keyids": role["keyids"], "threshold": 1, "bit_length": 4, "name_prefix": "bin"}
	r.addTarget("bin-"+first, "dir/file", "content")
	r.publish("bin-" + first)
	r.publishAll()
	r.takes(r.download("dir/file"))
	r.holds("content")
	r.wasAskedBelowTop("1.bin-" + first)
	r.signers["bin-"+first] = []key{newKey(t)}
	r.publish("bin-"+first, "snapshot", "timestamp")
	r.refuses(r.download("dir/file"), "no valid signature")
}
