package fetcher

import (
	"context"
	"runtime"
	"strings"
	"testing"
)

// wrapped is a suite with that many bytes of output in it, depth elements deep in all.
func wrapped(depth, output int) string {
	text := `<testcase name="t"><system-out>` + strings.Repeat("x", output) + `</system-out></testcase>`
	return strings.Repeat(`<testsuite>`, depth-2) + text + strings.Repeat(`</testsuite>`, depth-2)
}

// TestJUnitThatCostsMoreThanItIsWorth: whatever form is the worst for a reader costs a bounded multiple of its bytes.
func TestJUnitThatCostsMoreThanItIsWorth(t *testing.T) {
	const mib = 1 << 20
	for name, xml := range map[string]string{
		"deep and large":  wrapped(maxJUnitDepth, 4*mib),
		"many tests":      `<testsuite>` + strings.Repeat("<testcase/>", 4*mib/11) + `</testsuite>`,
		"many elements":   `<testsuite>` + strings.Repeat("<x/>", mib) + `</testsuite>`,
		"many attributes": `<testsuite ` + strings.Repeat(`a="" `, 3*mib/4) + `/>`,
		"a long name":     `<testsuite name="` + strings.Repeat("x", 4*mib) + `">` + strings.Repeat(`<testcase name="y"/>`, 100) + `</testsuite>`,
	} {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			err := newTests().parseJUnit(context.Background(), []byte(xml))
			if err != nil {
				t.Error(err)
			}
			spent := allocated() - before
			if times := spent / int64(len(xml)); times > 80 {
				t.Errorf("%d bytes of JUnit took %d, %d times as much", len(xml), spent, times)
			}
		})
	}
}

// allocated counts all bytes ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// TestJUnitFilesThatAreTooMuchTogether bounds the time that one run's results take.
func TestJUnitFilesThatAreTooMuchTogether(t *testing.T) {
	results := newTests()
	results.read = maxJUnitTotal - int64(len(onePassed))
	if err := results.readJUnit(context.Background(), "a.xml", strings.NewReader(onePassed)); err != nil {
		t.Error(err)
	}
	if err := results.readJUnit(context.Background(), "b.xml", strings.NewReader(onePassed)); err == nil || !strings.Contains(err.Error(), "up to b.xml they have more than 268435456 bytes") {
		t.Error(err)
	}
}
