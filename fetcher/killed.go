package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/enovance/kitchen/internal/durable"
	"github.com/enovance/kitchen/internal/hook"
	"github.com/enovance/kitchen/manifest"
)

// begunFile is in a private folder from before its first hook starts until its teardown has ended. Where it is found
// later, kitchen was killed in between, or the host lost its power.
const begunFile = "begun"

// begunRecord tells whose folder it is, and which hook was started last.
type begunRecord struct {
	Release manifest.Release `json:"release"`
	Kind    string           `json:"kind"`
	From    string           `json:"from,omitempty"`
	Hook    string           `json:"hook"`
	Group   int              `json:"group"` // process group of the hook; 0 = it may have been started
}

// note keeps which hook of a job is under way. A disk that is full is no reason not to put away what was begun.
func (t *turn) note(j *job, name string, group int) {
	err := writeRecord(filepath.Join(j.dir, begunFile),
		begunRecord{Release: j.m.Release(), Kind: j.m.Kind, From: j.from, Hook: name, Group: group})
	if err = errors.Join(err, durable.SyncDir(filepath.Dir(j.dir))); err != nil {
		t.f.sink().Note(fmt.Sprintf("the %s hook on %s could not be noted: %v", name, j.m.Release(), err))
	}
}

// killedRun is what a kitchen that was killed left of a run.
type killedRun struct {
	dir string
	begunRecord
}

// killedRuns lists them. It is asked under the site's lock: what is begun is no living kitchen's.
func (d siteDir) killedRuns() []killedRun {
	entries, err := os.ReadDir(d.work())
	if err != nil {
		return nil
	}
	var list []killedRun
	for _, e := range entries {
		run := killedRun{dir: filepath.Join(d.work(), e.Name())}
		if strings.HasPrefix(e.Name(), workPrefix) && readRecord(filepath.Join(run.dir, begunFile), &run.begunRecord) == nil {
			list = append(list, run)
		}
	}
	return list
}

// begun tells whether hooks were started in a private folder, and teardown did not end.
func begun(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, begunFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// runs tells whether the hook outlived its kitchen: the folder is held, by members of the hook's process group. What
// has left the group, such as a machine that setup started, is teardown's to put away.
func (r killedRun) runs() bool {
	lock := lockOf(r.dir)
	defer lock.Close()
	free, err := lock.TryLock()
	return err == nil && !free && (r.Group == 0 || hook.GroupLives(r.Group))
}

// A hook that is about to end when it is asked about is waited for.
const (
	lastBreath = 2 * time.Second
	breathStep = 50 * time.Millisecond
)

// noneRuns is *StillRunning while a hook of a killed kitchen does: nothing is started, or recorded, beside it.
func (t *turn) noneRuns(ctx context.Context) error {
	for _, run := range t.dir.killedRuns() {
		for waited := time.Duration(0); run.runs(); waited += breathStep {
			if waited >= lastBreath || ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), &StillRunning{Site: t.id, Release: run.Release, Hook: run.Hook, Group: run.Group})
			}
			time.Sleep(breathStep)
		}
	}
	return nil
}

// putAway runs the teardown of runs whose kitchen was killed, once no hook of theirs runs any more.
func (t *turn) putAway(ctx context.Context) error {
	if t.dry() {
		return nil
	}
	if err := t.noneRuns(ctx); err != nil {
		return err
	}
	for _, run := range t.dir.killedRuns() {
		if err := t.tearDown(ctx, run); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) tearDown(ctx context.Context, run killedRun) error {
	t.f.sink().Note(fmt.Sprintf("the run of the %s hook on %s was killed before its end", run.Hook, run.Release))
	dir, err := filepath.Abs(run.dir)
	if err != nil {
		return err
	}
	held, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer held.Close()
	_ = syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // taken where a service holds it still
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		return err
	}
	log, err := newHookLog(filepath.Join(dir, "log"), t.f.Content.maxLog()/2, t.f.Content.Redact)
	if err != nil {
		return err
	}
	defer log.Close()
	j := &job{watch: t.f.stderr(), from: run.From, workspace: &workspace{dir: dir, held: held},
		m: &manifest.Manifest{Product: run.Release.Product, Version: run.Release.Version, Kind: run.Kind}}
	o := &outcome{verdict: manifest.Errored, log: log}
	r, there := t.step(context.WithoutCancel(ctx), j, o, HookTeardown)
	if there && r.Detail != "" {
		t.f.sink().Note(fmt.Sprintf("its teardown hook: %s", r.Detail))
	}
	return os.Remove(filepath.Join(dir, begunFile))
}
