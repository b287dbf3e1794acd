package storagetest

import (
	"fmt"
	"os"
	"syscall"
)

const (
	memory = "/dev/shm" // a file system without a disk below it
	room   = 4 << 30    // bytes that it has to have: containers give it 64 MiB
)

// InMemory runs a package's tests (testing.M's Run) with their directories in memory, where there is room and nobody chose a
// TMPDIR. What fsync promises is internal/durable's to test, and waiting for it would be more than half of their time.
func InMemory(run func() int) int {
	var fs syscall.Statfs_t
	_, chosen := os.LookupEnv("TMPDIR")
	if chosen || syscall.Statfs(memory, &fs) != nil || int64(fs.Bavail)*int64(fs.Bsize) < room {
		return run()
	}
	dir, err := os.MkdirTemp(memory, "kitchen-test-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "the tests' directories lie on the disk, and are slower for it: %v\n", err)
		return run()
	}
	defer os.RemoveAll(dir)
	os.Setenv("TMPDIR", dir)
	return run()
}
