package catalog_test

import (
	"fmt"
	"os"
	"testing"
)

// TestMain keeps the tests' directories in memory where there is such a file system: what fsync promises is
// internal/durable's to test, and it is most of what these tests would wait for.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("/dev/shm", "catalog-test-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "the tests' directories lie on the disk, and are slower for it: %v\n", err)
		os.Exit(m.Run())
	}
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
