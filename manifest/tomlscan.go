package manifest

import (
	"strconv"
	"strings"
)

const (
	maxTOMLDepth    = 32
	maxTOMLSegments = 16
)

// tomlScanner walks over a TOML document without interpreting values. It
// serves two ends: it refuses nesting that would exhaust the library's
// recursion, before the library sees it, and it knows the line of every key.
// It accepts more than TOML does; the library judges the syntax.
type tomlScanner struct {
	data   string
	pos    int
	line   int
	arrays map[string]int    // elements so far of each array of tables
	record func(path string) // told of every key, at its line; may be nil
	reason string            // why the scan stopped; empty at the end of a good document
}

// scanTOML returns an empty reason for a document the library may parse.
func scanTOML(data []byte, record func(path string, line int)) (line int, reason string) {
	s := &tomlScanner{data: string(data), line: 1, arrays: map[string]int{}}
	if record != nil {
		s.record = func(path string) { record(path, s.line) }
	}
	table := ""
	for s.reason == "" && s.skipSpace(true) {
		if s.peek() == '[' {
			table = s.header()
			continue
		}
		s.keyValue(table, 0)
	}
	return s.line, s.reason
}

// lineOf finds the line of a key by its path ("artifact[1].path"), or of the
// innermost table around it that is there. It is 0 when there is none.
func lineOf(data []byte, path string) int {
	lines := map[string]int{}
	scanTOML(data, func(p string, line int) {
		for ; p != "" && lines[p] == 0; p = parentKey(p) { // [a.b] is where a is met first
			lines[p] = line
		}
	})
	for ; path != ""; path = parentKey(path) {
		if line := lines[path]; line > 0 {
			return line
		}
	}
	return 0
}

func parentKey(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func (s *tomlScanner) stop(reason string) {
	if s.reason == "" {
		s.reason = reason
	}
	s.pos = len(s.data)
}

func (s *tomlScanner) malformed(what string) { s.stop("not valid TOML: " + what) }

func (s *tomlScanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *tomlScanner) note(path string) {
	if s.record != nil {
		s.record(path)
	}
}

// skipSpace passes blanks, and with lines newlines and comments too. It
// reports whether anything is left.
func (s *tomlScanner) skipSpace(lines bool) bool {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == ' ' || c == '\t' || c == '\r':
		case lines && c == '\n':
			s.line++
		case lines && c == '#':
			end := strings.IndexByte(s.data[s.pos:], '\n')
			if end < 0 {
				end = len(s.data) - s.pos
			}
			s.pos += end - 1
		default:
			return true
		}
		s.pos++
	}
	return false
}

// header reads "[a.b]" or "[[a.b]]" and returns the path of the table it opens.
func (s *tomlScanner) header() string {
	brackets := 1
	if strings.HasPrefix(s.data[s.pos:], "[[") {
		brackets = 2
	}
	s.pos += brackets
	segments := s.key()
	path := ""
	for i, seg := range segments {
		path = joinKey(path, seg)
		last := i == len(segments)-1
		if last && brackets == 2 {
			s.arrays[path]++
		}
		if n := s.arrays[path]; n > 0 {
			path = indexKey(path, n-1)
		}
	}
	if s.reason == "" && !strings.HasPrefix(s.data[s.pos:], "]]"[:brackets]) {
		s.malformed("a table's header lacks its closing bracket")
		return path
	}
	s.pos = min(s.pos+brackets, len(s.data))
	s.note(path)
	return path
}

// key reads a dotted key and the blanks around it.
func (s *tomlScanner) key() []string {
	var segments []string
	for s.skipSpace(false) {
		start := s.pos
		seg := ""
		if c := s.peek(); c == '"' || c == '\'' {
			s.quoted()
			seg = unquoteKey(s.data[start:s.pos])
		} else {
			for s.pos < len(s.data) && !strings.ContainsRune(" \t\r\n=.[]{}#\"',", rune(s.data[s.pos])) {
				s.pos++
			}
			seg = s.data[start:s.pos]
		}
		if s.pos == start {
			s.malformed("expected a key")
			return nil
		}
		if segments = append(segments, seg); len(segments) > maxTOMLSegments {
			s.stop("a key has more than 16 segments")
			return nil
		}
		if s.skipSpace(false); s.peek() != '.' {
			return segments
		}
		s.pos++
	}
	s.malformed("expected a key")
	return nil
}

func unquoteKey(quoted string) string {
	if plain, err := strconv.Unquote(quoted); err == nil {
		return plain
	}
	return strings.Trim(quoted, `'"`)
}

func (s *tomlScanner) keyValue(table string, depth int) {
	path := table
	for _, seg := range s.key() {
		path = joinKey(path, seg)
	}
	if s.reason != "" {
		return
	}
	s.note(path)
	if s.peek() != '=' {
		s.malformed("expected '=' after the key")
		return
	}
	s.pos++
	s.value(path, depth)
}

func (s *tomlScanner) value(path string, depth int) {
	if depth > maxTOMLDepth {
		s.stop("nested more than 32 levels deep")
		return
	}
	if !s.skipSpace(false) {
		s.malformed("a value is missing")
		return
	}
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.list(']', func(i int) {
			elem := indexKey(path, i)
			s.note(elem)
			s.value(elem, depth+1)
		})
	case '{':
		s.list('}', func(int) { s.keyValue(path, depth+1) })
	default:
		start := s.pos
		for s.pos < len(s.data) && !strings.ContainsRune(",]}#\r\n", rune(s.data[s.pos])) {
			s.pos++
		}
		if s.pos == start {
			s.malformed("a value is missing")
		}
	}
}

// list reads what stands between brackets, separated by commas.
func (s *tomlScanner) list(end byte, item func(i int)) {
	s.pos++
	for i := 0; s.skipSpace(true); {
		switch s.peek() {
		case end:
			s.pos++
			return
		case ',':
			s.pos++
		default:
			item(i)
			i++
		}
	}
	s.malformed("a list or inline table is not closed")
}

// quoted passes a string of any of the four forms.
func (s *tomlScanner) quoted() {
	quote := s.data[s.pos : s.pos+1]
	rest := s.data[s.pos:]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(rest, triple) {
		s.pos += 3
		s.until(triple, quote == `"`, true)
		for range 2 { // up to two quotes may stand just before the closing three
			if strings.HasPrefix(s.data[s.pos:], quote) {
				s.pos++
			}
		}
		return
	}
	s.pos++
	s.until(quote, quote == `"`, false)
}

func (s *tomlScanner) until(end string, escapes, lines bool) {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case strings.HasPrefix(s.data[s.pos:], end):
			s.pos += len(end)
			return
		case c == '\n' && !lines:
			s.malformed("a string is not closed")
			return
		case c == '\n':
			s.line++
		case c == '\\' && escapes && s.pos+1 < len(s.data) && s.data[s.pos+1] != '\n':
			s.pos++
		}
		s.pos++
	}
	s.malformed("a string is not closed")
}
