package fetcher

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/enovance/kitchen/manifest"
)

// effect is what withdrawing a release does, as README.md has it. "kept" is a host that had fetched it before.
type effect struct {
	stage, act       string
	list             string // stage, and what is remarked
	fetch, fetchKept bool
	ready, readyKept bool
	tests            bool // a CI that has not tested it takes it up
	deploys          bool // a production site with auto, on which nothing is deployed
}

var effects = []effect{
	{stage: "published", act: "nothing", list: "published", tests: true},
	{stage: "published", act: "yank", list: "published, yanked"},
	{stage: "published", act: "recall", list: "published, recalled"},

	{stage: "validated", act: "nothing", list: "validated", fetch: true, fetchKept: true, tests: true},
	{stage: "validated", act: "yank", list: "validated, yanked", fetchKept: true},
	{stage: "validated", act: "recall", list: "validated, recalled"},
	{stage: "validated", act: "lift", list: "ready-to-deploy, lifted", fetch: true, fetchKept: true, ready: true, readyKept: true, tests: true, deploys: true},

	{stage: "ready", act: "nothing", list: "ready-to-deploy", fetch: true, fetchKept: true, ready: true, readyKept: true, tests: true, deploys: true},
	{stage: "ready", act: "yank", list: "ready-to-deploy, yanked", fetchKept: true, readyKept: true},
	{stage: "ready", act: "decertify", list: "validated", fetch: true, fetchKept: true, tests: true},
	{stage: "ready", act: "recall", list: "ready-to-deploy, recalled"},
	{stage: "ready", act: "lift", list: "ready-to-deploy, lifted", fetch: true, fetchKept: true, ready: true, readyKept: true, tests: true, deploys: true},
	{stage: "ready", act: "recall again", list: "ready-to-deploy, recalled"},
	{stage: "ready", act: "yank and lift", list: "ready-to-deploy, yanked, lifted", fetchKept: true, readyKept: true},
}

func withdraw(w *catalogtest.World, act string) {
	switch act {
	case "yank":
		w.Yank(r1, "slow")
	case "decertify":
		w.Edit(readyRole, func(t *trust.Targets) { clear(t.Targets) })
		w.Commit()
	case "recall":
		recall(w, "2")
	case "lift":
		recall(w, "2")
		lift(w, readyRole, "2", "2")
	case "recall again":
		withdraw(w, "lift")
		recall(w, "3")
	case "yank and lift":
		withdraw(w, "yank")
		withdraw(w, "lift")
	}
}

func TestWhatWithdrawingDoes(t *testing.T) {
	for _, want := range effects {
		t.Run(want.stage+"-"+want.act, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.Publish(r1, catalogtest.Content{})
			ci, kept, fresh := at(t, w, "acme/staging", "true"), at(t, w, "", ""), at(t, w, "acme/prod", "true")
			if want.stage == "published" {
				ci = at(t, w, "enovance/ci", "true")
				ci.Site.Follow = FollowPublished
			} else {
				w.Validate(r1)
				if _, err := kept.Fetch(context.Background(), kept.view(t), m.Release(), filepath.Join(t.TempDir(), "kept")); err != nil {
					t.Fatal(err)
				}
			}
			if want.stage == "ready" {
				w.Certify(r1)
			}
			withdraw(w, want.act)
			got := effect{stage: want.stage, act: want.act, list: listed(t, w), fetch: fresh.fetches(t), fetchKept: kept.fetches(t)}
			got.ready, got.readyKept = at(t, w, "", "").ready(t).Ready, kept.ready(t).Ready
			got.tests = len(ci.run(t, RunOptions{}).Runs) == 1
			got.deploys = len(at(t, w, "acme/prod", "true").run(t, RunOptions{}).Runs) == 1
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func listed(t *testing.T, w *catalogtest.World) string {
	t.Helper()
	info, err := w.View().Release(release(t, r1))
	if err != nil {
		t.Fatal(err)
	}
	words := info.Stage
	if info.Recalled != nil {
		words += ", recalled"
	}
	if info.Yanked != "" {
		words += ", yanked"
	}
	if info.Lifted != nil {
		words += ", lifted"
	}
	return words
}

func (f *follower) fetches(t *testing.T) bool {
	t.Helper()
	r, err := manifest.ParseRelease(r1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Fetch(context.Background(), f.view(t), r, filepath.Join(t.TempDir(), "got"))
	var hidden *NotVisible
	if err != nil && (!errors.As(err, &hidden) || hidden.Hint() == "") {
		t.Fatal(err)
	}
	return err == nil
}
