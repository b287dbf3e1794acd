// Command s3server is a throw-away S3 server for tests: versitygw on a loopback port over TLS, its buckets, users
// and certificate authority in one directory.
//
//	s3server -dir DIR [-bucket NAME]                 until standard input ends
//	s3server -dir DIR [-bucket NAME] -- COMMAND …    until the command ends, with the command's exit code
//
// The first form prints what a client needs as NAME=value lines and then the line "ready":
//
//	AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION   the root credentials
//	SSL_CERT_FILE AWS_CA_BUNDLE                          the authority that signed its certificate
//	KITCHEN_TEST_S3_ENDPOINT                             https://127.0.0.1:PORT
//
// and takes one command a line on standard input, each answered by "ok" or "error: …":
//
//	bucket NAME            make a bucket, owned by root
//	user ACCESS SECRET     make a user without any right
//	policy BUCKET JSON     set a bucket's policy
//
// The second form puts the same names in the command's environment. Started again on the same directory the
// server has the same objects, users and credentials; -port keeps the port, too.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	dir := flag.String("dir", "", "where everything is kept (required)")
	bucket := flag.String("bucket", "", "make this bucket first")
	port := flag.Int("port", 0, "loopback port; 0 takes a free one")
	flag.Parse()
	out := os.Stdout
	os.Stdout = os.Stderr // the server's own words
	code, err := run(*dir, *bucket, *port, flag.Args(), out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "s3server:", err)
	}
	os.Exit(code)
}

func run(dir, bucket string, port int, command []string, out io.Writer) (int, error) {
	if dir == "" {
		return 2, errors.New("-dir is required")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 1, err
	}
	home, err := os.Getwd() // the server changes its own
	if err != nil {
		return 1, err
	}
	s, err := newServer(dir, port)
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := s.start(ctx)
	if err := s.awaitReady(ctx, failed); err != nil {
		return 1, err
	}
	if bucket != "" {
		if err := s.makeBucket(ctx, bucket); err != nil {
			return 1, err
		}
	}
	if len(command) > 0 {
		return s.runCommand(home, command)
	}
	for _, line := range s.env() {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, "ready")
	return 0, s.obey(ctx, os.Stdin, out)
}

func (s *server) runCommand(home string, command []string) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = home, append(os.Environ(), s.env()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, s.commandOut, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// obey answers commands until the input ends.
func (s *server) obey(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		answer := "ok"
		if err := s.command(ctx, lines.Text()); err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Fprintln(out, answer)
	}
	return lines.Err()
}

func (s *server) command(ctx context.Context, line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "bucket":
		return s.makeBucket(ctx, first)
	case "user":
		return s.makeUser(first, second)
	case "policy":
		return s.setPolicy(ctx, first, second)
	}
	return fmt.Errorf("unknown command %q", verb)
}
