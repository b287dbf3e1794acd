package storagetest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Ordinary plays the calling test again as a user whom modes keep out, and tells whether this is that user. The skip is loud.
func Ordinary(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	again := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}}
	out, err := again.CombinedOutput()
	if again.Process == nil {
		t.Skipf("LOUD: what modes keep from whom is NOT tested: the tests run as root, and no user namespace can be made: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
