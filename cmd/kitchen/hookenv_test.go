package main

import (
	"os"
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestOnlyGlobalFlagsReadTheEnvironment: what a hook is told in KITCHEN_… is never an option of a command.
func TestOnlyGlobalFlagsReadTheEnvironment(t *testing.T) {
	var read []string
	var walk func(flags []cli.Flag, commands []*cli.Command)
	walk = func(flags []cli.Flag, commands []*cli.Command) {
		for _, flag := range flags {
			if f, ok := flag.(cli.DocGenerationFlag); ok {
				read = append(read, f.GetEnvVars()...)
			}
		}
		for _, c := range commands {
			walk(c.Flags, c.Subcommands)
		}
	}
	app := newKitchen().app()
	walk(app.Flags, app.Commands)
	if want := []string{"KITCHEN_CONFIG", "KITCHEN_CATALOG", "KITCHEN_STATE", "KITCHEN_OUTPUT"}; !slices.Equal(read, want) {
		t.Errorf("flags read %v, want %v", read, want)
	}
}

// TestAKitchenStartedByAHook does what it does anywhere else: nothing that the outer one was told, and nothing that
// the hook is told, reaches its flags.
func TestAKitchenStartedByAHook(t *testing.T) {
	t.Parallel()
	s := chapter(t, "validated")
	const line = "--config ./laptop.toml show openstack@1.0.0"
	mustWrite(t, s, "test.sh", "test $KITCHEN_HOOK = test && env | grep ^KITCHEN_ >env.txt\nexec kitchen --config laptop.toml show openstack@1.0.0 >shown.txt\n")
	s.start(t, "run", "KITCHEN_CONFIG="+s.path("staging.toml"), "KITCHEN_STATE="+s.path("state-staging"), "KITCHEN_OUTPUT=json",
		"KITCHEN_CATALOG=file://"+s.path("bucket"), "KITCHEN_VERDICT=PASSED").want(t, exitDone, `"verdict": "PASSED"`)
	shown, err := os.ReadFile(s.path("shown.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if want := s.start(t, line); string(shown) != want.stdout || want.stdout == "" {
		t.Errorf("in a hook it says\n%s\nelsewhere\n%s", shown, want.stdout)
	}
}
