//go:build !unix

package hook

import (
	"os/exec"
	"time"
)

// Systems without process groups: the command itself is ended, its children are not.

func ownGroup(*exec.Cmd) {}

func terminateGroup(int) error { return nil }

func endGroup(int, time.Duration) bool { return false }
