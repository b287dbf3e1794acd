package publisher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/storage/storagetest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/keys"
	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
)

// force puts a role into effect past all vetting, as thieves of its keys and of the online key would.
func (w *world) force(t *testing.T, role string, edit func(*trust.Targets), by ...keys.Signer) {
	t.Helper()
	v := w.view(t)
	seal := func(doc interface{ Payload() ([]byte, error) }, by ...keys.Signer) []byte {
		payload, err := doc.Payload()
		check(t, err)
		var sigs []trust.Signature
		for _, k := range by {
			sig, err := trust.Sign(ctx, payload, k)
			check(t, err)
			sigs = append(sigs, sig)
		}
		file, err := trust.Envelope(payload, sigs)
		check(t, err)
		return file
	}
	current, err := v.Role(role)
	check(t, err)
	next := current.Clone()
	next.Version++
	next.Replaces = catalogtest.Digest(v.RawRole(role))
	edit(next)
	file := seal(next, by...)
	w.put(t, manifest.RoleObject(role, next.Version), file)
	s := v.Snapshot().Clone()
	s.Version++
	s.Roles[role] = trust.MetaOf(next.Version, file)
	snapshot := seal(s, w.online)
	w.put(t, manifest.SnapshotObject(s.Version), snapshot)
	timestamp := seal(&trust.Timestamp{Version: v.Timestamp().Version + 1, Issued: w.now, Expires: w.now.Add(7 * catalogtest.Day),
		Snapshot: trust.MetaOf(s.Version, snapshot)}, w.online)
	_, err = w.store.Swap(ctx, manifest.TimestampObject, v.TimestampETag(), timestamp, "", "")
	check(t, err)
}

// otherBytes replaces what is published as openstack@1.0.0 by the manifest of the same release with another artifact.
func (w *world) otherBytes(t *testing.T) (was, now string) {
	t.Helper()
	path, target := manifestOf(w, t, v1)
	data := bytes.Replace(w.object(t, manifest.TargetObject(path, target.SHA256)), []byte("release "+v1), []byte("release 666  "), 1)
	evil := trust.Target{Length: int64(len(data)), SHA256: catalogtest.Digest(data), Custom: target.Custom}
	w.put(t, manifest.TargetObject(path, evil.SHA256), data)
	w.force(t, productRole, lists(path, evil), signers(w.engineer, w.colleague)...)
	return target.SHA256, evil.SHA256
}

// Its own engineers, who also stole the online key, publish a release again with other bytes: nobody who saw the first
// signs on top of it, and it can still be stopped.
func TestAReleaseRepublishedWithOtherBytesByItsEngineers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	validator, certifier, committer, colleague, online := w.publisher(t, w.online), w.publisher(t, nil), w.publisher(t, w.online), w.publisher(t, w.online), w.publisher(t, w.online)
	for _, p := range []*publisher.Publisher{validator, certifier, committer, colleague, online} {
		_, err := p.Pending(ctx) // has seen the release as it was
		check(t, err)
	}
	was, now := w.otherBytes(t)
	for name, call := range map[string]func() error{
		"validate": func() error { _, err := validator.Validate(ctx, release(v1), signers(w.validator)); return err },
		"certify":  func() error { _, err := certify(certifier, v1, w.certA); return err },
		"publish the next": func() error {
			_, err := colleague.Publish(ctx, source(t, "openstack@2.0.0", nil), signers(w.colleague))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantError[*trust.Error](t, w.refused(t, call), productRole, was, now)
		})
	}
	id := w.craft(t, crafted{productRole, nil, signers(w.engineer)})
	err := w.refused(t, func() error {
		_, err := colleague.Sign(ctx, productRole, nil, signers(w.colleague))
		return err
	})
	wantError[*trust.Error](t, err, productRole, was, now)
	result := commit(t, committer)
	if len(result.Committed) != 0 || len(result.Stale) != 1 || result.Stale[0].ID != id || !strings.Contains(result.Stale[0].Stale, was) || !strings.Contains(result.Stale[0].Stale, now) {
		t.Errorf("a change on top of it: %+v", result)
	}
	mustCommit(t)(online.Recall(ctx, release(v1), "republished with other bytes", signers(w.engineer)))
}

// The same before those who never saw the first: once a later stage lists it, the two contradict each other.
func TestAReleaseRepublishedAfterItsValidation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.validated(t, v1)
	was, now := w.otherBytes(t)
	_, err := certify(w.publisher(t, w.online), v1, w.certA)
	wantError[*trust.Error](t, err, was, now)
	out, err := w.publisher(t, w.online).Validate(ctx, release(v1), signers(w.validator))
	if err == nil {
		t.Fatalf("validated anew: %+v", out)
	}
	wantError[*trust.Error](t, err, was, now)
	id := w.craft(t, crafted{readyRole, w.stageCopyAs(t, was), signers(w.certA, w.certB)})
	if result := commit(t, w.publisher(t, w.online)); len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, now) {
		t.Errorf("certified as it was: %+v", result)
	}
}

// stageCopyAs certifies openstack@1.0.0 under a digest.
func (w *world) stageCopyAs(t *testing.T, sha string) func(*trust.Targets) {
	t.Helper()
	data := w.object(t, manifest.TargetObject(manifest.TargetPath(manifest.StageCatalog, release(v1)), sha))
	path := manifest.TargetPath(manifest.StageReady, release(v1))
	w.put(t, manifest.TargetObject(path, sha), data)
	return lists(path, trust.Target{Length: int64(len(data)), SHA256: sha, Custom: map[string]string{"recalled-version": "1"}})
}

// A proposal lists a release whose artifacts were never uploaded, or not whole.
func TestAReleaseWhoseBlobIsMissing(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, file string){
		"missing": func(t *testing.T, file string) { check(t, os.Remove(file)) },
		"short":   func(t *testing.T, file string) { check(t, os.Truncate(file, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.waits(t)
			for _, key := range w.objects(t) {
				if strings.HasPrefix(key, "blobs/") {
					damage(t, filepath.Join(w.dir, filepath.FromSlash(key)))
				}
			}
			result := commit(t, w.publisher(t, w.online))
			if len(result.Committed) != 0 || len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, "not in the store whole") {
				t.Fatalf("%+v", result)
			}
			w.wantStage(t, v1, "")
		})
	}
}

// A number that an attacker who can write metadata took in advance, with what looks like the waiting change.
func TestAFileThatReadersWouldRefuseAtTheNextNumber(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(file []byte) []byte{
		"a signature twice": func(file []byte) []byte {
			var e struct {
				Signatures []json.RawMessage `json:"signatures"`
				Signed     json.RawMessage   `json:"signed"`
			}
			check(t, json.Unmarshal(file, &e))
			e.Signatures = append(e.Signatures, e.Signatures[0])
			data, err := json.Marshal(e)
			check(t, err)
			return data
		},
		"a key twice": func(file []byte) []byte {
			return bytes.Replace(file, []byte(`{"signatures"`), []byte(`{"signed":{},"signatures"`), 1)
		},
		"nothing":             func([]byte) []byte { return nil },
		"larger than allowed": func(file []byte) []byte { return append(file, bytes.Repeat([]byte(" "), 20<<20)...) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.waits(t)
			payload := w.object(t, manifest.ProposalObject(id, manifest.PayloadName(productRole)))
			sig, err := trust.Sign(ctx, payload, w.engineer)
			check(t, err)
			file, err := trust.Envelope(payload, []trust.Signature{sig})
			check(t, err)
			w.overwrite(t, manifest.RoleObject(productRole, 1), change(file))
			other := must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "ceph@1.0.0", nil), signers(w.cephEngineer))).Proposal
			result := commit(t, w.publisher(t, w.online))
			w.view(t) // whichever it did: nothing is broken
			for _, done := range result.Committed {
				if done.ID != other && done.ID != id {
					t.Errorf("committed %s", done.ID)
				}
			}
			check(t, w.published(t, "ceph@1.0.0", 1))
			w.now = w.now.Add(time.Minute)
			_, err = w.publisher(t, w.online).Publish(ctx, source(t, v1, nil), signers(w.engineer))
			check(t, err)
			check(t, w.published(t, v1, 1))
		})
	}
}

// Somebody takes the number in the moment between the vetting and the commit: that proposal has to be made again, and
// the committer, who says so, goes on with the others.
func TestANumberThatIsTakenAtTheLastMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.waits(t)
	must(t, publisher.Pending)(w.publisher(t, nil).Publish(ctx, source(t, "ceph@1.0.0", nil), signers(w.cephEngineer)))
	taken := manifest.RoleObject(productRole, 1)
	faults := storagetest.NewFaults(t, w.store)
	faults.Before = func(_ context.Context, c storagetest.Call) error {
		if c.Op == "create" && c.Key == taken && !exists(filepath.Join(w.dir, filepath.FromSlash(taken))) {
			w.put(t, taken, []byte("mine"))
		}
		return nil
	}
	result := commit(t, w.over(t, faults, w.online))
	if len(result.Committed) != 1 || len(result.Refused) != 1 || result.Refused[0].ID != id || !strings.Contains(result.Refused[0].Refused, "version 1 of "+productRole+" is used up") {
		t.Errorf("%+v", result)
	}
	check(t, w.published(t, "ceph@1.0.0", 1))
	again := w.waits(t)
	w.onlyGood(t, again)
}
