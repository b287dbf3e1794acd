package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// cost is what a command, or several in a row, took.
type cost struct {
	cpu, wall time.Duration
	memory    int64 // peak of the largest process
	bytes     int64 // that the server sent, or that were written
	requests  int64
}

func (c cost) and(d cost) cost {
	return cost{c.cpu + d.cpu, c.wall + d.wall, max(c.memory, d.memory), c.bytes + d.bytes, c.requests + d.requests}
}

// median takes the median of each figure by itself.
func median(costs []cost) cost {
	return cost{
		middle(costs, func(c cost) time.Duration { return c.cpu }), middle(costs, func(c cost) time.Duration { return c.wall }),
		middle(costs, func(c cost) int64 { return c.memory }), middle(costs, func(c cost) int64 { return c.bytes }),
		middle(costs, func(c cost) int64 { return c.requests }),
	}
}

func middle[T time.Duration | int64](costs []cost, figure func(cost) T) T {
	var all []T
	for _, c := range costs {
		all = append(all, figure(c))
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// inTurn does each n times, one after the other, and gives the median of each.
func inTurn(n int, do ...func() (cost, error)) ([]cost, error) {
	runs := make([][]cost, len(do))
	for range n {
		for i := range do {
			c, err := do[i]()
			if err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], c)
		}
	}
	var medians []cost
	for _, r := range runs {
		medians = append(medians, median(r))
	}
	return medians, nil
}

func ratio[T time.Duration | int64](a, b T) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func mib(n int64) string             { return fmt.Sprintf("%d MiB", n>>20) }
func count(n int64) string           { return fmt.Sprint(n) }
func megabytes(n int64) string       { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }

// command runs a program to its end.
func (b *bench) command(ctx context.Context, name string, args ...string) (cost, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.Stdout = b.work, &said, &said
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=throw-away", "LC_ALL=C")
	start := time.Now()
	err := cmd.Run()
	if err != nil {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, said.Bytes()[max(0, said.Len()-2000):])
	}
	c := cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(start)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.memory = usage.Maxrss << 10
	}
	return c, nil
}

// commands runs several, one after the other; each is a name and its arguments.
func (b *bench) commands(ctx context.Context, list ...[]string) (sum cost, err error) {
	if err := b.settle(); err != nil {
		return cost{}, err
	}
	bytes, requests := b.server.count()
	for _, words := range list {
		c, err := b.command(ctx, words[0], words[1:]...)
		if err != nil {
			return cost{}, err
		}
		sum = sum.and(c)
	}
	bytesNow, requestsNow := b.server.count()
	sum.bytes, sum.requests = bytesNow-bytes, requestsNow-requests
	return sum, nil
}

// settle makes the machine the same for everybody: what others wrote is on the disk, and pages that the system gave back to
// the host are its own again. On virtual machines whoever touches those first pays for it, with seconds.
func (b *bench) settle() error {
	syscall.Sync()
	f, err := os.Create(b.path("settle"))
	if err != nil {
		return err
	}
	page := make([]byte, 1<<20)
	for range 2048 {
		if _, err := f.Write(page); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Truncate(0), f.Close(), os.Remove(f.Name()))
}

// peer runs commands that make out; it is compared with image, if there is one. What is not installed costs nothing.
func (b *bench) peer(ctx context.Context, out, image string, list ...[]string) (cost, error) {
	for _, words := range list {
		if _, err := exec.LookPath(words[0]); err != nil {
			return cost{}, nil
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return cost{}, err
	}
	c, err := b.commands(ctx, list...)
	if err == nil && image != "" {
		err = same(out, image)
	}
	return c, err
}

// same fails where a file differs from an image.
func same(out, image string) error {
	a, err := os.Open(out)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(image)
	if err != nil {
		return err
	}
	defer b.Close()
	bufA, bufB := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) || (errA == nil) != (errB == nil) {
			return fmt.Errorf("%s DIFFERS from %s", out, image)
		}
		if errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF) {
			return nil
		}
		if errA != nil {
			return errA
		}
	}
}

// server serves a directory and counts.
type server struct {
	url                       string
	bytes, requests, underway atomic.Int64
	http                      *http.Server
}

func serve(dir string) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String()}
	files := http.FileServer(http.Dir(dir))
	s.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.underway.Add(1)
		defer s.underway.Add(-1)
		s.requests.Add(1)
		if info, err := fs.Stat(os.DirFS(dir), strings.TrimPrefix(r.URL.Path, "/")); err == nil { // a tag, as web servers give one
			w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
		}
		files.ServeHTTP(&counter{w, &s.bytes}, r)
	})}
	go s.http.Serve(listener) //nolint:errcheck // it ends with Close
	return s, nil
}

// count waits until no request is being answered: a client may be gone before its last write is counted.
func (s *server) count() (bytes, requests int64) {
	for s.underway.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	return s.bytes.Load(), s.requests.Load()
}

// counter counts the bytes of a body, and lets the kernel copy files.
type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n.Add(n)
	return n, err
}
