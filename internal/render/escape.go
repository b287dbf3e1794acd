// Package render turns values into text for people.
//
// Whatever a catalog carries — names, summaries, notes, test names, logs — was
// written by somebody else. Before such text reaches a terminal it goes through
// Line or Text (or a Table, which does it for every cell), so that no control
// sequence, no hidden character and no forged line break survives: each is
// shown as a visible escape instead, `\x1b` or `\u{202e}`. Nothing is dropped,
// so two different texts never look the same because one was cleaned.
//
// Machine output is not spared: JSON keeps its values and writes the same
// characters as \u escapes, because a document ends up on a terminal, too.
//
// Widths are terminal columns. Tables fit the given width, 80 by default.
package render

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
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
	case !visible(r):
		fmt.Fprintf(b, `\u{%x}`, r)
	default:
		b.WriteString(raw)
	}
}

// JSON rewrites a JSON document so that it stays the same value and holds no
// character that Line would escape, but for the line breaks between its parts.
// The document must be valid: such characters are inside its strings then.
func JSON(doc []byte) []byte {
	if clean(string(doc), true) {
		return doc
	}
	out := make([]byte, 0, len(doc)+len(doc)/8)
	for len(doc) > 0 {
		r, size := utf8.DecodeRune(doc)
		if r != utf8.RuneError && (r == '\n' || r == '\t' || visible(r)) {
			out = append(out, doc[:size]...)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		doc = doc[size:]
	}
	return out
}

// Writer escapes a stream as Text does, for logs and the output of hooks. A
// character cut in two by a Write is put together again; Close writes out an
// unfinished rest (escaped) and leaves the underlying writer open.
type Writer struct {
	W      io.Writer
	Escape func(string) string // nil is Text
	rest   []byte
}

// Write escapes p and passes it on. It reports len(p) unless W fails.
func (w *Writer) Write(p []byte) (int, error) {
	data := append(w.rest, p...)
	keep := unfinished(data)
	if err := w.pass(data[:len(data)-keep]); err != nil {
		return 0, err
	}
	w.rest = append([]byte(nil), data[len(data)-keep:]...)
	return len(p), nil
}

// Close writes what is left of an incomplete character.
func (w *Writer) Close() error {
	rest := w.rest
	w.rest = nil
	if len(rest) == 0 {
		return nil
	}
	return w.pass(rest)
}

func (w *Writer) pass(data []byte) error {
	escape := w.Escape
	if escape == nil {
		escape = Text
	}
	_, err := io.WriteString(w.W, escape(string(data)))
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

// blanks are letters and symbols that show nothing: to a reader they are spaces, to whoever breaks lines they are none.
const blanks = "\u2800\U00013441\U00013442\U00016fe4\U0001d159"

// visible tells whether a reader sees r as what it is. Direction marks, zero-width joiners, separators, private use and
// unassigned characters are not printable; fillers and variation selectors are, and show nothing.
func visible(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && !strings.ContainsRune(blanks, r)
}
