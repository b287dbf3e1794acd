package fetcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// TestAHookPlantsWhatKitchenWritesNext: pipes and links in the private folder, under names that Kitchen itself might use
// once the hook has ended, keep nobody waiting and lead no write elsewhere.
func TestAHookPlantsWhatKitchenWritesNext(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]string{
		"pipes": "mkfifo $f",
		"links": "ln -s $PWD/victim $f",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", say+"; cd $KITCHEN_WORK/..; for f in probe log log.zst begun; do rm -f $f; "+strings.ReplaceAll(plant, "$PWD", "$OLDPWD")+"; done")
			victim := filepath.Join(f.Site.Dir, "victim")
			if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := f.inTime(t, RunOptions{}); err != nil {
				t.Fatal(err)
			}
			if report := onlyReport(t, w, "acme/staging", r1); report.Verdict() != manifest.Passed {
				t.Errorf("%s: %s", report.Verdict(), report.Reason)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
				t.Errorf("the file outside holds %q, %v", text, err)
			}
		})
	}
}

// TestAHookTakesTheFolderOfItsRunAway: what it leaves cannot be read then. It is said as what it is, nothing elsewhere is
// touched, and the next release goes on.
func TestAHookTakesTheFolderOfItsRunAway(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]string{
		"gone":   "",
		"a pipe": "; mkfifo $run || ls -ld $run",
		"a link": "; mkdir other other/results other/scratch; echo x >other/results/secret; ln -s $PWD/other $run",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			f := at(t, w, "acme/staging", say+"; run=${KITCHEN_WORK%/*}; while [ -d $run ]; do rm -rf $run; done"+put)
			if _, err := f.inTime(t, RunOptions{}); err != nil {
				t.Fatal(err)
			}
			report := onlyReport(t, w, "acme/staging", r1)
			if report.Verdict() != manifest.Errored || report.Reason != "the hook removed or replaced the folder of its run" || len(report.Attachments) > 0 {
				t.Errorf("%s: %q, %+v\n%s", report.Verdict(), report.Reason, report.Attachments, logText(t, w, report))
			}
			logText(t, w, report)
			if _, err := os.Stat(filepath.Join(f.Site.Dir, "other", "results", "secret")); name == "a link" && err != nil {
				t.Errorf("the other folder: %v", err)
			}
			ready(w, r2, catalogtest.Content{})
			f.hooks(say)
			if _, err := f.inTime(t, RunOptions{}); err != nil {
				t.Fatal(err)
			}
			f.assertRan(t, r1, r2)
		})
	}
}
