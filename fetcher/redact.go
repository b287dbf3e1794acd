package fetcher

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// redacted stands where something was taken out.
const redacted = "[redacted]"

// longestRedacted is the longest line in which patterns are looked for, in bytes. A longer one is left out as a whole:
// what is not looked through does not leave the host.
const longestRedacted = 1 << 20

// redactor takes what matches one of its patterns out of every text that leaves the host. Patterns are looked for in
// one line at a time. The empty one changes nothing.
type redactor []*regexp.Regexp

func (r redactor) text(s string) string {
	if len(r) == 0 {
		return s
	}
	lines := strings.SplitAfter(s, "\n")
	for i, line := range lines {
		lines[i] = string(r.line([]byte(line)))
	}
	return strings.Join(lines, "")
}

// line redacts one line, its newline kept out of it.
func (r redactor) line(line []byte) []byte {
	text := bytes.TrimSuffix(line, []byte("\n"))
	end := line[len(text):]
	for _, pattern := range r {
		text = pattern.ReplaceAllLiteral(text, []byte(redacted))
	}
	return append(bytes.Clone(text), end...)
}

// redactingWriter redacts a stream, whatever pieces it comes in. Flush passes on a line that has not ended.
type redactingWriter struct {
	redactor redactor
	to       io.Writer
	line     []byte
	long     int64 // bytes of a line that is left out; 0 = none is
}

func (w *redactingWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		ends := n > 0
		if !ends {
			n = len(rest)
		}
		w.take(rest[:n])
		rest = rest[n:]
		if ends {
			if err := w.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// take adds to the line, or to the count of one that has become too long.
func (w *redactingWriter) take(p []byte) {
	if w.long > 0 || len(w.line)+len(p) > longestRedacted {
		w.long += int64(len(w.line) + len(p))
		w.line = w.line[:0]
		return
	}
	w.line = append(w.line, p...)
}

// Flush passes on what there is of a line.
func (w *redactingWriter) Flush() (err error) {
	switch {
	case w.long > 0:
		_, err = fmt.Fprintf(w.to, "kitchen: a line of %d bytes is left out: too long to be redacted\n", w.long)
	case len(w.line) > 0:
		_, err = w.to.Write(w.redactor.line(w.line))
	}
	w.line, w.long = w.line[:0], 0
	return err
}
