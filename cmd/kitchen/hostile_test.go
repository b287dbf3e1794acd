package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
)

// evil clears the screen, fills the clipboard, makes a link, overwrites its line, and hides and turns text around.
const evil = "evil \x1b[2J\x1b]52;c;ZXZpbA==\a\x1b]8;;http://evil\aclick\r\u009b31m\u0085\u202e\u2066\u200b\u2028end"

// evilJSON is evil inside a JSON or TOML string that holds it without a raw control character.
const evilJSON = `evil \u001b[2J\u001b]52;c;ZXZpbA==\u0007click\r\u009b31m\u202e\u2066\u200bend`

// onScreen runs the real program in table form and in JSON, holds both streams to printable ASCII and JSON to JSON,
// and gives what the table form printed.
func onScreen(t *testing.T, dir string, code int, args ...string) string {
	t.Helper()
	shown := ""
	for _, form := range []string{"json", "table"} {
		c := exec.Command("kitchen", append(args, "-o", form)...)
		c.Dir = dir
		c.Env = append(os.Environ(), "HOME="+dir, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		err := c.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || c.ProcessState.ExitCode() != code {
			t.Errorf("%q: exit %d, want %d, %v\n%q", args, c.ProcessState.ExitCode(), code, err, stderr.String())
		}
		for _, stream := range []*bytes.Buffer{&stdout, &stderr} {
			if i := strings.IndexFunc(stream.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
				t.Errorf("%q -o %s prints %q", args, form, stream.String()[i:])
			}
			if lines := stream.Bytes(); form == "json" && len(lines) > 0 && !json.Valid(lines) {
				t.Errorf("%q: not JSON: %s", args, lines)
			}
		}
		shown = stdout.String() + stderr.String()
	}
	return shown
}

func wantShown(t *testing.T, shown string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(strings.Join(strings.Fields(shown), " "), w) {
			t.Errorf("no %q in\n%s", w, shown)
		}
	}
}

// hostileWorld is a catalog of today in a directory, and a directory to run in whose kitchen.toml pins its root.
func hostileWorld(t *testing.T) (w *catalogtest.World, dir string) {
	t.Helper()
	w, dir = catalogtest.New(t), t.TempDir()
	w.Now = time.Now().UTC().Truncate(time.Second).Add(-time.Hour) // reports come a minute after each other
	w.NewRoot(w.RootKeys[:2]...)
	w.AddProduct("openstack")
	w.AddCustomer("acme", "openstack")
	w.AddSite("acme/staging", manifest.SiteCI)
	put(t, filepath.Join(dir, "root.json"), w.Root1)
	put(t, filepath.Join(dir, "kitchen.toml"), fmt.Appendf(nil, "catalog = %q\nroot = \"root.json\"\nstate = \"state\"\n", w.Store.URL()))
	return w, dir
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestSignedHostileText: what writers of Kitchen refuse, signed all the same by somebody who may sign it.
func TestSignedHostileText(t *testing.T) {
	t.Parallel()
	w, dir := hostileWorld(t)
	for _, r := range []string{"openstack@1.0.0", "openstack@1.1.0", "openstack@1.2.0"} {
		w.Publish(r, catalogtest.Content{})
		w.Validate(r)
	}
	w.Recall("openstack@1.0.0", evil)
	w.Yank("openstack@1.1.0", evil)
	wantShown(t, onScreen(t, dir, exitDone, "list"), `evil \x1b[2J`, `\x9b31m`)
	wantShown(t, onScreen(t, dir, exitDone, "status"), `evil \x1b[2J`)
	wantShown(t, onScreen(t, dir, exitNo, "ready", "openstack@1.0.0"), `evil \x1b[2J`)
	onScreen(t, dir, exitNo, "ready", "openstack@1.1.0")

	// A report: its reason and tests are refused by every reader, and said; its log is shown.
	w.Report("acme/staging", "openstack@1.2.0", manifest.Failed, func(r *manifest.Report) { r.Log, r.Reason = w.Log("acme/staging", evil+"\n\xff\x9b"), "why" })
	wantShown(t, onScreen(t, dir, exitDone, "log", "openstack@1.2.0", "--site", "acme/staging"), `evil \x1b[2J`, `\x9b31m`, `\xff\x9b`)
	w.Report("acme/staging", "openstack@1.2.0", manifest.Failed, func(r *manifest.Report) {
		r.Log = w.Log("acme/staging", strings.Repeat("bomb", 1<<20))
		r.Log.RawSize = 4
	})
	if shown := onScreen(t, dir, exitFailed, "log", "openstack@1.2.0", "--site", "acme/staging"); !strings.HasPrefix(shown, "bomberror: ") {
		t.Errorf("a bomb shows %.100q", shown)
	}
	hostileReport(t, w)
	wantShown(t, onScreen(t, dir, exitDone, "status", "openstack@1.2.0"), "does not count", "control character")
	hostileProposal(t, w)
	wantShown(t, onScreen(t, dir, exitDone, "pending"), "recalled.openstack", `evil`)

	// A manifest and a customer that say it.
	summary := hostileManifest(t, w)
	wantShown(t, onScreen(t, dir, exitNotTrusted, "show", summary), "summary", "control character")
	hostileCustomer(t, w)
	wantShown(t, onScreen(t, dir, exitNotTrusted, "customer", "list"), "control character")
	onScreen(t, dir, exitNotTrusted, "status")

	// A timestamp that is none.
	w.SwapTimestamp([]byte(`{"signed": {"_type": "` + evil + `"}, "signatures": []}`))
	onScreen(t, dir, exitNotTrusted, "list")
}

func hostileReport(t *testing.T, w *catalogtest.World) {
	t.Helper()
	r := manifest.Release{Product: "openstack", Version: "1.2.0"}
	site := manifest.SiteID{Customer: "acme", Site: "staging"}
	report := &manifest.Report{Site: site, Release: r, ManifestSHA256: catalogtest.Digest(nil), Type: manifest.ReportTest, Result: manifest.Failed, Reason: "REASON",
		Failed: []string{"TEST"}, Started: w.Now, Finished: w.Now, Sequence: 3, Previous: catalogtest.Digest(nil)}
	statement, err := report.Statement()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"REASON", "TEST", "openstack/1.2.0"} {
		bundle, err := keys.SignStatement(t.Context(), w.SiteKeys[site], bytes.Replace(statement, []byte(word), []byte(evilJSON), 1))
		if err != nil {
			t.Fatal(err)
		}
		w.Put(manifest.ReportObject(site, r, w.Now, catalogtest.Digest(bundle)), bundle)
	}
}

// hostileProposal leaves a recall to be committed whose reason, summary and kind are hostile.
func hostileProposal(t *testing.T, w *catalogtest.World) {
	t.Helper()
	const role = "recalled.openstack"
	old := w.Roles[role]
	next := old.Clone()
	next.Version, next.Replaces = old.Version+1, catalogtest.Digest(w.Files[role])
	next.Expires, next.ProposalExpires = w.Now.Add(90*catalogtest.Day), w.Now.Add(catalogtest.Day)
	target := w.Roles["product.openstack"].Targets["catalog/openstack/1.2.0/manifest.toml"]
	target.Custom = map[string]string{catalog.CustomReason: evil}
	next.Targets["recalled/openstack/1.2.0/manifest.toml"] = target
	payload, err := next.Payload()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := trust.Sign(t.Context(), payload, w.RoleKeys[role][0])
	if err != nil {
		t.Fatal(err)
	}
	file, err := trust.EncodeSignature(sig)
	if err != nil {
		t.Fatal(err)
	}
	sha := catalogtest.Digest(payload)
	id := manifest.ProposalID(role, next.Version, catalogtest.Digest(fmt.Appendf(nil, "%s %d %s\n", role, next.Version, sha)))
	doc := fmt.Sprintf(`{"schema": "kitchen.proposal/v1", "kind": "%s", "summary": ["%s"], "roles": [{"role": %q, "version": %d, "sha256": %q}]}`,
		evilJSON, evilJSON, role, next.Version, sha)
	w.Put(manifest.ProposalObject(id, manifest.PayloadName(role)), payload)
	w.Put(manifest.SignatureObject(id, role, sig.KeyID, catalogtest.Digest(file)), file)
	w.Put(manifest.ProposalObject(id, manifest.ProposalName), []byte(doc))
}

// hostileManifest publishes a release whose summary is hostile.
func hostileManifest(t *testing.T, w *catalogtest.World) string {
	t.Helper()
	r := manifest.Release{Product: "openstack", Version: "6.6.6"}
	good, err := w.Manifest(r, catalogtest.Content{}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Replace(good, []byte("release openstack@6.6.6"), []byte(evilJSON), 1)
	path := manifest.TargetPath(manifest.StageCatalog, r)
	w.Put(manifest.TargetObject(path, catalogtest.Digest(data)), data)
	w.Edit("product.openstack", func(all *trust.Targets) {
		all.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data), Custom: map[string]string{catalog.CustomSeq: "9"}}
	})
	w.Commit()
	return r.String()
}

func hostileCustomer(t *testing.T, w *catalogtest.World) {
	t.Helper()
	data := []byte("customer = \"evil\"\nname = \"" + evilJSON + "\"\nsubscribe = [\"*\"]\n")
	path := manifest.RegistryTarget("evil")
	w.Put(manifest.TargetObject(path, catalogtest.Digest(data)), data)
	w.Edit("registry", func(all *trust.Targets) {
		all.Targets[path] = trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data)}
	})
	w.Commit()
}

// TestHostileServers: whatever a web or S3 server says in its errors.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	_, dir := hostileWorld(t)
	for _, status := range []int{200, 301, 400, 403, 412} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/xml; x=\u202e\u009b")
			w.Header().Set("ETag", "\"\u202e\u009b31m\"")
			w.Header().Set("Location", "http://127.0.0.1:1/\u202e%1b[2J")
			w.Header().Set("Server", "\u009b31m")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>Evil\u009b31m</Code><Message>evil \u202e\u2066\u200b&#x85; click\r\u009b31m</Message><Key>\u202e</Key><RequestId>\u202e</RequestId></Error>%s", evil)
		}))
		for _, at := range []string{server.URL + "/k", "s3://bucket/k?region=x&endpoint=" + server.URL} {
			for _, form := range []string{"table", "json"} {
				c := exec.Command("kitchen", "--catalog", at, "list", "-o", form)
				c.Dir, c.Env = dir, append(os.Environ(), "HOME="+dir, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")
				out, err := c.CombinedOutput()
				if err == nil || bytes.ContainsFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
					t.Errorf("%d from %s: %v, %q", status, at, err, out)
				}
			}
		}
		server.Close()
	}
}
