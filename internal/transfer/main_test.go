package transfer

import (
	"os"
	"testing"
	"time"
)

// child does what this process was started for, if that is not to test.
var child = func() bool { return false }

func TestMain(m *testing.M) {
	if child() {
		return
	}
	firstPause, writeBackAfter = time.Millisecond, 1<<20
	os.Exit(m.Run())
}
