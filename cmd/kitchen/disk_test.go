//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// insideVariable is set in the second process of a test that made itself a namespace to mount in.
const insideVariable = "KITCHEN_TEST_MAY_MOUNT"

// TestFullDisk fills a real, small file system under one thing after the other that kitchen writes: it fails in words,
// shows nothing half, and completes once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("kitchen-test", disk, "tmpfs", 0, "size=2m"); err != nil {
		inNamespace(t, err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, full := range []struct {
		name string
		test func(*testing.T, *smallDisk)
	}{
		{"fetch", fetchOntoFullDisk}, {"fetch-large", fetchLargeOntoFullDisk}, {"state", refreshOntoFullDisk}, {"catalog", publishOntoFullDisk},
		{"hook", hookFillsItsDisk}, {"spool", reportOntoFullDisk}, {"deployment", deployOntoFullDisk},
	} {
		t.Run(full.name, func(t *testing.T) {
			d := &smallDisk{dir: filepath.Join(disk, full.name), filler: filepath.Join(disk, "filler")}
			defer d.clear(t)
			if err := os.Mkdir(d.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			full.test(t, d)
		})
	}
}

// TestFetchIntoAMountPoint: whose name no release can take. It is said before anything is downloaded, and a directory below is
// as good.
func TestFetchIntoAMountPoint(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("kitchen-test", disk, "tmpfs", 0, "size=2m"); err != nil {
		inNamespace(t, err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := chapter(t, "ready")
	if err := os.Rename(s.path("bucket/blobs"), s.path("blobs")); err != nil { // asking for one is an error of its own
		t.Fatal(err)
	}
	e := s.start(t, "--config ./laptop.toml fetch openstack@1.0.0 --into "+disk)
	e.want(t, exitFailed, "error: "+disk+" exists and is not openstack@1.0.0 (a mount point, ", "nothing was changed", "--into, such as "+disk+"/openstack-1.0.0")
	if err := os.Rename(s.path("blobs"), s.path("bucket/blobs")); err != nil {
		t.Fatal(err)
	}
	s.start(t, "--config ./laptop.toml fetch openstack@1.0.0 --into "+disk+"/openstack-1.0.0").want(t, exitDone)
}

// inNamespace plays the calling test again in a user namespace, in which anybody may mount. The skip is loud: without
// a small disk nothing here is tested.
func inNamespace(t *testing.T, cause error) {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		t.Skipf("small disks and mount points are NOT tested: not even in a namespace of its own may this process mount a tmpfs: %v", cause)
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), insideVariable+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := again.CombinedOutput()
	switch {
	case again.Process == nil:
		t.Skipf("small disks and mount points are NOT tested: a tmpfs cannot be mounted (%v), and a user namespace cannot be made (%v)", cause, err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	}
}

// smallDisk is a directory on a file system of two mebibytes, and a file that fills it.
type smallDisk struct{ dir, filler string }

// fill leaves so many bytes free, or somewhat less.
func (d *smallDisk) fill(t *testing.T, room int64) {
	t.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 4096))
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Truncate(max(0, size-room)); err != nil {
		t.Fatal(err)
	}
}

func (d *smallDisk) makeRoom(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler); err != nil {
		t.Fatal(err)
	}
}

// clear empties the disk for the test that comes next.
func (d *smallDisk) clear(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(d.dir), os.RemoveAll(d.filler)); err != nil {
		t.Error(err)
	}
}

func fetchOntoFullDisk(t *testing.T, d *smallDisk) {
	s := chapter(t, "ready")
	line := "--config ./laptop.toml fetch openstack@1.0.0 --into " + d.dir + "/got"
	d.fill(t, 100_000)
	s.start(t, line).want(t, exitFailed, "error: no space for openstack@1.0.0 below "+d.dir, "it needs 302068 bytes", "nothing was left behind", "hint: free space on that disk")
	if left := entries(t, scene{dir: d.dir}, "*"); len(left)+len(entries(t, scene{dir: d.dir}, ".*")) > 0 {
		t.Fatalf("left behind: %v", left)
	}
	d.makeRoom(t)
	s.start(t, line).want(t, exitDone)
	s.ask("--config ./laptop.toml ready openstack@1.0.0 --files "+d.dir+"/got").want(t, exitDone, "holds exactly its files")
}

// What was put together of an image in chunks goes, too: it is what fills the disk.
func fetchLargeOntoFullDisk(t *testing.T, d *smallDisk) {
	s := withLargeRelease(t)
	for _, into := range []string{"/got", "/new/got"} {
		s.start(t, "--config ./laptop.toml fetch openstack@9.0.0 --into "+d.dir+into).want(t, exitFailed, "error: no space for openstack@9.0.0 below "+d.dir, "nothing was left behind")
		if left := entries(t, scene{dir: d.dir}, "*"); len(left)+len(entries(t, scene{dir: d.dir}, ".*")) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func refreshOntoFullDisk(t *testing.T, d *smallDisk) {
	s := chapter(t, "ready")
	line := "--config ./laptop.toml --state " + d.dir + "/state refresh"
	for room := int64(0); room <= 24_000; room += 8_000 {
		d.fill(t, room)
		s.start(t, line).want(t, exitFailed, "state directory", d.dir+"/state", "no space left on device")
		if e := s.ask("--config ./laptop.toml --state " + d.dir + "/state ready openstack@1.0.0 --offline"); e.code != exitNotTrusted && e.code != exitNo {
			t.Fatal(e)
		}
		d.makeRoom(t)
	}
	s.start(t, line).want(t, exitDone)
	s.ask("--config ./laptop.toml --state "+d.dir+"/state ready openstack@1.0.0 --offline").want(t, exitDone)
	if left := entries(t, scene{dir: d.dir}, "state/_tmp-*"); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
}

func publishOntoFullDisk(t *testing.T, d *smallDisk) {
	s := chapter(t, "empty")
	if err := os.CopyFS(d.dir, os.DirFS(s.path("bucket"))); err != nil {
		t.Fatal(err)
	}
	s.at = "file://" + d.dir
	const line = "--config ./eng.toml publish ./r1"
	before := s.sees(t, "state-before")
	for _, room := range []int64{0, 100_000, 310_000, 325_000} {
		d.fill(t, room)
		e := s.start(t, line)
		if e.code != exitDone {
			e.want(t, exitFailed, "file://"+d.dir, "the disk is full")
			if sees := s.sees(t, fmt.Sprint("state-full-", room)); sees != before {
				t.Fatalf("with %d bytes of room readers see\n%s", room, sees)
			}
		} else if room < 300_000 {
			t.Fatalf("it had no room: %v", e)
		}
		d.makeRoom(t)
	}
	s.start(t, line).want(t, exitDone)
	if sees := s.sees(t, "state-after"); sees == before {
		t.Fatalf("readers see\n%s", sees)
	}
}

// The test hook fills the disk with what is its own: that goes first, so that the error can be reported, and the next
// release is tested.
func hookFillsItsDisk(t *testing.T, d *smallDisk) {
	for _, place := range []string{"WORK", "RESULTS"} {
		s := chapter(t, "published")
		s.ask("--config ./eng.toml publish ./r2").want(t, exitDone)
		mustWrite(t, s, "test.sh", "echo tested >> tested.txt\ntest $KITCHEN_VERSION = 2.0.0 || cat /dev/urandom > $KITCHEN_"+place+"/filled\n")
		e := s.start(t, "--config ./ci.toml --state "+d.dir+"/state-"+place+" run")
		e.want(t, exitNo, "openstack@1.0.0: ERROR", "this host's disk is full: ", "no space left on device", "openstack@2.0.0: PASSED")
		if place == "RESULTS" {
			e.want(t, exitNo, "not attached: ")
		}
		reported(2, "tested.txt", 2)(t, s)
		if err := os.RemoveAll(d.dir + "/state-" + place); err != nil {
			t.Fatal(err)
		}
	}
}

// The test hook itself fills the disk, so that its result cannot be kept: the test is made again.
func reportOntoFullDisk(t *testing.T, d *smallDisk) {
	s := chapter(t, "published")
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\ntest -e "+d.dir+"/filled || cat /dev/zero > "+d.dir+"/filled 2>&-\nexit 0\n")
	line := "--config ./ci.toml --state " + d.dir + "/state run"
	s.start(t, line).want(t, exitFailed, d.dir+"/state", "no space left on device")
	if all := s.reports(t); len(all) != 0 {
		t.Fatalf("reports: %+v", all)
	}
	if err := os.Truncate(d.dir+"/filled", 0); err != nil {
		t.Fatal(err)
	}
	s.start(t, line).want(t, exitDone, "openstack@1.0.0: PASSED")
	reported(1, "tested.txt", 2)(t, s)
}

// The deploy hook fills the disk: how it ended cannot be kept, and so it is a person's to say.
func deployOntoFullDisk(t *testing.T, d *smallDisk) {
	s := chapter(t, "ready")
	mustWrite(t, s, "deploy.sh", "echo deployed >> deployed.txt\ncat /dev/zero > "+d.dir+"/filled 2>&-\nexit 0\n")
	line := "--config ./prod.toml --state " + d.dir + "/state "
	s.start(t, line+"run").want(t, exitFailed, d.dir+"/state", "no space left on device")
	if err := os.Truncate(d.dir+"/filled", 0); err != nil {
		t.Fatal(err)
	}
	s.start(t, line+"run").want(t, exitNo, "how it ended is not known")
	s.start(t, line+"deployed openstack@1.0.0 --result PASSED").want(t, exitDone)
	s.start(t, line+"run").want(t, exitDone)
	reported(3, "deployed.txt", 1)(t, s)
}
