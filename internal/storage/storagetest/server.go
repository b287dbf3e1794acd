package storagetest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/enovance/kitchen/internal/storage"
)

// ServerVariable names the environment variable with the path of the built S3 test server.
const ServerVariable = "KITCHEN_TEST_S3SERVER"

// S3 is a running S3 server on a loopback port, over TLS, with a certificate authority of its own.
type S3 struct {
	Endpoint string // https://127.0.0.1:PORT
	env      map[string]string
	dir      string
	port     string
	cmd      *exec.Cmd
	talk     sync.Mutex // guards in, out and raw: one command and its answer at a time
	in       io.WriteCloser
	out      *bufio.Scanner
	raw      *http.Client // of Send, made when needed
	said     bytes.Buffer // read only once the server is gone
}

// StartS3 starts a server with an empty directory, until the test ends or the test's process does. Without a
// built server the test is skipped.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	if os.Getenv(ServerVariable) == "" {
		t.Skipf("%s is not set, so nothing is tested against S3: run `make test`", ServerVariable)
	}
	s := &S3{dir: t.TempDir(), port: "0"}
	s.Start(t)
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the S3 test server said: %.4000s", s.said.String())
		}
	})
	return s
}

// Start starts the server again after Kill: same port, same objects, same users.
func (s *S3) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(os.Getenv(ServerVariable), "-dir", s.dir, "-port", s.port)
	s.cmd.Stderr = &s.said
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in, s.out, s.env = in, bufio.NewScanner(out), map[string]string{}
	for s.out.Scan() {
		if s.out.Text() == "ready" {
			s.Endpoint = s.env["KITCHEN_TEST_S3_ENDPOINT"]
			s.port = s.Endpoint[strings.LastIndex(s.Endpoint, ":")+1:]
			return
		}
		name, value, _ := strings.Cut(s.out.Text(), "=")
		s.env[name] = value
	}
	t.Fatal("the S3 test server ended before it was ready")
}

// Kill ends the server at once, in the middle of whatever it does.
func (s *S3) Kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.in.Close()
}

// Env is the environment of a program that uses the server with the root credentials, as NAME=value.
func (s *S3) Env() []string {
	var env []string
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return env
}

// Getenv is Env for storage.Options.
func (s *S3) Getenv(name string) string { return s.env[name] }

// URL is the address of a prefix of a bucket.
func (s *S3) URL(bucket, prefix string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint=%s&region=us-east-1", bucket, prefix, s.Endpoint)
}

// Bucket makes a new bucket with a random name.
func (s *S3) Bucket(t testing.TB) string {
	t.Helper()
	name := "b-" + strings.ToLower(rand.Text())
	s.command(t, "bucket "+name)
	return name
}

// User makes a user that may do nothing yet, and gives its environment.
func (s *S3) User(t testing.TB, name string) func(string) string {
	t.Helper()
	secret := name + "-secret"
	s.command(t, "user "+name+" "+secret)
	return func(variable string) string {
		switch variable {
		case "AWS_ACCESS_KEY_ID":
			return name
		case "AWS_SECRET_ACCESS_KEY":
			return secret
		}
		return s.env[variable]
	}
}

// Allow is one permission of a bucket's policy.
type Allow struct {
	User    string   // "*" is everybody, without credentials too
	Actions []string // "s3:GetObject", …
	Prefix  string   // of the objects meant; "" is all
}

// SetPolicy replaces a bucket's policy. The server keeps it in 4 KiB: who may do the same stands in one statement.
func (s *S3) SetPolicy(t testing.TB, bucket string, allow ...Allow) {
	t.Helper()
	users := map[string][]string{} // action and resource → users
	for _, a := range allow {
		for _, action := range a.Actions {
			resource := "arn:aws:s3:::" + bucket + "/" + a.Prefix + "*"
			if strings.HasPrefix(action, "s3:ListBucket") || strings.HasSuffix(action, "Bucket") {
				resource = "arn:aws:s3:::" + bucket
			}
			users[action+" "+resource] = append(users[action+" "+resource], a.User)
		}
	}
	var statements []map[string]any
	for _, what := range slices.Sorted(maps.Keys(users)) {
		action, resource, _ := strings.Cut(what, " ")
		statements = append(statements, map[string]any{"Effect": "Allow", "Principal": users[what], "Action": action, "Resource": resource})
	}
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	s.command(t, "policy "+bucket+" "+string(policy))
}

// Open opens a prefix of a bucket with the root credentials.
func (s *S3) Open(t testing.TB, bucket, prefix string, opts storage.Options) storage.Store {
	t.Helper()
	if opts.Getenv == nil {
		opts.Getenv = s.Getenv
	}
	store, err := storage.Open(t.Context(), s.URL(bucket, prefix), opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (s *S3) command(t testing.TB, line string) {
	t.Helper()
	s.talk.Lock()
	defer s.talk.Unlock()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	if !s.out.Scan() || s.out.Text() != "ok" {
		t.Fatalf("S3 test server: %s: %s", line, s.out.Text())
	}
}
