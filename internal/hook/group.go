//go:build unix

package hook

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// pollEvery is how often an ended group is looked at while it dies.
const pollEvery = 20 * time.Millisecond

func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminateGroup asks the whole group of a running leader to end.
func terminateGroup(leader int) error {
	if err := syscall.Kill(-leader, syscall.SIGTERM); err != nil {
		return os.ErrProcessDone
	}
	return nil
}

// GroupLives tells whether a process group has members.
func GroupLives(leader int) bool {
	err := syscall.Kill(-leader, 0)
	return err == nil || err == syscall.EPERM
}

// endGroup ends what is left of a group whose leader was waited for, and says
// whether there was anything. A group's number is not given to another while a
// member lives, and signalling stops at the first answer that none does.
func endGroup(leader int, grace time.Duration) bool {
	if syscall.Kill(-leader, syscall.SIGTERM) != nil {
		return false
	}
	for waited := time.Duration(0); waited < grace; waited += pollEvery {
		time.Sleep(pollEvery)
		if syscall.Kill(-leader, 0) != nil {
			return true
		}
	}
	syscall.Kill(-leader, syscall.SIGKILL)
	return true
}
