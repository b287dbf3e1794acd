package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// readPassword reads a line without echo; io.EOF where the terminal is at its end (Ctrl-D) before the line is. An interrupt
// ends it, and gives the terminal its echo back. (x/term takes the end of a terminal for nothing typed yet.)
func readPassword(ctx context.Context, tty *os.File) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	quiet := *before
	quiet.Lflag = quiet.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return nil, err
	}
	restore := func() error { return unix.IoctlSetTermios(fd, setTermios, before) }
	type typed struct {
		line []byte
		err  error
	}
	done := make(chan typed, 1) // nobody may be there to take it any more
	go func() {
		line, err := bufio.NewReader(tty).ReadBytes('\n')
		done <- typed{bytes.TrimSuffix(line, []byte("\n")), err}
	}()
	select {
	case t := <-done:
		if t.err != nil {
			t.line = nil
		}
		return t.line, errors.Join(t.err, restore())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), restore())
	}
}
