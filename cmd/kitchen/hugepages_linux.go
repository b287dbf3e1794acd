package main

import (
	"runtime"
	"syscall"
)

// askHugePages makes the next bytes that the heap grows by large pages, where the system has them for those who ask. It takes
// addresses and no memory: what is allocated later lies there. A fault for every 4 KiB costs up to 25 µs on virtual machines
// whose page tables are shadowed, of which opening a key alone takes 16,000.
func askHugePages(bytes int) {
	b := make([]byte, bytes)
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // a system without them goes on with small ones
	runtime.GC()                                  // b goes, its addresses stay
}
