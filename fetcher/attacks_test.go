package fetcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// TestAnOlderDeployRecordDeploysNothingTwice: a state directory out of a backup does not know of the deployment, but
// the site's own report does.
func TestAnOlderDeployRecordDeploysNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	if _, err := f.deploy(t, r1, DeployOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := f.siteDir(f.Site.ID)
	if err := dir.keepDeploy(newDeployRecord("openstack")); err != nil {
		t.Fatal(err)
	}
	result, err := f.Run(context.Background(), f.view(t), RunOptions{})
	if err != nil || len(result.Runs) != 0 || !result.Negative() {
		t.Errorf("run: %+v, %v", result, err)
	}
	var unknown *Undetermined
	if _, err := f.deploy(t, r1, DeployOptions{}); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "it is older") {
		t.Errorf("deploy: %v", err)
	}
	f.assertRan(t, "1.0.0<")
	f.deployed(t, r1, manifest.Passed)
	if e, err := f.deploy(t, r1, DeployOptions{}); err != nil || !e.Earlier {
		t.Errorf("after a person's word: %+v, %v", e, err)
	}
}

func TestForgedDeployRecordsAreDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	for name, body := range map[string]map[string]any{
		"of another product":  {"product": "other"},
		"of a path":           {"product": "../../x"},
		"with an empty entry": {"product": "openstack", "attempts": map[string]any{"1.0.0": nil}},
		"without its current": {"product": "openstack", "current": "1.0.0"},
		"without its last":    {"product": "openstack", "last": "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := at(t, w, "acme/prod", deployed)
			if err := writeRecord(f.siteDir(f.Site.ID).deployPath("openstack"), body); err != nil {
				t.Fatal(err)
			}
			var unknown *Undetermined
			if _, err := f.deploy(t, r1, DeployOptions{}); !errors.As(err, &unknown) {
				t.Errorf("got %v", err)
			}
			f.assertRan(t)
		})
	}
}

// TestFetchKeepsWhatAppearsUnderItsName: what somebody puts under the final name while a fetch is under way stays.
func TestFetchKeepsWhatAppearsUnderItsName(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"a file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"a link":      func(path string) error { return os.Symlink("elsewhere", path) },
		"a directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "precious"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			target := filepath.Join(parent, "target")
			s, err := newStaging(target, target, "digest")
			if err != nil {
				t.Fatal(err)
			}
			if err := put(target); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(target)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.publish(true); !errors.Is(err, errTaken) {
				t.Errorf("got %v", err)
			}
			s.discard()
			if after, err := os.Lstat(target); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone: %v", err)
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// TestTheFilesOfALivingHookStay: kitchen was killed, its hook lives on, and another run comes and goes.
func TestTheFilesOfALivingHookStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/staging", "true")
	first, err := f.begin(context.Background(), f.view(t), manifest.SiteCI)
	if err != nil {
		t.Fatal(err)
	}
	living, err := first.newWorkspace()
	if err != nil {
		t.Fatal(err)
	}
	first.lock.Close() // as the system does when kitchen is killed; the hook has its own copy of living.held
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living.dir); err != nil {
		t.Errorf("taken away under the hook: %v", err)
	}
	living.held.Close()
	if _, err := f.Run(context.Background(), f.view(t), RunOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays after the hook: %v", err)
	}
}

// TestAnOlderReleaseIsNoLongerDeployed: what was replaced since is not "deployed before; nothing to do".
func TestAnOlderReleaseIsNoLongerDeployed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	f := at(t, w, "acme/prod", deployed)
	for _, r := range []string{r1, r2} {
		if _, err := f.deploy(t, r, DeployOptions{}); err != nil {
			t.Fatal(err)
		}
		w.Now = w.Now.Add(time.Minute)
	}
	var no *Attempted
	if e, err := f.deploy(t, r1, DeployOptions{}); !errors.As(err, &no) {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := f.deploy(t, r1, DeployOptions{Again: true}); !isA[*NotReady](err) {
		t.Errorf("again, against its path: %+v, %v", e, err)
	}
}

// TestAPlantedStagingDirectoryIsNotTakenOver: who may write beside the target, but not into what we make there, prepares
// a directory that looks like what an interrupted fetch left; in it, he could exchange what is verified before it gets
// its name.
func TestAPlantedStagingDirectoryIsNotTakenOver(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(dir string) error{
		"writable for others": func(dir string) error { return os.Chmod(dir, 0o777) },
		"of somebody else": func(dir string) error {
			if os.Geteuid() != 0 {
				t.Log("a directory of SOMEBODY ELSE is not tested: only root can make one")
				return os.Chmod(dir, 0o770)
			}
			return os.Chown(dir, 65534, 65534)
		},
		"a link to one": func(dir string) error {
			if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
				return err
			}
			return os.Symlink(dir+"-elsewhere", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "live")
			left, err := newStaging(target, target, "digest")
			if err != nil {
				t.Fatal(err)
			}
			planted := left.dir
			left.dir, left.made = "", nil
			left.release()
			if err := plant(planted); err != nil {
				t.Fatal(err)
			}
			s, err := newStaging(target, target, "digest")
			if err != nil {
				t.Fatal(err)
			}
			defer s.discard()
			if info, err := os.Lstat(s.dir); err != nil || s.dir == planted || info.Mode() != fs.ModeDir|0o700 {
				t.Errorf("%s was taken over: %v, %v", s.dir, info, err)
			}
		})
	}
}

// TestAnIndexThatDisagreesWithTheDigestPassesNoCI: a release engineer's index leads to other bytes than the raw digest
// beside it. Whoever fetches gets what the index says; no CI tests that as the release.
func TestAnIndexThatDisagreesWithTheDigestPassesNoCI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.Manifest(release(t, "openstack@1.0.0"), catalogtest.Content{Files: map[string]string{"images/disk.img": disk(0)}})
	m.Artifacts[0].SHA256 = catalogtest.Digest([]byte("another disk"))
	publishManifest(t, w, m)
	f := at(t, w, "acme/staging", say)
	_, err := f.Run(t.Context(), f.view(t), RunOptions{})
	var wrong *Mismatch
	if !errors.As(err, &wrong) || wrong.What != "sha256" || wrong.Path != "images/disk.img" {
		t.Errorf("got %v", err)
	}
	f.assertRan(t)
	if sent := reports(t, w); len(sent) > 0 {
		t.Errorf("reports: %v", sent)
	}
	if left := names(t, filepath.Join(string(f.siteDir(f.Site.ID)), "incoming")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
