package fetcher

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

func TestCapabilities(t *testing.T) {
	t.Parallel()
	site := Capabilities{Arch: []string{"amd64", "386"}, CPUs: 4, MemoryGiB: 16, DiskGiB: 100, Labels: []string{"ipmi", "sriov"}}
	for _, c := range []struct {
		name string
		need manifest.Requires
		want string // "" = met
	}{
		{"nothing", manifest.Requires{}, ""},
		{"exactly what is there", manifest.Requires{Arch: []string{"amd64"}, CPUs: 4, MemoryGiB: 16, DiskGiB: 100, Labels: []string{"sriov", "ipmi"}}, ""},
		{"one arch of several", manifest.Requires{Arch: []string{"arm64", "386"}}, ""},
		{"arch by its other name", manifest.Requires{Arch: []string{"X86_64"}}, ""},
		{"another arch", manifest.Requires{Arch: []string{"arm64", "riscv64"}}, "arch: arm64 or riscv64 needed, amd64, 386 here"},
		{"CPUs", manifest.Requires{CPUs: 5}, "cpus: 5 needed, 4 here"},
		{"memory", manifest.Requires{MemoryGiB: 17}, "memory_gib: 17 needed, 16 here"},
		{"disk", manifest.Requires{DiskGiB: 101}, "disk_gib: 101 needed, 100 here"},
		{"a label", manifest.Requires{Labels: []string{"ipmi", "gpu"}}, "labels: gpu needed, not here"},
		{"labels differ by case", manifest.Requires{Labels: []string{"IPMI"}}, "labels: IPMI needed, not here"},
		{"all that is missing", manifest.Requires{CPUs: 8, Labels: []string{"gpu"}}, "cpus: 8 needed, 4 here|labels: gpu needed, not here"},
	} {
		if got := strings.Join(site.unmet(c.need), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := (Capabilities{}).unmet(manifest.Requires{MemoryGiB: 1}); len(got) != 1 {
		t.Errorf("what is not known counts: %q", got)
	}
}

func TestDetectedCapabilities(t *testing.T) {
	t.Parallel()
	got := Capabilities{}.detected(t.TempDir())
	if len(got.Arch) != 1 || got.Arch[0] != runtime.GOARCH || got.CPUs < 1 || got.Labels != nil {
		t.Errorf("%+v", got)
	}
	if runtime.GOOS == "linux" && got.MemoryGiB < 1 {
		t.Errorf("no memory: %+v", got)
	}
	said := Capabilities{Arch: []string{"s390x"}, CPUs: 99, MemoryGiB: 98, DiskGiB: 97}
	if got := said.detected(t.TempDir()); got.Arch[0] != "s390x" || got.CPUs != 99 || got.MemoryGiB != 98 || got.DiskGiB != 97 {
		t.Errorf("the configuration does not win: %+v", got)
	}
	if got := (Capabilities{}).detected(filepath.Join(t.TempDir(), "absent")); got.DiskGiB != 0 {
		t.Errorf("free disk of a directory that is not there: %+v", got)
	}
}

// TestASiteWithoutTheHardwareReportsNotRun: it runs no hook and fetches nothing, says which requirement, and once it has
// the hardware the release is tested by itself. Deployments are not held to what tests require.
func TestASiteWithoutTheHardwareReportsNotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.Manifest(release(t, r1), catalogtest.Content{})
	m.Requires = manifest.Requires{MemoryGiB: 16, Labels: []string{"ipmi"}}
	publishManifest(t, w, m)
	w.Certify(r1)
	f := at(t, w, "acme/staging", "echo ran >> ran.txt")
	f.Site.Capabilities = Capabilities{MemoryGiB: 8}
	plan := f.run(t, RunOptions{DryRun: true}).Planned
	result := f.run(t, RunOptions{})
	const want = "this site does not have what the release requires: memory_gib: 16 needed, 8 here; labels: ipmi needed, not here"
	if len(result.Runs) != 1 || result.Runs[0].Verdict != manifest.NotRun || result.Runs[0].Reason != want || !result.Negative() {
		t.Fatalf("%+v", result)
	}
	if len(plan) != 1 || plan[0].NotRun != want {
		t.Errorf("a dry run says %+v", plan)
	}
	if ran := f.line(t, "ran.txt"); len(ran) > 0 {
		t.Errorf("the hook ran: %q", ran)
	}
	if here := strings.Join(names(t, f.State), " "); strings.Contains(here, "disk.img") {
		t.Errorf("it was fetched: %s", here)
	}
	if again := f.run(t, RunOptions{}); len(again.Runs) != 0 || len(reports(t, w)) != 1 {
		t.Errorf("%+v, %q", again, reports(t, w))
	}
	second := at(t, w, "acme/staging-2", "true")
	if waits := second.run(t, RunOptions{}); len(waits.Waiting) != 1 || !strings.Contains(waits.Waiting[0].Reason, "NOT_RUN") {
		t.Errorf("a chain takes it for a pass: %+v", waits)
	}
	f.Site.Capabilities = Capabilities{MemoryGiB: 16, Labels: []string{"ipmi"}}
	if err := os.RemoveAll(f.siteDir(f.Site.ID).reportPath(release(t, r1))); err != nil {
		t.Fatal(err) // its reports in the store tell as well
	}
	if result := f.run(t, RunOptions{}); len(result.Runs) != 1 || result.Runs[0].Sequence != 2 || result.Runs[0].Verdict != manifest.Passed {
		t.Errorf("%+v", result)
	}
	if here := strings.Join(names(t, f.State), " "); !strings.Contains(here, "disk.img") {
		t.Errorf("a test keeps what it fetched: %s", here)
	}
	prod := at(t, w, "acme/prod", "echo deployed >> ran.txt")
	prod.Site.Capabilities = Capabilities{MemoryGiB: 1}
	if prod.run(t, RunOptions{}); len(prod.line(t, "ran.txt")) != 1 {
		t.Errorf("it was not deployed: %s", prod.stderr.String())
	}
}
