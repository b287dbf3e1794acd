package fetcher

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const gib = 1 << 30

// hostMemory is the memory that this process may use, in GiB: that of the machine, or what its control group allows.
// Of a machine's memory the kernel keeps some, so that one of 16 GiB tells a little less: it is rounded up.
func hostMemory() int {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var memory int64
	for line := range bytes.Lines(data) {
		if fields := strings.Fields(string(line)); len(fields) == 3 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			memory = (kib<<10 + gib - 1) / gib
		}
	}
	if limit := groupMemory(); limit > 0 {
		memory = min(memory, limit)
	}
	return int(memory)
}

// groupMemory is the least limit of the process's control groups (version 2), in whole GiB; 0 for none.
func groupMemory() int64 {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	_, group, ok := strings.Cut(strings.TrimSpace(string(data)), "0::")
	if !ok {
		return 0
	}
	var least int64
	for group = filepath.Clean("/" + group); ; group = filepath.Dir(group) {
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", group, "memory.max"))
		if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && (least == 0 || n < least) {
			least = n
		}
		if group == "/" {
			return least / gib
		}
	}
}

// freeDisk is what this user may still write to the file system of a directory, in whole GiB.
func freeDisk(dir string) int {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return 0
	}
	return int(fs.Bavail * uint64(fs.Bsize) / gib)
}
