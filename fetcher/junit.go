package fetcher

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/enovance/kitchen/manifest"
)

// Limits of JUnit results.
const (
	maxJUnitFile  = 16 << 20  // bytes of one file
	maxJUnitFiles = 1000      // files of one run
	maxJUnitTotal = 256 << 20 // bytes of all files of one run
	maxJUnitDepth = 32        // nested elements
	maxNames      = 1 << 20   // bytes of all test names in one report, as JSON
)

// tests are the names of a run's tests by outcome. A name that occurs more than once
// counts by its worst outcome.
type tests struct {
	redact redactor
	worst  map[string]int // 0 passed, 1 skipped, 2 failed
	size   int
	cut    int   // names that did not fit
	files  int   // that were read
	read   int64 // bytes of them
}

const (
	testPassed = iota
	testSkipped
	testFailed
)

func newTests() *tests { return &tests{worst: map[string]int{}} }

func (t *tests) add(name string, outcome int) {
	if len(t.redact) > 0 {
		name = manifest.CleanText(t.redact.text(name), manifest.MaxTestName)
	}
	old, known := t.worst[name]
	if known {
		t.worst[name] = max(old, outcome)
		return
	}
	// What failed always finds room: the limits leave twice as much for it.
	room := 1
	if outcome == testFailed {
		room = 2
	}
	encoded, _ := json.Marshal(name) // a string always has a JSON form
	if t.size+len(encoded) > maxNames*room/2 || len(t.worst) >= manifest.MaxTests*room/2 {
		t.cut++
		return
	}
	t.size += len(encoded)
	t.worst[name] = outcome
}

// lists gives the names sorted, as a report holds them. Skipped tests are warnings.
func (t *tests) lists() (passed, warned, failed []string) {
	for name, outcome := range t.worst {
		switch outcome {
		case testPassed:
			passed = append(passed, name)
		case testSkipped:
			warned = append(warned, name)
		default:
			failed = append(failed, name)
		}
	}
	slices.Sort(passed)
	slices.Sort(warned)
	slices.Sort(failed)
	return passed, warned, failed
}

// remark adds to a reason how many names a report leaves out.
func (t *tests) remark(reason string) string {
	if t.cut == 0 {
		return reason
	}
	return strings.TrimPrefix(reason+"; "+countWords(t.cut, "test name")+" did not fit into the report", "; ")
}

// collectResults reads a job's results.
func (t *tests) collectResults(ctx context.Context, jobDir string) error {
	root, err := openResults(jobDir)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("test results: a hook removed the folder that $KITCHEN_RESULTS names")
	}
	if err != nil {
		return fmt.Errorf("test results: the folder that $KITCHEN_RESULTS names: %w", err)
	}
	defer root.Close()
	return t.collectJUnit(ctx, root)
}

// collectJUnit reads every *.xml file below a directory. Links are not followed, and
// only regular files count.
func (t *tests) collectJUnit(ctx context.Context, root *os.Root) error {
	found := 0
	err := walkResults(ctx, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("test results: %w", err)
		}
		if d.IsDir() || !strings.EqualFold(path.Ext(name), ".xml") {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("test results: %s is not a regular file but %s", name, kindOfFile(d.Type()))
		}
		if found++; found > maxJUnitFiles {
			return fmt.Errorf("test results: more than %d files", maxJUnitFiles)
		}
		file, err := openRegular(root, name)
		if err != nil {
			return fmt.Errorf("test results: %w", err)
		}
		defer file.Close()
		return t.readJUnit(ctx, name, file)
	})
	var more *tooMuch
	if errors.As(err, &more) {
		return fmt.Errorf("test results: %w", more)
	}
	return err
}

// collectPath takes a directory's *.xml files, or one file whatever its name.
func (t *tests) collectPath(ctx context.Context, p string) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(p)
		if err != nil {
			return err
		}
		defer root.Close()
		return t.collectJUnit(ctx, root)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("test results: %s is not a regular file", p)
	}
	file, err := os.Open(p)
	if err != nil {
		return err
	}
	defer file.Close()
	return t.readJUnit(ctx, filepath.Base(p), file)
}

func (t *tests) readJUnit(ctx context.Context, name string, src io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(src, maxJUnitFile+1))
	if err != nil {
		return fmt.Errorf("test results: %s: %w", name, err)
	}
	if len(data) > maxJUnitFile {
		return fmt.Errorf("test results: %s is larger than %d bytes", name, maxJUnitFile)
	}
	t.files++
	if t.read += int64(len(data)); t.read > maxJUnitTotal {
		return fmt.Errorf("test results: up to %s they have more than %d bytes", name, maxJUnitTotal)
	}
	if err := t.parseJUnit(ctx, data); err != nil {
		return fmt.Errorf("test results: %s: %w", name, err)
	}
	return nil
}

// parseJUnit takes a document: nothing of it when anything is wrong with it. Captured output is full of stray bytes:
// these become "?", as in every other foreign text.
func (t *tests) parseJUnit(ctx context.Context, data []byte) error {
	file := newTests()
	text, err := asUTF8(data)
	if err != nil {
		return err
	}
	if err := walkJUnit(ctx, text, t.redact, file.add); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(file.worst)) {
		t.add(name, file.worst[name])
	}
	t.cut += file.cut
	return nil
}

// latin1 is the one other encoding that JUnit files are met in.
var latin1 = regexp.MustCompile(`(?i)^\s*<\?xml[^>]*encoding=["'](iso-8859-1|latin-?1|windows-1252)["']`)

// asUTF8 gives a document in UTF-8.
func asUTF8(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}), bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		return nil, errors.New("it is UTF-16; write it as UTF-8")
	case latin1.Match(data[:min(len(data), 200)]):
		text := make([]byte, 0, len(data)+len(data)/8)
		for _, b := range data {
			text = utf8.AppendRune(text, rune(b))
		}
		return text, nil
	}
	return bytes.ToValidUTF8(data, []byte("?")), nil
}

// declared takes what asUTF8 made for what the document says it is.
func declared(label string, text io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "iso-8859-1", "latin1", "latin-1", "windows-1252", "us-ascii", "ascii":
		return text, nil
	}
	return nil, fmt.Errorf("it is in %s; write it as UTF-8", manifest.CleanText(label, 40))
}

// belongsInto lists the elements that hold a test or its outcome, and where they belong ("" is the document).
// Elsewhere they are refused: what they mean there, nobody can tell.
var belongsInto = map[string][]string{
	"testsuites": {"", "testsuites"},
	"testsuite":  {"", "testsuites", "testsuite"},
	"testcase":   {"testsuites", "testsuite"},
	"failure":    {"testcase"},
	"error":      {"testcase"},
}

// walkJUnit gives every test of a document with its outcome. It holds one token and the open elements, never the
// document's tree, and refuses what is no JUnit and what contradicts itself.
func walkJUnit(ctx context.Context, data []byte, redact redactor, found func(name string, outcome int)) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = declared
	w := &junitWalk{redact: redact, open: []junitElement{{}}, found: found}
	for n := 0; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		token, err := dec.Token()
		if err == io.EOF {
			return w.end()
		}
		if err != nil {
			return err
		}
		switch element := token.(type) {
		case xml.StartElement:
			if err := w.start(element); err != nil {
				return err
			}
		case xml.EndElement:
			w.close()
		}
	}
}

type junitWalk struct {
	redact  redactor       // of names, before they are cut
	open    []junitElement // the first is the document
	found   func(name string, outcome int)
	claimed int  // failures in suites' own totals
	named   bool // whether any failure is
	any     bool
}

// junitElement is an open element. Suites carry their full name, tests what is known of them.
type junitElement struct {
	kind    string
	name    string // as the document has it
	full    string // of a suite, with those above it
	class   string
	outcome int
}

func (w *junitWalk) start(element xml.StartElement) error {
	above := &w.open[len(w.open)-1]
	e := junitElement{kind: strings.ToLower(element.Name.Local)}
	if !w.any && e.kind != "testsuite" && e.kind != "testsuites" {
		return fmt.Errorf("not JUnit: the first element is <%s>", manifest.CleanText(e.kind, 40))
	}
	w.any = true
	if len(w.open) > maxJUnitDepth {
		return fmt.Errorf("nested deeper than %d elements", maxJUnitDepth)
	}
	if places, ok := belongsInto[e.kind]; ok && !slices.Contains(places, above.kind) {
		return fmt.Errorf("a <%s> does not belong into <%s>", e.kind, manifest.CleanText(above.kind, 40))
	}
	switch e.kind {
	case "testsuites", "testsuite":
		w.claimed += failuresOf(element)
		if e.kind == "testsuite" {
			e.name = w.redact.text(attribute(element, "name"))
		}
		// No longer than a name in a report can become: it is put before each of the tests.
		e.full = manifest.CleanText(joinName(above.full, e.name), manifest.MaxTestName+utf8.UTFMax)
	case "testcase":
		e.name, e.class = w.redact.text(attribute(element, "name")), w.redact.text(attribute(element, "classname"))
	case "failure", "error":
		w.named, above.outcome = true, testFailed // also when it says "skipped" beside it
	case "skipped":
		above.outcome = max(above.outcome, testSkipped)
	}
	w.open = append(w.open, e)
	return nil
}

func (w *junitWalk) close() {
	last := len(w.open) - 1
	e, above := w.open[last], w.open[last-1]
	w.open = w.open[:last]
	if e.kind != "testcase" {
		return
	}
	if e.class == above.name {
		e.class = ""
	}
	name := manifest.CleanText(joinName(joinName(above.full, e.class), e.name), manifest.MaxTestName)
	if strings.TrimSpace(name) == "" {
		name = "unnamed"
	}
	w.found(name, e.outcome)
}

func (w *junitWalk) end() error {
	if !w.any {
		return errors.New("not JUnit: no elements")
	}
	if w.claimed > 0 && !w.named {
		return errors.New("its totals say that tests failed, and no test in it did")
	}
	return nil
}

// attribute is the last one of that name, "" without one.
func attribute(element xml.StartElement, name string) (value string) {
	for _, attr := range element.Attr {
		if attr.Name.Local == name {
			value = attr.Value
		}
	}
	return value
}

// failuresOf is what a suite says of itself: failures and errors together.
func failuresOf(suite xml.StartElement) (n int) {
	for _, attr := range suite.Attr {
		if attr.Name.Local == "failures" || attr.Name.Local == "errors" {
			if count, err := strconv.Atoi(strings.TrimSpace(attr.Value)); err == nil && count > 0 {
				n += count
			}
		}
	}
	return n
}

// joinName puts suite, class and test together: "acme/boot".
func joinName(above, name string) string {
	switch {
	case above == "":
		return name
	case name == "":
		return above
	}
	return above + "/" + name
}
