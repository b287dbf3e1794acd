package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// readPassword reads a line without echo; io.EOF where the terminal is at its end (Ctrl-D) before the line is. The terminal
// has its echo back whenever nobody is asked: when an interrupt ends it, and while Ctrl-Z has stopped it. (x/term takes the
// end of a terminal for nothing typed yet.)
func readPassword(ctx context.Context, tty *os.File) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	quiet := *before
	quiet.Lflag = quiet.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	restore := func() error { return unix.IoctlSetTermios(fd, setTermios, before) }
	jobs := make(chan os.Signal, 4)
	signal.Notify(jobs, unix.SIGTSTP, unix.SIGCONT)
	defer signal.Stop(jobs)
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return nil, err
	}
	type typed struct {
		line []byte
		err  error
	}
	done := make(chan typed, 1) // nobody may be there to take it any more
	go func() {
		line, err := bufio.NewReader(tty).ReadBytes('\n')
		done <- typed{bytes.TrimSuffix(line, []byte("\n")), err}
	}()
	for {
		select {
		case t := <-done:
			if t.err != nil {
				t.line = nil
			}
			return t.line, errors.Join(t.err, restore())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), restore())
		case s := <-jobs:
			if s == unix.SIGCONT { // whoever had the terminal meanwhile left it with modes of his own
				err = unix.IoctlSetTermios(fd, setTermios, &quiet)
			} else {
				err = suspend(restore)
			}
			if err != nil {
				return nil, errors.Join(err, restore())
			}
		}
	}
}

// suspend stops this process as SIGTSTP would, had nobody asked for that: not where there is no shell to let it go on.
func suspend(restore func() error) error {
	if leader, err := unix.Getsid(0); err != nil || leader == unix.Getpgrp() {
		return err
	}
	if err := restore(); err != nil {
		return err
	}
	return unix.Kill(unix.Getpid(), unix.SIGSTOP)
}
