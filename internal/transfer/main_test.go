package transfer

import (
	"os"
	"testing"
)

// child does what this process was started for, if that is not to test.
var child = func() bool { return false }

func TestMain(m *testing.M) {
	if child() {
		return
	}
	writeBackAfter = 1 << 20
	os.Exit(m.Run())
}
