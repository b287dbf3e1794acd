package main

import (
	"runtime"
	"syscall"
)

// askHugePages makes the next bytes that the heap grows by large pages, where the system has them for those who ask. It takes
// addresses and no memory: what is allocated later lies there. A fault for every 4 KiB costs up to 25 µs on virtual machines
// whose page tables are shadowed, of which opening a key alone takes 16,000. Piece by piece, for one that begins where the heap
// was in use is cleared, which takes its memory.
func askHugePages(bytes int) {
	const piece = 16 << 20
	pieces := make([][]byte, 0, bytes/piece)
	for range cap(pieces) {
		b := make([]byte, piece)
		_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // a system without them goes on with small ones
		pieces = append(pieces, b)
	}
	runtime.KeepAlive(pieces)
	runtime.GC() // they go, their addresses stay
}
