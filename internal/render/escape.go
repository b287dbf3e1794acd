// Package render turns values into text for people.
//
// Whatever a catalog carries — names, summaries, notes, test names, logs — was
// written by somebody else. Before such text reaches a terminal it goes through
// Line or Text (or a Table, which does it for every cell), so that no control
// sequence, no hidden character and no forged line break survives: each is
// shown as a visible escape instead, `\x1b` or `\u{202e}`. Nothing is dropped,
// so two different texts never look the same because one was cleaned.
//
// Widths are terminal columns. Tables fit the given width, 80 by default.
package render

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes foreign text safe to print inside one line: control characters
// (line breaks and tabs included), invisible and direction-changing characters
// and bytes that are not UTF-8 become visible escapes.
func Line(s string) string { return escape(s, false) }

// Text is Line for text of several lines: "\n" and "\t" stay as they are.
func Text(s string) string { return escape(s, true) }

func escape(s string, multiline bool) string {
	if clean(s, multiline) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		writeRune(&b, r, s[:size], multiline)
		s = s[size:]
	}
	return b.String()
}

func clean(s string, multiline bool) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf || c == 0x7f || c < ' ' && !(multiline && (c == '\n' || c == '\t')) {
			return false
		}
	}
	return true
}

func writeRune(b *strings.Builder, r rune, raw string, multiline bool) {
	switch {
	case r == utf8.RuneError && len(raw) == 1:
		fmt.Fprintf(b, `\x%02x`, raw[0])
	case multiline && (r == '\n' || r == '\t'):
		b.WriteRune(r)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < 0x100 && unicode.IsControl(r):
		fmt.Fprintf(b, `\x%02x`, r)
	case !unicode.IsPrint(r):
		// Direction marks, zero-width joiners, separators, private use, unassigned.
		fmt.Fprintf(b, `\u{%x}`, r)
	default:
		b.WriteString(raw)
	}
}

// Writer escapes a stream as Text does, for logs shown on a terminal. A
// character cut in two by a Write is put together again; Close writes out an
// unfinished rest (escaped) and leaves the underlying writer open.
type Writer struct {
	W    io.Writer
	rest []byte
}

// Write escapes p and passes it on. It reports len(p) unless W fails.
func (w *Writer) Write(p []byte) (int, error) {
	data := append(w.rest, p...)
	keep := unfinished(data)
	if _, err := io.WriteString(w.W, Text(string(data[:len(data)-keep]))); err != nil {
		return 0, err
	}
	w.rest = append([]byte(nil), data[len(data)-keep:]...)
	return len(p), nil
}

// Close writes what is left of an incomplete character.
func (w *Writer) Close() error {
	if len(w.rest) == 0 {
		return nil
	}
	_, err := io.WriteString(w.W, Text(string(w.rest)))
	w.rest = nil
	return err
}

// unfinished counts the bytes at the end of data that may begin a character.
func unfinished(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		tail := data[len(data)-n:]
		if utf8.RuneStart(tail[0]) {
			if tail[0] >= utf8.RuneSelf && !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}
