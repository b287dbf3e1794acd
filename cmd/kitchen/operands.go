package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/enovance/kitchen/manifest"
	"github.com/enovance/kitchen/publisher"
	"github.com/urfave/cli/v2"
)

// operands checks that a command got exactly the arguments it names; a name in
// brackets is optional.
func operands(c *cli.Context, names ...string) error {
	words := "kitchen " + strings.TrimSpace(commandPath(c))
	for i, name := range names {
		if i >= c.NArg() && !strings.HasPrefix(name, "[") {
			return usagef("%s needs %s", words, name)
		}
		if i < c.NArg() && c.Args().Get(i) == "" {
			return usageHint(fmt.Sprintf("%s: %s is empty", words, strings.Trim(name, "[]")), "perhaps a shell variable is not set")
		}
	}
	if c.NArg() > len(names) {
		return usagef("unexpected argument %q", c.Args().Get(len(names)))
	}
	return nil
}

// commandPath gives the words of the running command, without the program's name.
func commandPath(c *cli.Context) string {
	var words []string
	for _, within := range c.Lineage() {
		if command := within.Command; command != nil && command.Name != "" && command.Name != c.App.Name {
			words = append(words, command.Name)
		}
	}
	slices.Reverse(words)
	return strings.Join(words, " ")
}

// releaseOperand reads the single operand P@V.
func releaseOperand(c *cli.Context) (manifest.Release, error) {
	if err := operands(c, "PRODUCT@VERSION"); err != nil {
		return manifest.Release{}, err
	}
	return parseRelease(c.Args().First())
}

func parseRelease(s string) (manifest.Release, error) {
	r, err := manifest.ParseRelease(s)
	if err != nil {
		return r, usagef("%v", err)
	}
	return r, nil
}

// siteValue reads a site's name, CUSTOMER/SITE.
func siteValue(s string) (manifest.SiteID, error) {
	id, err := manifest.ParseSite(s)
	if err != nil {
		return id, usagef("%v", err)
	}
	return id, nil
}

// require makes flags compulsory.
func require(c *cli.Context, flags ...string) error {
	var missing []string
	for _, name := range flags {
		if !c.IsSet(name) || c.String(name) == "" && len(c.StringSlice(name)) == 0 {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return usagef("kitchen %s needs %s", commandPath(c), strings.Join(missing, ", "))
	}
	return nil
}

// shellWord is a word of a command that is printed to be copied.
func shellWord(s string) string { return publisher.ShellWord(s) }
