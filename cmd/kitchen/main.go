// Command kitchen is the catalog between a vendor and its customers: signed
// releases in a bucket that every party verifies for itself.
//
// This package is the only one that reads the command line, the environment,
// the clock and the terminal. Everything it does beyond that is a call into
// publisher (signed writes) or fetcher (what a site does), joined here.
//
// Results go to stdout, exactly one document a call; progress, prompts and
// errors go to stderr. Exit codes: 0 done or yes, 1 failed, 2 usage, 3 no,
// 4 not trusted (a wrong key, too), 5 lost to other writers, 6 store or key service unreachable or access denied,
// 8 accepted but not in effect yet, 130 interrupted.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"runtime/debug"
)

// version is what `kitchen --version` prints; the Makefile sets it from git.
var version = ""

func main() {
	log.SetOutput(io.Discard) // libraries that print what Kitchen says in its own errors
	ctx, stop := interruptible(context.Background())
	code := newKitchen().main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func versionLine() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" {
		v = "(devel)"
	}
	return "kitchen " + v
}
