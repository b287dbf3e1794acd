package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledInTheMiddleOfATestHook: the test runs again, and there is one report.
func TestKilledInTheMiddleOfATestHook(t *testing.T) {
	t.Parallel()
	s := chapter(t, "published")
	mustWrite(t, s, "test.sh", "echo tested >> tested.txt\ntest -e killed.txt && exit 0\ntouch killed.txt\nkill -9 $PPID\n")
	if e := s.start(t, "--config ./ci.toml run"); e.signal != syscall.SIGKILL {
		t.Fatalf("its hook was to kill it: %v", e)
	}
	atMost("tested.txt", 1, 0)(t, s)
	s.start(t, "--config ./ci.toml run").want(t, exitDone, "openstack@1.0.0: PASSED", "signed into validated.openstack")
	reported(1, "tested.txt", 2)(t, s)
}

// TestKilledInTheMiddleOfADeployHook: nobody knows how far it came, so no later run starts it again, until a person
// has said what became of it; and then there is one report.
func TestKilledInTheMiddleOfADeployHook(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready")
	mustWrite(t, s, "deploy.sh", "echo deployed >> deployed.txt\nkill -9 $PPID\n")
	if e := s.start(t, "--config ./prod.toml run"); e.signal != syscall.SIGKILL {
		t.Fatalf("its hook was to kill it: %v", e)
	}
	for range 2 {
		s.start(t, "--config ./prod.toml run").want(t, exitNo, "how it ended is not known", "kitchen deployed openstack@1.0.0 --result PASSED")
		s.start(t, "--config ./prod.toml deploy openstack@1.0.0").want(t, exitNo, "how it ended is not known", "--again")
		atMost("deployed.txt", 1, 2)(t, s)
	}
	s.start(t, "--config ./prod.toml deployed openstack@1.0.0 --result PASSED").want(t, exitDone)
	s.start(t, "--config ./prod.toml run").want(t, exitDone)
	reported(3, "deployed.txt", 1)(t, s)
}

// TestHookOutlivesItsKitchen: kitchen is killed and the deploy hook works on. Whatever is run meanwhile leaves its
// files to it, says that it still runs, and starts no second one; teardown runs once it has ended.
func TestHookOutlivesItsKitchen(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready")
	noted := "until grep -q '\"group\": *[1-9]' $KITCHEN_WORK/../begun; do sleep 0.05; done\n"
	mustWrite(t, s, "deploy.sh", noted+"kill -9 $PPID\nwhile ! test -e go.txt; do sleep 0.05; done\ntest -s $KITCHEN_DIR/node.img && echo deployed >> deployed.txt\necho ended >> ended.txt\n")
	t.Cleanup(func() { mustWrite(t, s, "go.txt", "") })
	config, err := os.ReadFile(s.path("prod.toml"))
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, "prod.toml", strings.Replace(string(config), "[hooks]", "[hooks]\nteardown = [\"sh\", \"-c\", \"echo $KITCHEN_VERSION >> torn.txt\"]", 1))
	if e := s.start(t, "--config ./prod.toml run"); e.signal != syscall.SIGKILL {
		t.Fatalf("its hook was to kill it: %v", e)
	}
	for _, line := range []string{"run", "deploy openstack@1.0.0 --again", "deployed openstack@1.0.0 --result PASSED"} {
		s.start(t, "--config ./prod.toml "+line).want(t, exitFailed, "the deploy hook on openstack@1.0.0 still runs at acme/prod (process group ", "or end it: kill -- -")
	}
	if n := s.lines(t, "torn.txt"); n != 0 {
		t.Fatalf("teardown ran %d times under a running hook", n)
	}
	mustWrite(t, s, "go.txt", "")
	for start := time.Now(); s.lines(t, "ended.txt") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the hook did not end")
		}
	}
	if n := s.lines(t, "deployed.txt"); n != 1 {
		t.Fatalf("the hook had its files %d times", n)
	}
	s.start(t, "--config ./prod.toml run").want(t, exitNo, "how it ended is not known")
	if n := s.lines(t, "torn.txt"); n != 1 {
		t.Fatalf("once the hook had ended, teardown ran %d times", n)
	}
	s.start(t, "--config ./prod.toml deployed openstack@1.0.0 --result PASSED").want(t, exitDone)
	reported(3, "deployed.txt", 1)(t, s)
}

// TestInterruptedInTheMiddleOfADeployHook: the hook is ended along with kitchen, and that is its result: on disk at
// once, sent by the next run, and nothing is repeated by itself.
func TestInterruptedInTheMiddleOfADeployHook(t *testing.T) {
	t.Parallel()
	s := chapter(t, "ready")
	mustWrite(t, s, "deploy.sh", "echo deployed >> deployed.txt\nkill -TERM $PPID\nexec sleep 60\n")
	s.start(t, "--config ./prod.toml run").want(t, exitInterrupted, "interrupted while the deploy hook ran on openstack@1.0.0",
		"look at the host", "kitchen deploy openstack@1.0.0 --again", "kitchen deployed openstack@1.0.0 --result PASSED")
	atMost("deployed.txt", 1, 2)(t, s)
	s.start(t, "--config ./prod.toml run").want(t, exitNo, "ended ERROR", "is not repeated by itself", "kitchen deploy openstack@1.0.0 --again")
	reported(3, "deployed.txt", 1)(t, s)
	mustWrite(t, s, "deploy.sh", "echo deployed >> deployed.txt\n")
	s.start(t, "--config ./prod.toml deploy openstack@1.0.0 --again").want(t, exitDone)
	reported(4, "deployed.txt", 2)(t, s)
}

func mustWrite(t *testing.T, s scene, name, text string) {
	t.Helper()
	if err := s.write(name, text); err != nil {
		t.Error(err)
	}
}
