//go:build !linux

package fetcher

// Other systems: the memory and the free disk are not detected, [capabilities] tells them.

func hostMemory() int { return 0 }

func freeDisk(string) int { return 0 }
