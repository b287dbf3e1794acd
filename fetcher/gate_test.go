package fetcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

const r1 = "openstack@1.0.0"

// TestReady changes one thing each, in a world where openstack@1.0.0 is certified.
func TestReady(t *testing.T) {
	certified := manifest.RoleReady("openstack")
	for _, c := range []struct {
		name   string
		change func(w *catalogtest.World)
		gate   func(w *catalogtest.World) Gate
		ask    ReadyOptions
		unmet  string // of the only unmet requirement, "" = ready
		detail string
	}{
		{name: "certified"},
		{name: "recalled", change: func(w *catalogtest.World) { w.Recall(r1, "CVE in the image") }, unmet: reqRecall, detail: "CVE in the image"},
		{name: "recall-dropped", change: func(w *catalogtest.World) {
			w.Edit(certified, func(t *trust.Targets) {
				for path, target := range t.Targets {
					target.Custom[catalog.CustomRecalledVersion] = "9"
					t.Targets[path] = target
				}
			})
			w.Commit()
		}, unmet: reqRecalls, detail: "saw version 9"},
		{name: "certificate-without-recalled-version", change: func(w *catalogtest.World) {
			w.Edit(certified, func(t *trust.Targets) {
				for path, target := range t.Targets {
					target.Custom = nil
					t.Targets[path] = target
				}
			})
			w.Commit()
		}, unmet: reqRecalls, detail: "does not say"},
		{name: "recalls-expired", change: func(w *catalogtest.World) {
			w.Now = w.Now.Add(80 * catalogtest.Day)
			w.Edit(certified, nil)
			w.Commit()
			w.Now = w.Now.Add(20 * catalogtest.Day)
			w.Commit()
		}, unmet: reqRecall, detail: "cannot be known"},
		{name: "certificate-expired", change: func(w *catalogtest.World) {
			w.Now = w.Now.Add(80 * catalogtest.Day)
			w.Edit(manifest.RoleRecalled("openstack"), nil)
			w.Commit()
			w.Now = w.Now.Add(20 * catalogtest.Day)
			w.Commit()
		}, unmet: "ready-to-deploy", detail: "expired"},
		{name: "certificate-below-threshold", change: func(w *catalogtest.World) {
			w.RoleKeys[certified] = w.RoleKeys[certified][:1]
			w.Edit(certified, nil)
			w.Commit()
		}, unmet: "ready-to-deploy", detail: "1 valid signature"},
		{name: "decertified", change: func(w *catalogtest.World) {
			w.Edit(certified, func(t *trust.Targets) { clear(t.Targets) })
			w.Commit()
		}, unmet: "ready-to-deploy", detail: "does not list it"},
		{name: "denied here", gate: func(*catalogtest.World) Gate { return Gate{Deny: []string{"openstack@0.9", r1}} }, unmet: reqDeny, detail: r1},
		{name: "product denied here", gate: func(*catalogtest.World) Gate { return Gate{Deny: []string{"openstack"}} }, unmet: reqDeny, detail: "openstack"},
		{name: "old knowledge, asked", change: func(w *catalogtest.World) { w.Now = w.Now.Add(3 * time.Hour) },
			ask: ReadyOptions{MaxAge: time.Hour}, unmet: reqAge, detail: "3h0m0s ago"},
		{name: "old knowledge, configured", change: func(w *catalogtest.World) { w.Now = w.Now.Add(3 * time.Hour) },
			gate: func(*catalogtest.World) Gate { return Gate{MaxAge: time.Hour} }, ask: ReadyOptions{MaxAge: 24 * time.Hour}, unmet: reqAge, detail: "allowed are 1h"},
		{name: "fresh enough", change: func(w *catalogtest.World) { w.Now = w.Now.Add(3 * time.Hour) }, ask: ReadyOptions{MaxAge: 4 * time.Hour}},
		{name: "initial over another", ask: ReadyOptions{From: "0.9"}, unmet: reqPath, detail: "initial"},
		{name: "needs a certificate of its own", gate: func(*catalogtest.World) Gate {
			return Gate{Require: []string{"product", "validated", "ready-to-deploy.acme"}}
		}, unmet: "ready-to-deploy.acme", detail: "does not exist"},
		{name: "has a certificate of its own", change: func(w *catalogtest.World) {
			w.Delegate(manifest.RoleReadyFor("openstack", "acme"), 1, catalogtest.NewKey(w.T))
			w.Promote(manifest.RoleReadyFor("openstack", "acme"), r1, map[string]string{catalog.CustomRecalledVersion: "1"})
		}, gate: func(*catalogtest.World) Gate { return Gate{Require: []string{"product", "ready-to-deploy.acme"}} }},
		{name: "pinned certifiers", gate: func(w *catalogtest.World) Gate {
			return Gate{Pins: map[string]GatePin{"ready-to-deploy": {Keys: []string{w.RoleKeys[certified][0].TUF.ID, w.RoleKeys[certified][1].TUF.ID}}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/prod", "")
			if c.gate != nil {
				f.Gate = c.gate(w)
			}
			if c.change != nil {
				c.change(w)
			}
			verdict, err := f.Ready(context.Background(), f.view(t), release(t, r1), c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if verdict.Ready != (c.unmet == "") || verdict.Issued.IsZero() {
				t.Fatalf("verdict %+v", verdict)
			}
			if c.unmet != "" && (len(verdict.Unmet) != 1 || verdict.Unmet[0].Requirement != c.unmet || !strings.Contains(verdict.Unmet[0].Detail, c.detail)) {
				t.Errorf("unmet %+v", verdict.Unmet)
			}
		})
	}
}

func TestReadyNamesEveryStageThatIsMissing(t *testing.T) {
	w := newWorld(t)
	f := at(t, w, "acme/prod", "")
	for _, step := range []struct {
		do    func()
		unmet int
	}{{func() {}, 3}, {func() { w.Publish(r1, catalogtest.Content{}) }, 2}, {func() { w.Validate(r1) }, 1}, {func() { w.Certify(r1) }, 0}} {
		step.do()
		verdict, err := f.Ready(context.Background(), f.view(t), release(t, r1), ReadyOptions{})
		if err != nil || len(verdict.Unmet) != step.unmet || verdict.Ready != (step.unmet == 0) {
			t.Errorf("want %d unmet: %+v, %v", step.unmet, verdict, err)
		}
	}
	verdict, err := f.Ready(context.Background(), f.view(t), release(t, "other@1"), ReadyOptions{})
	if err != nil || verdict.Ready || len(verdict.Unmet) < 3 {
		t.Errorf("unknown product: %+v, %v", verdict, err)
	}
}

func TestReadyMixAndMatch(t *testing.T) {
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", "")
	f.view(t)
	w.Edit(manifest.RoleReady("openstack"), func(role *trust.Targets) {
		for path, target := range role.Targets {
			target.SHA256 = catalogtest.Digest([]byte("other"))
			role.Targets[path] = target
		}
	})
	w.Commit()
	for name, host := range map[string]*follower{"a host that saw the first": f, "a new host": at(t, w, "acme/prod", "")} {
		_, err := host.Ready(context.Background(), host.view(t), release(t, r1), ReadyOptions{})
		var broken *trust.Error
		if !errors.As(err, &broken) || broken.Kind != trust.Mismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadyOfflineAndFiles(t *testing.T) {
	w := newWorld(t)
	m := ready(w, r1, sample)
	f := at(t, w, "acme/prod", "")
	dir := filepath.Join(t.TempDir(), "live")
	if _, err := f.Fetch(context.Background(), f.view(t), m.Release(), dir); err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(24 * time.Hour)
	v, err := w.Open(f.State).Offline(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Store = nil
	verdict, err := f.Ready(context.Background(), v, m.Release(), ReadyOptions{Files: dir})
	if err != nil || !verdict.Ready || verdict.Files != dir || verdict.Age != 24*time.Hour {
		t.Errorf("got %+v, %v", verdict, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "marmite.yaml"), []byte("not these"), 0o644); err != nil {
		t.Fatal(err)
	}
	var differs *FilesDiffer
	if _, err := f.Ready(context.Background(), v, m.Release(), ReadyOptions{Files: dir}); !errors.As(err, &differs) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Fetch(context.Background(), v, m.Release(), dir); !errors.Is(err, ErrOffline) {
		t.Errorf("fetch offline: %v", err)
	}
}

func TestReadyUpgradePath(t *testing.T) {
	w := newWorld(t)
	ready(w, "openstack@1.1.0", catalogtest.Content{From: []string{"1.0.0", ">=1.0.5 <1.1"}})
	f := at(t, w, "acme/prod", "")
	v := f.view(t)
	for from, want := range map[string]bool{"1.0.0": true, "1.0.7": true, "1.0.1": false, "0.9.0": false} {
		verdict, err := f.Ready(context.Background(), v, release(t, "openstack@1.1.0"), ReadyOptions{From: from})
		if err != nil || verdict.Ready != want {
			t.Errorf("from %s: %+v, %v", from, verdict, err)
		}
	}
}

func TestGateConfiguration(t *testing.T) {
	w := newWorld(t)
	f := at(t, w, "acme/prod", "")
	v := f.view(t)
	for name, gate := range map[string]Gate{
		"unknown stage":     {Require: []string{"product", "approved"}},
		"internal stage":    {Require: []string{"catalog"}},
		"recalls":           {Require: []string{"recalled"}},
		"bad customer":      {Require: []string{"ready-to-deploy.Acme/x"}},
		"pin of nothing":    {Pins: map[string]GatePin{"ready-to-deploy.acme": {Keys: []string{"a"}}}},
		"deny that is none": {Deny: []string{"openstack 1.0"}},
	} {
		f.Gate = gate
		var bad *GateError
		_, err := f.Ready(context.Background(), v, release(t, r1), ReadyOptions{})
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
		for pinned := range gate.Pins {
			if !strings.Contains(err.Error(), pinned) {
				t.Errorf("%s: %v does not name %s", name, err, pinned)
			}
		}
	}
}

// TestASuspendedCustomerDeploysNothing: neither the gate nor a fetch, a run or a deployment lets it, until the suspension
// is taken back; no more does a customer that follows other products.
func TestASuspendedCustomerDeploysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/prod", say)
	verdict := func() *Verdict {
		t.Helper()
		v, err := f.Ready(context.Background(), f.view(t), release(t, r1), ReadyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for what, change := range map[string]func(c *manifest.Customer){
		"is suspended":       func(c *manifest.Customer) { c.Suspended = true },
		"does not subscribe": func(c *manifest.Customer) { c.Subscribe = nil },
	} {
		saved := *w.Registry["acme"]
		change(w.Registry["acme"])
		w.Register()
		if v := verdict(); v.Ready || len(v.Unmet) != 1 || v.Unmet[0].Requirement != reqFollows || !strings.Contains(v.Unmet[0].Detail, what) {
			t.Errorf("%s: %+v", what, v.Unmet)
		}
		if _, err := f.Fetch(context.Background(), f.view(t), release(t, r1), filepath.Join(t.TempDir(), "x")); !isA[*NotVisible](err) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: fetch: %v", what, err)
		}
		if _, err := f.Deploy(context.Background(), f.view(t), release(t, r1), DeployOptions{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: deploy: %v", what, err)
		}
		*w.Registry["acme"] = saved
		w.Register()
	}
	if v := verdict(); !v.Ready {
		t.Errorf("afterwards: %+v", v.Unmet)
	}
}
