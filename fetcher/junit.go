package fetcher

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	junit "github.com/joshdk/go-junit"

	"github.com/enovance/kitchen/manifest"
)

// Limits of JUnit results.
const (
	maxJUnitFile  = 16 << 20 // bytes of one file
	maxJUnitFiles = 1000     // files of one run
	maxJUnitDepth = 32       // nested elements
	maxNames      = 1 << 20  // bytes of all test names in one report, as JSON
)

// tests are the names of a run's tests by outcome. A name that occurs more than once
// counts by its worst outcome.
type tests struct {
	worst map[string]int // 0 passed, 1 skipped, 2 failed
	size  int
	cut   int // names that did not fit
}

const (
	testPassed = iota
	testSkipped
	testFailed
)

func newTests() *tests { return &tests{worst: map[string]int{}} }

func (t *tests) add(name string, outcome int) {
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

// collectJUnit reads every *.xml file below a directory. Links are not followed, and
// only regular files count.
func (t *tests) collectJUnit(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	found := 0
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("test results: %w", err)
		}
		if d.IsDir() || !strings.EqualFold(path.Ext(name), ".xml") {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("test results: %s is not a regular file", name)
		}
		if found++; found > maxJUnitFiles {
			return fmt.Errorf("test results: more than %d files", maxJUnitFiles)
		}
		file, err := root.Open(name)
		if err != nil {
			return fmt.Errorf("test results: %w", err)
		}
		defer file.Close()
		return t.readJUnit(name, file)
	})
}

// collectPath takes a directory's *.xml files, or one file whatever its name.
func (t *tests) collectPath(p string) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.collectJUnit(p)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("test results: %s is not a regular file", p)
	}
	file, err := os.Open(p)
	if err != nil {
		return err
	}
	defer file.Close()
	return t.readJUnit(filepath.Base(p), file)
}

func (t *tests) readJUnit(name string, src io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(src, maxJUnitFile+1))
	if err != nil {
		return fmt.Errorf("test results: %s: %w", name, err)
	}
	if len(data) > maxJUnitFile {
		return fmt.Errorf("test results: %s is larger than %d bytes", name, maxJUnitFile)
	}
	if err := t.parseJUnit(data); err != nil {
		return fmt.Errorf("test results: %s: %w", name, err)
	}
	return nil
}

// parseJUnit takes a document. Captured output is full of stray bytes: these become
// "?", as in every other foreign text.
func (t *tests) parseJUnit(data []byte) error {
	data = bytes.ToValidUTF8(data, []byte("?"))
	if err := checkXML(data); err != nil {
		return err
	}
	// Some write tests right into <testsuites>, where the reader does not look: it is read as a suite without a name.
	asSuite := outerSuite.ReplaceAll(data, []byte("<${1}testsuite"))
	suites, err := junit.Ingest(asSuite)
	if err != nil {
		return err
	}
	for _, suite := range suites {
		if len(asSuite) != len(data) {
			suite.Name = ""
		}
		t.suite("", suite)
	}
	return nil
}

var outerSuite = regexp.MustCompile(`<(/?)testsuites\b`)

// belongsInto lists the elements that hold a test or its outcome, and where the reader
// of JUnit files looks for them ("" is the document). It does not see them elsewhere.
var belongsInto = map[string][]string{
	"testsuites": {"", "testsuites"},
	"testsuite":  {"", "testsuites", "testsuite"},
	"testcase":   {"testsuites", "testsuite"},
	"failure":    {"testcase"},
	"error":      {"testcase"},
}

// checkXML refuses what the reader of JUnit files would descend into without end, what
// it would pass over although it tells a test's outcome, and what is not JUnit at all.
func checkXML(data []byte) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	within, any := []string{""}, false // the open elements
	claimed, named := 0, false         // failures in suites' own totals; whether any is named
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch element := token.(type) {
		case xml.StartElement:
			name, parent := element.Name.Local, within[len(within)-1]
			if !any && name != "testsuite" && name != "testsuites" {
				return fmt.Errorf("not JUnit: the first element is <%s>", manifest.CleanText(name, 40))
			}
			any = true
			if len(within) > maxJUnitDepth {
				return fmt.Errorf("nested deeper than %d elements", maxJUnitDepth)
			}
			if places, ok := belongsInto[name]; ok && !slices.Contains(places, parent) {
				return fmt.Errorf("a <%s> does not belong into <%s>", name, manifest.CleanText(parent, 40))
			}
			within = append(within, name)
			switch name {
			case "testsuites", "testsuite":
				claimed += failuresOf(element)
			case "failure", "error":
				named = true
			}
		case xml.EndElement:
			within = within[:len(within)-1]
		}
	}
	if !any {
		return errors.New("not JUnit: no elements")
	}
	if claimed > 0 && !named {
		return errors.New("its totals say that tests failed, and no test in it did")
	}
	return nil
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

func (t *tests) suite(above string, s junit.Suite) {
	name := joinName(above, s.Name)
	for _, test := range s.Tests {
		outcome := testPassed
		switch test.Status {
		case junit.StatusSkipped:
			outcome = testSkipped
		case junit.StatusFailed, junit.StatusError:
			outcome = testFailed
		}
		if test.Error != nil {
			outcome = testFailed // also when it says "skipped" after that
		}
		class := test.Classname
		if class == s.Name {
			class = ""
		}
		full := manifest.CleanText(joinName(joinName(name, class), test.Name), manifest.MaxTestName)
		if strings.TrimSpace(full) == "" {
			full = "unnamed"
		}
		t.add(full, outcome)
	}
	for _, inner := range s.Suites {
		t.suite(name, inner)
	}
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
