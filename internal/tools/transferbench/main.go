// Transferbench measures what moving releases costs, beside what a user would pick instead, and prints the table of
// docs/PERFORMANCE.md.
//
//	transferbench -kitchen FILE -images DIR [-work DIR] [-n N] [-only STEP,…]
//
// The images are v1.tar, v2.tar, v3.tar, v1.ext4 and v2.ext4: a system, the same after a bulk update, and after one fix.
// Catalogs are directories, made by the real binary with throw-away keys, and served on loopback by this program, which
// counts requests and the bytes of their bodies; peers fetch from the same server. Inside "s3server -- transferbench …" the
// S3 step runs, too. CPU is user and system time of a command and its children; CPU, wall time and memory are
// medians of N runs, Kitchen and its peer in turn. Every file that comes out of anything is compared with its image; a
// difference ends the program with exit code 1. A peer that is not installed is said loudly, on stderr and in the table; a
// target that is missed is marked in it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "transferbench: FAILED:", err)
		os.Exit(1)
	}
}

// bench is one session of measuring.
type bench struct {
	kitchen, images, work string
	n                     int
	server                *server
	published             bool // the catalogs are there
}

// steps of a session, in their order.
var steps = []struct {
	name string
	take func(*bench, context.Context) error
}{
	{"publish", (*bench).publishing}, {"delta", (*bench).makingDelta}, {"again", (*bench).publishingAgain}, {"fetch-delta", (*bench).fetchingDelta},
	{"fetch-small", (*bench).fetchingSmall}, {"fetch-ranges", (*bench).fetchingRanges}, {"fetch-all", (*bench).fetchingAll}, {"fetch-s3", (*bench).fetchingS3}, {"10gib", (*bench).tenGiB},
}

func run(ctx context.Context) (err error) {
	b := &bench{}
	flag.StringVar(&b.kitchen, "kitchen", "bin/kitchen", "the kitchen `binary`")
	flag.StringVar(&b.images, "images", "", "`directory` of the images")
	flag.StringVar(&b.work, "work", os.TempDir(), "`directory` to work in, on the images' file system; takes some 25 GiB with the step 10gib")
	flag.IntVar(&b.n, "n", 3, "`runs` of what is timed")
	only := flag.String("only", "", "`steps` to take, with commas between them; all by default")
	flag.Parse()
	if flag.NArg() > 0 || b.n < 1 || b.images == "" {
		return errors.New("usage: transferbench -kitchen FILE -images DIR [-work DIR] [-n N] [-only STEP,…]")
	}
	if b.work, err = os.MkdirTemp(b.work, "transferbench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	for _, path := range []*string{&b.kitchen, &b.images, &b.work} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if b.server, err = serve(b.work); err != nil {
		return err
	}
	defer b.server.http.Close()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	b.head(ctx)
	for _, s := range steps {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		if err := s.take(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// head says what is measured, on what, and begins the table.
func (b *bench) head(ctx context.Context) {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			model, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
		}
	}
	fmt.Printf("%d × %s, %s, n = %d", runtime.NumCPU(), model, runtime.GOOS, b.n)
	for _, version := range [][]string{{b.kitchen, "--version"}, {"casync", "--version"}, {"xdelta3", "-V"}, {"zstd", "--version"}, {"curl", "--version"}, {"rclone", "--version"}, {"zsync", "-V"}} {
		if _, err := exec.LookPath(version[0]); err != nil {
			fmt.Fprintf(os.Stderr, "transferbench: %s IS NOT INSTALLED: what is measured against it is left out\n", version[0])
			continue
		}
		out, _ := exec.CommandContext(ctx, version[0], version[1:]...).CombinedOutput() // some say it with another exit code
		line, _, _ := strings.Cut(string(out), "\n")
		fmt.Printf("; %s", strings.TrimSpace(line))
	}
	fmt.Print("\n\n| what | Kitchen | peer | ratio | target | |\n|---|---|---|---|---|---|\n")
}

// row prints a line of the table: a figure beside a peer's, and whether their ratio is within its target (0: there is none).
func row(what, have, peer string, ratio, target float64) {
	cells := []string{what, have, peer, "", "", ""}
	if ratio > 0 {
		cells[3] = fmt.Sprintf("%.2f", ratio)
	}
	if target > 0 {
		cells[4], cells[5] = fmt.Sprintf("%.2f", target), "met"
		if ratio > target {
			cells[5] = "NOT MET"
		}
	}
	fmt.Printf("| %s |\n", strings.Join(cells, " | "))
}

// limit prints a line of the table whose target is a number.
func limit(what string, have, most int64, show func(int64) string) {
	verdict := "met"
	if have > most {
		verdict = "NOT MET"
	}
	fmt.Printf("| %s | %s | | | %s | %s |\n", what, show(have), show(most), verdict)
}
