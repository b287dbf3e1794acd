package fetcher

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
)

// TestReleasesAreTestedInParallel: each hook waits for the other two. What is recorded, sent and said is that of one
// after the other, in order of publication.
func TestReleasesAreTestedInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2, r3} {
		ready(w, r, catalogtest.Content{})
	}
	f := at(t, w, "acme/staging", `touch here.$KITCHEN_VERSION
until test -e here.1.0.0 && test -e here.1.1.0 && test -e here.1.2.0; do sleep 0.01; done
for i in 1 2 3; do printf "line "; echo "$i of $KITCHEN_VERSION"; done; printf "no end of $KITCHEN_VERSION"
test $KITCHEN_VERSION != 1.1.0 || exit 9`)
	result := f.run(t, RunOptions{Parallel: 3})
	if got, want := verdicts(result.Runs), []string{r1 + " PASSED", r2 + " FAILED", r3 + " PASSED"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	shown := f.stderr.String()
	for _, v := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		for _, want := range []string{"line 1 of ", "line 2 of ", "line 3 of ", "no end of "} {
			if line := fmt.Sprintf("openstack@%s| %s%s\n", v, want, v); strings.Count(shown, line) != 1 {
				t.Errorf("no line %q in\n%s", line, shown)
			}
		}
		report := onlyReport(t, w, "acme/staging", "openstack@"+v)
		text := logText(t, w, report)
		if !strings.Contains(text, "line 3 of "+v) || strings.Count(text, "line ") != 3 || strings.Contains(text, "| ") {
			t.Errorf("the log of %s:\n%s", v, text)
		}
	}
	if left := names(t, filepath.Join(f.State, "site", "acme", "staging", "work")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if again := f.run(t, RunOptions{Parallel: 3}); len(again.Runs) > 0 {
		t.Errorf("a later run: %v", verdicts(again.Runs))
	}
}

func TestNoMoreReleasesAtATimeThanAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all []string
	for i := range 6 {
		r := fmt.Sprintf("openstack@1.%d.0", i)
		ready(w, r, catalogtest.Content{})
		all = append(all, r)
	}
	f := at(t, w, "acme/staging", "mkdir in.$$; ls -d in.* | wc -l >>many; "+say+"; sleep 0.05; rmdir in.$$")
	f.run(t, RunOptions{Parallel: 2})
	for _, n := range f.line(t, "many") {
		if n > "2" {
			t.Errorf("%s at a time", n)
		}
	}
	if got := f.ran(t); len(got) != len(all) || got[0] != all[0] && got[0] != all[1] {
		t.Errorf("ran %v", got)
	}
}

func TestAnInterruptionEndsAllParallelHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2, r3} {
		ready(w, r, catalogtest.Content{})
	}
	f := withSteps(at(t, w, "acme/staging", ""), `until test "$(grep -c test: steps)" = 2; do sleep 0.01; done; echo up; sleep 300`)
	f.Site.Hooks[HookSetup] = nil
	f.interrupted(t, RunOptions{Parallel: 2})
	if got := strings.Join(f.line(t, "steps"), " "); got != "test: test: teardown:ERROR teardown:ERROR" {
		t.Errorf("ran %s", got)
	}
	if sent := reports(t, w); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
}

// TestADryRunChangesNothing at a CI, and on a production host that has no record yet.
func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	threeReleases(w)
	for _, c := range []struct{ site, want string }{
		{"acme/staging", "[{openstack@1.0.0 test } {openstack@1.1.0 test } {openstack@1.2.0 test }]"},
		{"acme/staging-2", "[]"}, // waits for acme/staging
		{"acme/prod", "[{openstack@1.0.0 deploy }]"},
	} {
		f := at(t, w, c.site, say)
		result, err := f.Run(t.Context(), f.view(t), RunOptions{DryRun: true})
		if err != nil || fmt.Sprint(result.Planned) != c.want || len(result.Runs) > 0 {
			t.Errorf("%s: %+v, %v", c.site, result, err)
		}
		if c.site == "acme/staging-2" && (len(result.Waiting) != 3 || !strings.Contains(result.Waiting[0].Reason, "has not reported yet")) {
			t.Errorf("waiting %+v", result.Waiting)
		}
		if left := names(t, filepath.Join(f.State, "site")); len(left) > 0 || len(f.ran(t)) > 0 || len(reports(t, w)) > 0 {
			t.Errorf("%s: left %v, ran %v", c.site, left, f.ran(t))
		}
	}
	f := at(t, w, "acme/prod", say)
	f.run(t, RunOptions{})
	if result := f.run(t, RunOptions{DryRun: true}); fmt.Sprint(result.Planned) != "[{openstack@1.1.0 deploy }]" {
		t.Errorf("after a run: %+v", result)
	}
}
