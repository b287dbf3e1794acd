package main

import (
	"strings"
	"testing"
)

// TestAStrangersProposalIsSignedByItsWholeIDAlone where nobody is asked; what is said of it leads nobody to sign, drop or fear it.
func TestAStrangersProposalIsSignedByItsWholeIDAlone(t *testing.T) {
	t.Parallel()
	s := chapter(t, "empty").copy(t)
	if err := s.key("mallory"); err != nil {
		t.Fatal(err)
	}
	s.ask("--config ./laptop.toml role rotate registry --old ./keys/admin.pub --new ./keys/mallory.pub --yes --key ./keys/mallory.key").want(t, exitNotInEffect)
	id := proposalOf(t, s, "targets.")
	refused := func(line string, words ...string) {
		t.Helper()
		e := s.ask("--config ./laptop.toml " + line)
		e.want(t, exitNotTrusted, append(words, "nobody who holds targets has signed "+id, "leave it alone")...)
		for _, untrue := range []string{"make the change again", "altered or damaged"} {
			if strings.Contains(strings.Join(strings.Fields(e.stdout+e.stderr), " "), untrue) {
				t.Errorf("it says %q: %v", untrue, e)
			}
		}
	}
	refused("sign targets --yes --key ./keys/root-a.key", "kitchen pending "+id)
	refused("sign "+id[:strings.LastIndex(id, ".")]+" --yes --key ./keys/root-a.key", "kitchen pending "+id)
	refused("sign "+id[:len(id)-1]+" --yes --key ./keys/root-a.key", "kitchen pending "+id)
	s.ask("--config ./laptop.toml pending drop "+id).want(t, exitDone, "harmless: none of those who hold its roles has signed it")
	s.ask("--config ./laptop.toml sign "+id+" --export ./stick.json").want(t, exitNotInEffect)
	refused("sign --import ./stick.json --yes --key ./keys/root-a.key", "leave out --yes")
	s.ask("--config ./laptop.toml sign "+id+" --yes --key ./keys/root-a.key").want(t, exitNotInEffect)
	s.ask("--config ./laptop.toml sign "+id[:len(id)-1]+" --yes --key ./keys/root-b.key").want(t, exitNotInEffect)
}
