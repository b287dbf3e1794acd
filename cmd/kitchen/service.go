package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/enovance/kitchen/internal/poll"
	"github.com/enovance/kitchen/internal/render"
)

// stopSignal is the cause of a call that was told to stop. It is a context.Canceled.
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string        { return "stopped by a signal: " + s.String() }
func (s stopSignal) Is(target error) bool { return target == context.Canceled }

// interruptible is cancelled by the first SIGINT, SIGTERM, SIGQUIT or, unless that was to be ignored, SIGHUP, with a stopSignal
// as its cause. From then on the signals have their default effect, so that a second one kills.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(stopSignal{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// minWatch is the shortest interval of a service.
const minWatch = time.Second

// parseWatch reads --watch; 0 means that it was not given.
func parseWatch(text string) (time.Duration, error) {
	d, err := parseAge(text)
	if err != nil {
		return 0, usagef("--watch: %v", err)
	}
	if d != 0 && d < minWatch {
		return 0, usagef("--watch: not more often than every %s", minWatch)
	}
	return d, nil
}

// serve makes a command a service: rounds, until one ends it with an error or a signal comes. SIGTERM is how a service
// manager ends a service, and no error; after Ctrl-C the exit code is that of an interrupted command. The manager is
// told as sd_notify(3) describes. longest bounds the pauses while the store is away; 0 is poll.Longest.
func (k *kitchen) serve(ctx context.Context, every, longest time.Duration, round func(context.Context) (bool, error)) error {
	k.progress.stay()
	m := k.serviceManager()
	defer m.watchdog()()
	stopping := sync.OnceFunc(func() { m.tell("STOPPING=1") })
	defer stopping()
	defer context.AfterFunc(ctx, stopping)()
	m.tell("READY=1")
	loop := poll.Loop{Every: every, Longest: longest, After: k.after, Random: rand.Float64, Pause: func(next time.Duration, failures int) {
		if failures > 0 {
			m.tell(fmt.Sprintf("STATUS=the store is away (%d tries); trying again in %s", failures, render.Duration(next)))
			return
		}
		m.tell("STATUS=waiting; next round in " + render.Duration(next))
	}}
	err := loop.Run(ctx, round)
	if stop, ok := errors.AsType[stopSignal](err); ok && stop.Signal == syscall.SIGTERM {
		return nil
	}
	return err
}

// voice says how the rounds of a service end: an error once, and that it is gone.
type voice struct {
	k       *kitchen
	trouble string // what the last round ended with, as far as it is told apart; "" = well
	away    bool   // the last round did not reach the store
}

// judge says how a round ended, unless the one before ended the same way.
func (v *voice) judge(ctx context.Context, err error) {
	trouble, away := "", false
	if err != nil {
		f := explain(ctx, err)
		trouble, away = f.Message, f.Code == exitUnavailable
		if away {
			trouble = f.Kind // its words name a port that changes
		}
		if trouble != v.trouble {
			v.complain(f, away)
		}
	}
	switch {
	case v.away && !away:
		v.k.progress.Note("the store is back")
	case v.trouble != "" && trouble == "":
		v.k.progress.Note("well again")
	}
	v.trouble, v.away = trouble, away
}

func (v *voice) complain(f failure, away bool) {
	if v.k.global.json {
		f.write(v.k.stderr, true, 0)
		return
	}
	text := strings.Join(append([]string{"error: " + f.Message}, f.Evidence...), "; ")
	if away {
		text += "; trying again, less and less often"
	}
	if f.Code == exitInterrupted {
		text += "; " + f.Hint
	}
	if text = render.Line(text); v.k.stderrWidth > 0 {
		text = render.Indent(text, 2, v.k.stderrWidth)
	}
	fmt.Fprintln(v.k.stderr, text)
}

// tell prints the events of a round, a line each but on a terminal, or in JSON the round's document on one.
func (v *voice) tell(lines []string, d any) error {
	if len(lines) == 0 {
		return nil
	}
	if v.k.global.json {
		text, err := json.Marshal(d)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(v.k.stdout, "%s\n", render.JSON(text))
		return err
	}
	var all strings.Builder
	for _, line := range lines {
		line = render.Line(line)
		if v.k.stdoutTTY {
			line = render.Indent(line, 2, v.k.width)
		}
		all.WriteString(line + "\n")
	}
	_, err := io.WriteString(v.k.stdout, all.String())
	return err
}

// serviceManager is who started this process as a service and wants to hear of it. Without one nothing is told.
type serviceManager struct {
	socket string
	beat   time.Duration // how often it wants a sign of life; 0 = not
	warn   func(string)
}

func (k *kitchen) serviceManager() serviceManager {
	var once sync.Once
	m := serviceManager{warn: func(text string) { once.Do(func() { k.progress.Note(text) }) }}
	m.socket, _ = k.lookupEnv("NOTIFY_SOCKET")
	usec, _ := k.lookupEnv("WATCHDOG_USEC")
	pid, given := k.lookupEnv("WATCHDOG_PID")
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 && (!given || pid == strconv.Itoa(os.Getpid())) {
		m.beat = time.Duration(n) * time.Microsecond / 2
	}
	return m
}

// tell sends one state to the manager. That it cannot be told is said, and no reason to stop.
func (m serviceManager) tell(state string) {
	if m.socket == "" {
		return
	}
	address := &net.UnixAddr{Name: m.socket, Net: "unixgram"}
	if name, abstract := strings.CutPrefix(m.socket, "@"); abstract {
		address.Name = "\x00" + name
	}
	conn, err := net.DialUnix("unixgram", nil, address)
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		m.warn("the service manager cannot be told of this service: " + err.Error())
	}
}

// watchdog gives signs of life for as long as the program can, hooks that run for hours included. Its result ends it.
func (m serviceManager) watchdog() (stop func()) {
	if m.socket == "" || m.beat <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(m.beat)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				m.tell("WATCHDOG=1")
			}
		}
	})
	return func() {
		close(done)
		group.Wait()
	}
}
