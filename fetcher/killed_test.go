package fetcher

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// outlived leaves what a killed kitchen leaves behind whose hook lives on: a private folder that a process of the
// hook's group holds. Its result ends the hook.
func (f *follower) outlived(t *testing.T, r, name string) (group int, end func()) {
	t.Helper()
	view := f.view(t)
	turn, err := f.look(context.Background(), view, "")
	if err != nil {
		t.Fatal(err)
	}
	w, err := turn.newWorkspace()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "300")
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{w.held}, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(end)
	turn.note(&job{m: &manifest.Manifest{Product: "openstack", Version: release(t, r).Version, Kind: manifest.KindInitial}, workspace: w}, name, cmd.Process.Pid)
	w.held.Close()
	return cmd.Process.Pid, end
}

func TestNothingRunsBesideAHookThatOutlivedItsKitchen(t *testing.T) {
	t.Parallel()
	for site, main := range map[string]string{"acme/staging": HookTest, "acme/prod": HookDeploy} {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := withSteps(at(t, w, site, ""), "exit 0")
			group, end := f.outlived(t, r1, main)
			refused := func(what string, err error) {
				t.Helper()
				if running, ok := errors.AsType[*StillRunning](err); !ok || running.Group != group || running.Hook != main || running.Release.String() != r1 {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := f.Run(context.Background(), f.view(t), RunOptions{})
			refused("run", err)
			if main == HookDeploy {
				_, err = f.deploy(t, r1, DeployOptions{Again: true, Fresh: true})
				refused("deploy --again", err)
				_, err = f.Deployed(context.Background(), f.view(t), release(t, r1), manifest.Passed, "")
				refused("deployed", err)
			}
			if ran := f.line(t, "steps"); len(ran) > 0 {
				t.Fatalf("beside it ran %v", ran)
			}
			end()
			f.run(t, RunOptions{})
			if ran := f.line(t, "steps"); !slices.Equal(ran, []string{"teardown:ERROR", "setup:", main + ":", "teardown:PASSED"}) {
				t.Errorf("once it ended: %v", ran)
			}
			f.run(t, RunOptions{})
			if ran := f.line(t, "steps"); len(ran) != 4 {
				t.Errorf("later: %v", ran)
			}
			if left := names(t, f.siteDir(f.Site.ID).work()); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// What setup started in a session of its own holds the folder, too: it is teardown's to end, and not waited for.
func TestWhatSetupLeftRunningDoesNotKeepTeardownFromEndingIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := withSteps(at(t, w, "acme/staging", ""), "exit 0")
	f.outlived(t, r1, HookTest)
	runs := f.siteDir(f.Site.ID).killedRuns()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil || len(runs) != 1 {
		t.Fatalf("%v, %v", runs, err)
	}
	record := runs[0].begunRecord
	record.Group = gone.Process.Pid // the hook's own group has ended, the sleep is in another
	if err := writeRecord(filepath.Join(runs[0].dir, begunFile), record); err != nil {
		t.Fatal(err)
	}
	f.run(t, RunOptions{})
	if ran := f.line(t, "steps"); !slices.Equal(ran, []string{"teardown:ERROR", "setup:", "test:", "teardown:PASSED"}) {
		t.Errorf("ran %v", ran)
	}
}

func TestAKeyThatDoesNotOpenIsNoticedBeforeAnyHook(t *testing.T) {
	t.Parallel()
	for _, site := range []string{"acme/staging", "acme/prod"} {
		w := newWorld(t)
		ready(w, r1, catalogtest.Content{})
		f := withSteps(at(t, w, site, ""), "exit 0")
		f.Site.OpenKey = func() error { return errors.New("wrong password") }
		if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); !isA[*UnusableKey](err) {
			t.Errorf("%s: run: %v", site, err)
		}
		if site == "acme/prod" {
			if _, err := f.deploy(t, r1, DeployOptions{}); !isA[*UnusableKey](err) {
				t.Errorf("deploy: %v", err)
			}
			if _, err := f.Deployed(context.Background(), f.view(t), release(t, r1), manifest.Passed, ""); !isA[*UnusableKey](err) {
				t.Errorf("deployed: %v", err)
			}
		} else if _, err := f.Report(context.Background(), f.view(t), release(t, r1), ReportRequest{Result: manifest.Passed}); !isA[*UnusableKey](err) {
			t.Errorf("report: %v", err)
		}
		if ran, waiting := f.line(t, "steps"), names(t, f.siteDir(f.Site.ID).spool()); len(ran)+len(waiting) > 0 {
			t.Errorf("%s: ran %v, waits %v", site, ran, waiting)
		}
		f.Site.OpenKey = nil
		if result := f.run(t, RunOptions{}); len(result.Runs) != 1 || result.Negative() {
			t.Errorf("%s: with the right one: %+v", site, result)
		}
	}
}

func TestAHookWhoseProgramIsMissingIsAnErrorOfConfiguration(t *testing.T) {
	t.Parallel()
	for _, site := range []string{"acme/staging", "acme/prod"} {
		for _, name := range []string{HookSetup, HookTest, HookDeploy, HookOnError, HookTeardown} {
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := withSteps(at(t, w, site, ""), "exit 0")
			if err := os.WriteFile(filepath.Join(f.Site.Dir, "hook.sh"), []byte("#!/bin/sh\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			other := site == "acme/prod" && name == HookTest || site == "acme/staging" && name == HookDeploy
			for program, word := range map[string]string{"hook.sh": "not found", "./nowhere": "no such file", "./hook.sh": "permission denied"} {
				f.Site.Hooks[name] = []string{program}
				for _, dry := range []bool{true, false} {
					if other && !dry {
						continue
					}
					_, err := f.Run(context.Background(), f.view(t), RunOptions{DryRun: dry})
					missing, ok := errors.AsType[*MissingHook](err)
					if ok == other || ok && (missing.Name != name || !strings.Contains(err.Error(), word)) {
						t.Errorf("%s, %s %s: %v", site, name, program, err)
					}
				}
			}
			if ran, sent := f.line(t, "steps"), reports(t, w); len(ran)+len(sent) > 0 {
				t.Errorf("%s, %s: ran %v, sent %v", site, name, ran, sent)
			}
		}
	}
}
