package transfer

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// nextData is the first offset at or after off that is in no hole, as far as the file system tells.
func nextData(f *os.File, off int64) int64 {
	const seekData = 3 // lseek(2)
	at, err := f.Seek(off, seekData)
	switch {
	case err == nil:
		return max(at, off)
	case errors.Is(err, syscall.ENXIO): // only a hole follows
		return math.MaxInt64
	}
	return off
}

// punch makes a hole.
func punch(f *os.File, off, n int64) error {
	const keepSize, punchHole = 1, 2 // fallocate(2)
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err2 := conn.Control(func(fd uintptr) {
		for err = syscall.EINTR; err == syscall.EINTR; {
			err = syscall.Fallocate(int(fd), keepSize|punchHole, off, n)
		}
	})
	return errors.Join(err, err2)
}

// startWriting lets the disk begin with what a file has been given, and does not wait for it.
func startWriting(f *os.File) {
	const write = 2 // sync_file_range(2)
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), 0, 0, write) })
	}
}
