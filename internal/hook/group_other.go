//go:build !unix

package hook

import (
	"os/exec"
	"time"
)

// Systems without process groups: the command itself is ended, its children are not.

func ownGroup(*exec.Cmd) {}

func terminateGroup(int) error { return nil }

// GroupLives cannot tell, and says yes.
func GroupLives(int) bool { return true }

func endGroup(int, time.Duration) bool { return false }
