package fetcher

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/enovance/kitchen/manifest"
)

// Capabilities are what a site has to test releases with: [capabilities] in kitchen.toml. What is left zero is
// detected on the host, labels excepted.
type Capabilities struct {
	Arch      []string // as Go names them: amd64, arm64, …
	CPUs      int
	MemoryGiB int
	DiskGiB   int // free, where releases are fetched to
	Labels    []string
}

// detected fills in what the configuration leaves open; dir is where releases are fetched to. What the system does not
// tell stays zero.
func (c Capabilities) detected(dir string) Capabilities {
	if len(c.Arch) == 0 {
		c.Arch = []string{runtime.GOARCH}
	}
	if c.CPUs == 0 {
		c.CPUs = runtime.NumCPU()
	}
	if c.MemoryGiB == 0 {
		c.MemoryGiB = hostMemory()
	}
	if c.DiskGiB == 0 {
		c.DiskGiB = freeDisk(dir)
	}
	return c
}

// unmet lists, in words, the requirements that a site does not meet. What it does not know of itself it does not have.
func (c Capabilities) unmet(need manifest.Requires) []string {
	var list []string
	no := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	runs := func(arch string) bool {
		return slices.ContainsFunc(c.Arch, func(own string) bool { return sameArch(own, arch) })
	}
	if len(need.Arch) > 0 && !slices.ContainsFunc(need.Arch, runs) {
		no("arch: %s needed, %s here", strings.Join(need.Arch, " or "), strings.Join(c.Arch, ", "))
	}
	for _, amount := range []struct {
		name       string
		need, have int
	}{{"cpus", need.CPUs, c.CPUs}, {"memory_gib", need.MemoryGiB, c.MemoryGiB}, {"disk_gib", need.DiskGiB, c.DiskGiB}} {
		if amount.need > amount.have {
			no("%s: %d needed, %d here", amount.name, amount.need, amount.have)
		}
	}
	for _, label := range need.Labels {
		if !slices.Contains(c.Labels, label) {
			no("labels: %s needed, not here", label)
		}
	}
	return list
}

// archNames are other names of what Go calls by one.
var archNames = map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}

func sameArch(a, b string) bool {
	plain := func(name string) string {
		name = strings.ToLower(name)
		if other := archNames[name]; other != "" {
			return other
		}
		return name
	}
	return plain(a) == plain(b)
}

// lackedWords begin the reason of a NOT_RUN for what a site does not have.
const lackedWords = "this site does not have what the release requires: "

// lacks says why this site cannot test a release, "" when it can.
func (t *turn) lacks(m *manifest.Manifest) string {
	unmet := t.f.Site.Capabilities.detected(t.f.State).unmet(m.Requires)
	if len(unmet) == 0 {
		return ""
	}
	return lackedWords + strings.Join(unmet, "; ")
}

// lacked tells whether a report is such a NOT_RUN.
func lacked(r *manifest.Report) bool {
	return r.Type == manifest.ReportTest && r.Verdict() == manifest.NotRun && strings.HasPrefix(r.Reason, lackedWords)
}
