package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/manifest"
)

// TestEveryWayToPrintALineEscapesIt, whatever the type of what is printed, on a colour terminal, too.
func TestEveryWayToPrintALineEscapesIt(t *testing.T) {
	var out strings.Builder
	p := &page{w: &out, width: 4000}
	p.linef("%s %v %v %v %v", evil, errors.New(evil), []string{evil}, manifest.Release{Product: evil}, map[string]string{evil: evil})
	p.para(4, "  label: ", evil)
	p.verdict(render.Bad, evil)
	table := &render.Table{Columns: []render.Column{{Name: "A"}, {Name: "B", Flex: true}}}
	table.Row(evil, evil)
	p.table(table, "")
	p.table(&render.Table{}, evil)
	if have := out.String(); render.Text(have) != have || !strings.Contains(have, `evil \x1b[2J`) {
		t.Errorf("%q", have)
	}
}

// What programs look for stays one line; on a terminal no line is longer than it is wide.
func TestErrorLinesAreWrappedOnTerminalsOnly(t *testing.T) {
	t.Parallel()
	f := failure{Message: strings.Repeat("word ", 40), Hint: strings.Repeat("hint ", 40)}
	for _, width := range []int{0, 80} {
		var out strings.Builder
		f.write(&out, false, width)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if width == 0 && len(lines) != 2 {
			t.Errorf("%q", lines)
		}
		for i, line := range lines {
			if width > 0 && (len(line) > width || i > 0 && !strings.HasPrefix(line, "hint: ") && !strings.HasPrefix(line, "  ")) {
				t.Errorf("line %d: %q", i, line)
			}
		}
		if width > 0 && len(lines) < 6 {
			t.Errorf("not wrapped: %q", lines)
		}
	}
}

// TestANoShowsWhatChanged: why a release is not certifiable may be what changed since the last one was.
func TestANoShowsWhatChanged(t *testing.T) {
	t.Parallel()
	since := "since openstack@1.0.0 was certified: registry: acme: new site staging-2, ci, after acme/staging, key 7d6963d7 from 2026-11-26 05:36:53"
	d := &certifyDocument{Unmet: []unmetDocument{{Requirement: "validated", Detail: "validated.openstack does not list it"}}, Since: []string{since}}
	var out strings.Builder
	d.human(&page{w: &out, width: 80})
	if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), since) {
		t.Error(out.String())
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
}

// TestALineThatIsTooLongKeepsItsPathWhole: a path that does not fit has a line of its own, and can be copied.
func TestALineThatIsTooLongKeepsItsPathWhole(t *testing.T) {
	path := "/srv/" + strings.Repeat("deep/", 20) + "ann.key"
	for name, write := range map[string]func(p *page){
		"a line": func(p *page) { p.linef("  private key    %s (encrypted; keep it to yourself)", path) },
		"a paragraph": func(p *page) {
			p.para(2, "  ", "nothing reaches "+path+" any more, and it takes some room on this disk")
		},
		"a verdict": func(p *page) { p.verdict(render.Bad, "the release that lies in "+path+" is not the one") },
		"doctor":    (&doctorDocument{Checks: []doctorLine{{Area: "key of root", Status: healthOK, Detail: path + " opens"}}}).human,
		"an error": func(p *page) {
			_, _ = p.w.Write([]byte(errorLine("error: ", "the file "+path+" is not there, whoever asks", 80) + "\n"))
		},
	} {
		var out strings.Builder
		write(&page{w: &out, width: 80})
		own := false
		for line := range strings.Lines(out.String()) {
			own = own || strings.TrimSpace(line) == path
		}
		if wide := tooWide(out.String()); !own || wide != "" {
			t.Errorf("%s: too wide is %q in\n%s", name, wide, out.String())
		}
	}
}
