//go:build !linux

package main

import "golang.org/x/sys/unix"

// How a terminal's modes are asked for and set.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
