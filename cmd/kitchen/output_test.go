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
	p := &page{w: &out, width: 40}
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
