package render

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// Width is the number of terminal columns that s takes.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if r < 0x80 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Shorten cuts s to at most n columns, the last one an ellipsis when something
// was cut.
func Shorten(s string, n int) string {
	if Width(s) <= n {
		return s
	}
	head, _ := split(s, n-1)
	return head + "…"
}

// Digest shortens a hexadecimal digest to its first twelve characters, which is
// what people compare by eye. Machine output carries digests whole.
func Digest(s string) string {
	if len(s) > 12 {
		return s[:12]
	}
	return s
}

// Wrap breaks s at spaces into lines of at most n columns; a word that is
// longer than a line is broken where the line ends. Line breaks in s stay; a
// paragraph that fits stays as it is, spaces included.
func Wrap(s string, n int) []string {
	if n < 1 {
		n = 1
	}
	var lines []string
	for _, paragraph := range strings.Split(s, "\n") {
		lines = append(lines, wrapParagraph(paragraph, n)...)
	}
	return lines
}

func wrapParagraph(s string, n int) []string {
	if Width(s) <= n {
		return []string{strings.TrimRight(s, " ")}
	}
	var words []string
	for _, word := range strings.Fields(s) {
		words = append(words, pieces(word, n)...)
	}
	return join(words, n)
}

// maxWhole bounds, in bytes, a command that Fold keeps on one line.
const maxWhole = 2000

// Fold breaks s at spaces into lines of at most n columns, as Wrap does, but leaves whole what people copy: a word, such as
// a path or a digest, and a command, between backquotes or not. One that is longer than a line has a line of its own, and
// sticks out. What stands between quotation marks, a shell's single ones too, is foreign: nothing in it keeps anything whole,
// and its words are broken where the line ends, lest the terminal do it and begin a line with what looks like Kitchen's own.
func Fold(s string, n int) []string { return fold(s, n, true) }

// FoldMixed is Fold for a text in which foreign words may stand without quotation marks: of commands it leaves only those
// between backquotes whole, so that none in what a stranger wrote has a line of its own.
func FoldMixed(s string, n int) []string { return fold(s, n, false) }

func fold(s string, n int, own bool) []string {
	if Width(s) <= n {
		return []string{strings.TrimRight(s, " ")}
	}
	n = max(n, 1)
	var words []string
	var c command
	start := 0
	var quoted, foreign byte // the mark between two of which we are, or this word is in part
	end := func(i int) {
		switch word := s[start:i]; {
		case foreign != 0:
			c = command{}
			words = append(words, pieces(word, n)...)
		case word == "":
		case own && c.takes(word, start) && i-c.start <= maxWhole:
			words[len(words)-1] = s[c.start:i]
		default:
			words = append(words, word)
		}
		start, foreign = i+1, quoted
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			end(i)
		case quoted:
			quoted = 0
		case '"':
			if quoted == 0 {
				quoted, foreign = '"', '"'
			}
		case '\'':
			if quoted == 0 && (i == start || foreign == '\'') {
				quoted, foreign = '\'', '\''
			}
		case '\\':
			if (quoted == '"' || quoted == 0 && foreign == '\'') && i+1 < len(s) && s[i+1] != ' ' {
				i++
			}
		case '`':
			if close := strings.IndexByte(s[i+1:min(len(s), i+1+maxWhole)], '`'); quoted == 0 && close >= 0 {
				i += close + 1
			}
		}
	}
	end(len(s))
	return join(words, n)
}

// command tells, word by word, how far a command of Kitchen's goes in a text without backquotes: "kitchen", up to three words
// that may be a command's name and a role, then only what looks like an option, its value, or a name of something.
type command struct {
	words  int // so far; 0: this is none
	start  int // of its first word in the text
	option bool
}

var plainWord = regexp.MustCompile(`^[a-z]+$`)

// takes tells whether a word, which begins at that place, goes on with the command before it.
func (c *command) takes(word string, at int) bool {
	if strings.TrimPrefix(word, "(") == "kitchen" {
		*c = command{words: 1, start: at}
		return false
	}
	goesOn := c.words > 0 && word[0] != '(' && (c.words <= 3 || c.option || !plainWord.MatchString(word))
	if !goesOn {
		c.words = 0
		return false
	}
	c.words++
	c.option = strings.HasPrefix(word, "--")
	if strings.ContainsAny(word[len(word)-1:], ".,:;)") {
		c.words = 0
	}
	return true
}

// pieces cuts a word into lines of at most n columns; one of a single character may be wider. None is empty.
func pieces(word string, n int) (lines []string) {
	for word != "" {
		var head string
		head, word = split(word, n)
		lines = append(lines, head)
	}
	return lines
}

// join puts as many words on each line as fit.
func join(words []string, n int) []string {
	var lines []string
	for _, word := range words {
		if last := len(lines) - 1; last >= 0 && Width(lines[last])+1+Width(word) <= n {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	if len(lines) == 0 {
		return []string{""}
	}
	return lines
}

// split cuts s after at most n columns, but after at least one character.
func split(s string, n int) (head, tail string) {
	used := 0
	for i, r := range s {
		w := runeWidth(r)
		if used+w > n && i > 0 {
			return s[:i], s[i:]
		}
		used += w
	}
	return s, ""
}

// Indent wraps s for a place that begins at column prefix, with every line after
// the first indented by as much. The first line is left to the caller.
func Indent(s string, prefix, width int) string {
	return strings.Join(Wrap(s, width-prefix), "\n"+strings.Repeat(" ", prefix))
}

// Size writes a number of bytes with a decimal unit: "12.0 MB".
func Size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", v, "kMGTP"[unit])
}

// Duration writes d with the one or two units that matter: "45s", "3h20m", "12d".
func Duration(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	switch d = d.Truncate(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return pair(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "m")
	case d < 10*24*time.Hour:
		return pair(d, 24*time.Hour, "d", time.Hour, "h")
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

func pair(d, big time.Duration, bigUnit string, small time.Duration, smallUnit string) string {
	if rest := d % big / small; rest > 0 {
		return fmt.Sprintf("%d%s%d%s", d/big, bigUnit, rest, smallUnit)
	}
	return fmt.Sprintf("%d%s", d/big, bigUnit)
}
