package publisher_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/storage"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// airgap is a machine without a network that knows the root's fingerprint, what is in its state directory, and a file.
func (w *world) airgap(t *testing.T, f *publisher.SigningFile, state string) *publisher.Publisher {
	t.Helper()
	c, err := catalog.Open(ctx, catalog.Options{Store: f, Dir: state, RootFingerprint: w.fingerprint, Now: w.clock})
	check(t, err)
	return &publisher.Publisher{Catalog: c, Store: f, Now: w.clock, Scratch: t.TempDir()}
}

// export carries what waits for a role on a stick.
func (w *world) export(t *testing.T, role string) *publisher.SigningFile {
	t.Helper()
	f, _, err := w.publisher(t, nil).Export(ctx, role)
	check(t, err)
	return carried(t, f)
}

// carried is the file as the next one reads it.
func carried(t *testing.T, f *publisher.SigningFile) *publisher.SigningFile {
	t.Helper()
	data, err := f.Encode()
	check(t, err)
	again, err := publisher.ParseSigningFile(data)
	check(t, err)
	return again
}

// signFile signs on a machine that never saw the catalog.
func (w *world) signFile(t *testing.T, f *publisher.SigningFile, by ...key) *publisher.SigningFile {
	t.Helper()
	must(t, publisher.Pending)(w.airgap(t, f, t.TempDir()).SignFile(ctx, f, nil, signers(by...)))
	return carried(t, f)
}

func TestACertificateIsSignedByFileOnItsEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	must(t, publisher.Pending)(certify(w.publisher(t, nil), v1, w.certA))
	online, err := w.publisher(t, nil).Pending(ctx)
	check(t, err)

	file := w.export(t, readyRole)
	var seen []publisher.PendingProposal
	out := must(t, publisher.Pending)(w.airgap(t, file, t.TempDir()).SignFile(ctx, file, func(shown publisher.PendingProposal) (bool, error) {
		seen = append(seen, shown)
		return true, nil
	}, signers(w.certB)))
	if len(seen) != 1 || !slices.Equal(seen[0].Change, online[0].Change) || !strings.Contains(strings.Join(seen[0].Change, "\n"), "enovance/ci reported PASSED") {
		t.Errorf("without a network the signer saw %+v, and with one %q", seen, online[0].Change)
	}
	if !out.Roles[0].Complete() {
		t.Errorf("%+v", out.Roles)
	}
	w.wantStage(t, v1, "validated")
	file = carried(t, file)
	must(t, publisher.Pending)(w.publisher(t, nil).TakeSignatures(ctx, file))
	mustCommit(t)(w.publisher(t, w.online).TakeSignatures(ctx, file))
	w.wantStage(t, v1, "ready-to-deploy")
}

// Whatever waits can be checked by the file alone: the signer who signed it before finds nothing that is refused.
func TestChangesOfEveryRoleGoByFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	p := func() *publisher.Publisher { return w.publisher(t, nil) }
	for role, change := range map[string]struct {
		by   key
		make func() (*publisher.Outcome, error)
	}{
		"targets": {w.root[0], func() (*publisher.Outcome, error) {
			return p().AddProduct(ctx, publisher.ProductRequest{Name: "nova", Engineers: publics(w.stranger), Validators: publics(w.validator),
				Certifiers: publics(w.certA, w.certB)}, signers(w.root[0]))
		}},
		"registry": {w.admin, func() (*publisher.Outcome, error) {
			return p().AddCustomer(ctx, publisher.CustomerRequest{Name: "globex", Subscribe: []string{"openstack"}}, signers(w.admin))
		}},
		productRole: {w.engineer, func() (*publisher.Outcome, error) {
			return p().Publish(ctx, source(t, "openstack@2.0.0", nil), signers(w.engineer))
		}},
		"validated.ceph": {w.validator, func() (*publisher.Outcome, error) {
			w.publish(t, "ceph@1.0.0")
			return p().Validate(ctx, release("ceph@1.0.0"), signers(w.validator))
		}},
		readyRole: {w.certA, func() (*publisher.Outcome, error) { return certify(p(), v1, w.certA) }},
		recalledRole: {w.colleague, func() (*publisher.Outcome, error) {
			return p().Recall(ctx, release(v1), "it burns", signers(w.colleague))
		}},
	} {
		t.Run(role, func(t *testing.T) {
			must(t, publisher.Pending)(change.make())
			file := w.export(t, role)
			for key := range file.Objects {
				if kind, err := manifest.KindOf(key); err != nil || kind.Name == "blob" || kind.Name == "report" && role != readyRole {
					t.Errorf("the file carries %s (%v)", key, err)
				}
			}
			w.signFile(t, file, change.by)
		})
	}
}

// Several signers in a row, each on a machine of their own; one file after the other, or each with a copy.
func TestSignersPassAFileOn(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"in a row", "side by side"} {
		t.Run(way, func(t *testing.T) {
			w := newWorld(t)
			req := publisher.ProductRequest{Name: "nova", Engineers: publics(w.stranger), Validators: publics(w.validator), Certifiers: publics(w.certA, w.certB)}
			must(t, publisher.Pending)(w.publisher(t, nil).AddProduct(ctx, req, signers(w.root[0])))
			first := w.export(t, "targets")
			second := carried(t, first)
			first = w.signFile(t, first, w.root[1])
			if way == "in a row" {
				second = carried(t, first)
			}
			second = w.signFile(t, second, w.root[2])
			must(t, publisher.Pending)(w.publisher(t, nil).TakeSignatures(ctx, first))
			must(t, publisher.Pending)(w.publisher(t, nil).TakeSignatures(ctx, second))
			shown, err := w.publisher(t, nil).Pending(ctx)
			check(t, err)
			if len(shown) != 1 || shown[0].Roles[0].Have != 3 {
				t.Errorf("%+v", shown)
			}
		})
	}
}

// A host that pinned the first root follows the whole chain in the file, and a host that pinned a later one its end.
func TestExportSaysWhenNothingWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.publisher(t, nil).Export(ctx, readyRole)
	wantError[*publisher.NothingToSign](t, err, readyRole)
	_, _, err = w.publisher(t, nil).Export(ctx, "ready-to-deploy.nova")
	wantError[*catalog.UnknownProduct](t, err)
	w.craft(t, crafted{role: readyRole, edit: lists("ready-to-deploy/openstack/9.9.9/manifest.toml", trust.Target{Length: 1, SHA256: strings.Repeat("a", 64)}), signers: signers(w.certA)})
	_, _, err = w.publisher(t, nil).Export(ctx, readyRole)
	wantError[*publisher.Refused](t, err, "not published")
}

// A file is a store like any other to those who read it, and to those who write no more than a create-only one.
func TestASigningFileIsAStore(t *testing.T) {
	t.Parallel()
	f, err := publisher.ParseSigningFile([]byte(emptyFile))
	check(t, err)
	w := &world{store: f}
	w.put(t, "metadata/1.root.json", []byte("one"))
	w.put(t, "metadata/1.root.json", []byte("one"))
	err = f.Create(ctx, "metadata/1.root.json", strings.NewReader("two"), 3, "", "")
	wantIs(t, err, storage.ErrExists)
	_, _, err = f.Open(ctx, "metadata/2.root.json", 0, -1)
	wantIs(t, err, storage.ErrNotFound)
	_, err = f.Stat(ctx, "metadata/2.root.json")
	wantIs(t, err, storage.ErrNotFound)
	_, err = f.Swap(ctx, manifest.TimestampObject, "", []byte("x"), "", "")
	wantIs(t, err, storage.ErrUnsupported)
	wantIs(t, f.Delete(ctx, "metadata/1.root.json"), storage.ErrUnsupported)
	w.put(t, "metadata/2.root.json", []byte("two"))
	if got := w.objects(t); !slices.Equal(got, []string{"metadata/1.root.json", "metadata/2.root.json"}) {
		t.Errorf("%q", got)
	}
	data, info, err := storage.ReadAll(ctx, f, "metadata/2.root.json", 10)
	if err != nil || string(data) != "two" || info.Size != 3 {
		t.Errorf("%q %+v %v", data, info, err)
	}
}

const emptyFile = `{
  "catalog": "",
  "objects": {},
  "role": "targets",
  "schema": "kitchen.signing/v1",
  "sizes": {}
}
`

func FuzzParseSigningFile(f *testing.F) {
	f.Add([]byte(emptyFile))
	f.Add([]byte(strings.Replace(emptyFile, `"objects": {}`, "\"objects\": {\n    \"metadata/1.root.json\": \"b25l\"\n  }", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := publisher.ParseSigningFile(data)
		if err != nil {
			if file != nil {
				t.Error("an error, and a file")
			}
			return
		}
		again, err := file.Encode()
		if err != nil || string(again) != string(data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}
