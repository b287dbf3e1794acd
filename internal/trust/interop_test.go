package trust_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/enovance/kitchen/internal/trust"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// serve publishes the world as a store would.
func (w *world) serve(roots ...[]byte) *httptest.Server {
	files := map[string][]byte{"/metadata/timestamp.json": w.timestamp,
		fmt.Sprintf("/metadata/%d.snapshot.json", w.snapshotNo): w.snapshotFile}
	for i, root := range roots {
		files[fmt.Sprintf("/metadata/%d.root.json", i+1)] = root
	}
	for role, file := range w.roles {
		files[fmt.Sprintf("/metadata/%d.%s.json", w.versions[role], role)] = file
	}
	target := w.productDoc.Targets[w.manifestPath]
	files["/targets/catalog/openstack/2.1.0/"+target.SHA256+".manifest.toml"] = w.manifestBytes
	return httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		file, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write(file)
	}))
}

// TestStockClientReadsACatalog: go-tuf's own client, with its own rules, over HTTP, through a root rotation.
func TestStockClientReadsACatalog(t *testing.T) {
	w := newWorld(t)
	first := w.rootFile
	fresh := newSigner(t)
	second := w.nextRoot(func(r *trust.Root) { r.Roles["root"] = authority(2, fresh, w.root[0]) }, w.root[0], w.root[1], fresh)
	server := w.serve(first, second)
	defer server.Close()

	cfg, err := config.New(server.URL+"/metadata", first)
	check(t, err)
	cfg.RemoteTargetsURL = server.URL + "/targets"
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	client, err := updater.New(cfg)
	check(t, err)
	client.UnsafeSetRefTime(now)
	check(t, client.Refresh())
	info, err := client.GetTargetInfo(w.manifestPath)
	check(t, err)
	_, content, err := client.DownloadTarget(info, "", "")
	check(t, err)
	if !bytes.Equal(content, w.manifestBytes) {
		t.Fatalf("got %q", content)
	}
	if got := client.GetTrustedMetadataSet().Root.Signed.Version; got != 2 {
		t.Fatalf("the stock client stands at root %d", got)
	}
}

// TestSecondOpinion: go-tuf's trust core accepts what ours accepts, extras included, and what we rewrite.
func TestSecondOpinion(t *testing.T) {
	w := newWorld(t)
	w.productDoc.Replaces = trust.MetaOf(1, []byte("before")).SHA256
	w.productDoc.ProposalExpires = now.Add(14 * day)
	w.sealProduct()
	w.commit()
	check(t, w.fresh())
	second, err := trustedmetadata.New(w.rootFile)
	check(t, err)
	second.RefTime = now
	_, err = second.UpdateTimestamp(w.timestamp)
	check(t, err)
	_, err = second.UpdateSnapshot(w.snapshotFile, false)
	check(t, err)
	_, err = second.UpdateTargets(w.roles["targets"])
	check(t, err)
	_, err = second.UpdateDelegatedTargets(w.roles["product.openstack"], "product.openstack", "targets")
	check(t, err)
}
