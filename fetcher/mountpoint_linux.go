package fetcher

import "golang.org/x/sys/unix"

// isMountPoint tells whether a file system is mounted on a directory, another or a part of the same: no rename replaces it.
// An older kernel (before 5.8) does not tell, and its rename fails at the end.
func isMountPoint(dir string) bool {
	var info unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, 0, &info)
	return err == nil && info.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
