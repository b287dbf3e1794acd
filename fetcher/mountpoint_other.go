//go:build !linux

package fetcher

import (
	"os"
	"path/filepath"
	"syscall"
)

// isMountPoint tells whether a directory is on another file system than what holds it.
func isMountPoint(dir string) bool {
	info, err := os.Lstat(dir)
	above, err2 := os.Lstat(filepath.Dir(dir))
	if err != nil || err2 != nil {
		return false
	}
	mine, ok := info.Sys().(*syscall.Stat_t)
	its, ok2 := above.Sys().(*syscall.Stat_t)
	return ok && ok2 && mine.Dev != its.Dev
}
