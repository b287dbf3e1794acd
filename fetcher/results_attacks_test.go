package fetcher

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/catalog/catalogtest"
	"github.com/enovance/kitchen/manifest"
)

// attached gives the attachments of a report by name, read back from the store.
func attached(t *testing.T, w *catalogtest.World, r catalog.VerifiedReport) map[string]string {
	t.Helper()
	v, err := w.Open(t.TempDir()).Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, a := range r.Attachments {
		file, err := v.ReadAttachment(context.Background(), r, a.Name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(file)
		if err != nil || int64(len(text)) != a.RawSize {
			t.Fatalf("%s: %d bytes, %v", a.Name, len(text), err)
		}
		files[a.Name] = string(text)
	}
	return files
}

// TestResultsThatLeadOutOfTheirDirectory: nothing but files that the hook left goes along; what does not is said, and
// decides nothing.
func TestResultsThatLeadOutOfTheirDirectory(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, hook string
		verdict    string
		says       string
		want       []string
	}{
		{"a link to a file", "ln -s /etc/passwd $KITCHEN_RESULTS/passwd", manifest.Passed, "not attached: passwd is a link, which is not followed", nil},
		{"a link to the site's key", "ln -s $PWD/secret $KITCHEN_RESULTS/a", manifest.Passed, "not attached: a is a link", nil},
		{"a link to a directory", "ln -s /etc $KITCHEN_RESULTS/etc", manifest.Passed, "not attached: etc is a link", nil},
		{"a link within", "cd $KITCHEN_RESULTS; mkdir run-1; echo x >run-1/log.txt; ln -s run-1 latest", manifest.Passed, "latest is a link", []string{"run-1/log.txt"}},
		{"a link in place of the directory", "rmdir $KITCHEN_RESULTS; ln -s $PWD $KITCHEN_RESULTS", manifest.Errored, "results", nil},
		{"JUnit that is a link", "ln -s $PWD/passed.xml $KITCHEN_RESULTS/r.xml", manifest.Errored, "r.xml is not a regular file but a link", nil},
		{"a pipe", "mkfifo $KITCHEN_RESULTS/pipe", manifest.Passed, "not attached: pipe is a pipe", nil},
		{"JUnit that is a pipe", "mkfifo $KITCHEN_RESULTS/r.xml", manifest.Errored, "r.xml is not a regular file but a pipe", nil},
		{"a name that moves the cursor", "echo x >$KITCHEN_RESULTS/\"$(printf 'a\\033[2Jb')\"", manifest.Passed, "not attached: a?[2Jb has a name that a report cannot hold", nil},
		{"a name that is not UTF-8", "echo x >$KITCHEN_RESULTS/\"$(printf 'a\\377')\"", manifest.Passed, "has a name that a report cannot hold", nil},
		{"a file beyond the cap", "truncate -s 2001 $KITCHEN_RESULTS/core; echo x >$KITCHEN_RESULTS/small", manifest.Passed, "not attached: core is larger than 2000 bytes", []string{"small"}},
		{"a file that pretends to be endless", "truncate -s 1T $KITCHEN_RESULTS/core", manifest.Passed, "core is larger than 2000 bytes", nil},
		{"files beyond the count", "for i in 1 2 3 4 5; do echo $i >$KITCHEN_RESULTS/$i; done", manifest.Passed, "not attached: 4 is beyond the 3 files that a report takes, and 1 more", []string{"1", "2", "3"}},
		{"files beyond the total", "for i in 1 2; do truncate -s 1900 $KITCHEN_RESULTS/$i; done", manifest.Passed, "not attached: 2 is larger than the 1100 bytes that are left for it", []string{"1"}},
		{"a failed hook keeps its verdict", "mkfifo $KITCHEN_RESULTS/pipe; exit 3", manifest.Failed, "exit code 3; not attached: pipe is a pipe", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ready(w, r1, catalogtest.Content{})
			ready(w, r2, catalogtest.Content{})
			f := at(t, w, "acme/staging", "test $KITCHEN_VERSION = 1.0.0 || exit 0\n"+c.hook)
			for name, text := range map[string]string{"secret": "the key", "passed.xml": onePassed} {
				if err := os.WriteFile(filepath.Join(f.Site.Dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f.Content = ReportContent{MaxAttachment: 2000, MaxAttachments: 3, MaxTotal: 3000}
			result := f.run(t, RunOptions{})
			if got := verdicts(result.Runs); !slices.Equal(got, []string{r1 + " " + c.verdict, r2 + " PASSED"}) {
				t.Fatalf("got %v: %s", got, result.Runs[0].Reason)
			}
			report := onlyReport(t, w, "acme/staging", r1)
			if !strings.Contains(report.Reason, c.says) {
				t.Errorf("reason %q, want %q", report.Reason, c.says)
			}
			got := attached(t, w, report)
			if len(got) != len(c.want) {
				t.Errorf("attached %v", got)
			}
			for _, name := range c.want {
				if _, ok := got[name]; !ok {
					t.Errorf("%s is not attached", name)
				}
			}
			if objects := storedLogs(t, w); len(objects) != 2+len(c.want) {
				t.Errorf("the store has %v", objects)
			}
		})
	}
}

// storedLogs lists the logs and attachments in the store.
func storedLogs(t *testing.T, w *catalogtest.World) (keys []string) {
	t.Helper()
	for info, err := range w.Store.List(context.Background(), "reports/acme/staging/_logs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// TestSecretsDoNotLeaveTheHost: whatever a site's patterns match is in no log, reason, name or text that is sent, and
// not on disk in the spool either.
func TestSecretsDoNotLeaveTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ready(w, r1, catalogtest.Content{})
	f := at(t, w, "acme/staging", `echo "token=hunter2 rest"; printf 'tok'; sleep 0.05; printf 'en=hunter2 in pieces'; sleep 0.05; echo .
cat >$KITCHEN_RESULTS/r.xml <<'END'
<testsuite name="s"><testcase classname="login token=hunter2" name="a"/><testcase name="b token=hunter2"><failure/></testcase></testsuite>
END
echo "first
url?token=hunter2&x" >$KITCHEN_RESULTS/trace.txt
printf 'a\0token=hunter2' >$KITCHEN_RESULTS/core
echo x >$KITCHEN_RESULTS/token=hunter2.txt
head -c 3000000 /dev/zero | tr '\0' x; echo " token=hunter2"
printf 'no newline token=hunter2'`)
	f.Content.Redact = patterns(t, `token=\w+`)
	result := f.run(t, RunOptions{})
	report := onlyReport(t, w, "acme/staging", r1)
	statement, err := report.Statement()
	if err != nil {
		t.Fatal(err)
	}
	text, files := logText(t, w, report), attached(t, w, report)
	for what, sent := range map[string]string{"statement": string(statement), "log": text, "trace.txt": files["trace.txt"], "answer": result.Runs[0].Reason} {
		if strings.Contains(sent, "hunter2") {
			t.Errorf("the %s has it: %.300s", what, sent)
		}
	}
	for _, want := range []string{"[redacted] rest\n", "[redacted] in pieces.\n", "kitchen: a line of 3000015 bytes is left out: too long to be redacted\n", "no newline [redacted]"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if files["trace.txt"] != "first\nurl?[redacted]&x\n" || files["core"] != "a\x00token=hunter2" || files["[redacted].txt"] != "x\n" {
		t.Errorf("files %q", files)
	}
	if !slices.Equal(report.Passed, []string{"s/login [redacted]/a"}) || !slices.Equal(report.Failed, []string{"s/b [redacted]"}) {
		t.Errorf("passed %v, failed %v", report.Passed, report.Failed)
	}
}

// TestHooksThatMisbehaveDoNotStopTheNext: one leaves a child behind that holds its output, one prints no text.
func TestHooksThatMisbehaveDoNotStopTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range []string{r1, r2, r3} {
		ready(w, r, catalogtest.Content{})
	}
	f := at(t, w, "acme/staging", `case $KITCHEN_VERSION in
1.0.0) (trap "" TERM; sleep 300) & ;;
1.1.0) printf 'a\0b\377\033[2J'; head -c 100000 /dev/urandom; exit 4 ;;
esac; echo last line`)
	f.Site.HookGrace = 200 * time.Millisecond
	result := f.run(t, RunOptions{})
	if got, want := verdicts(result.Runs), []string{r1 + " PASSED", r2 + " FAILED", r3 + " PASSED"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if text := logText(t, w, onlyReport(t, w, "acme/staging", r1)); !strings.Contains(text, "processes that the hook left behind were ended") {
		t.Errorf("the log of the one that stays: %s", text)
	}
	if text := logText(t, w, onlyReport(t, w, "acme/staging", r2)); !strings.Contains(text, "a\x00b\xff\x1b[2J") || len(text) < 100_000 {
		t.Errorf("%d bytes of a log that is no text", len(text))
	}
}
