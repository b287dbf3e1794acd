package render

import (
	"io"
	"strings"
)

// Tone says what a cell means; on a colour terminal it becomes a colour.
type Tone int

// The tones a cell may have.
const (
	Plain Tone = iota
	Good
	Warn
	Bad
	Dim
)

// Cell is one field of a table. Its text may be foreign: the table escapes it.
type Cell struct {
	Text string
	Tone Tone
}

// Column describes one column. A Flex column gives way when the table is too
// wide: its text is wrapped over several lines. Names of things belong into
// columns without Flex, so that they can be searched for and copied.
type Column struct {
	Name string
	Flex bool
}

// Table lays out rows in columns, two spaces apart, under a header.
type Table struct {
	Columns []Column
	Colour  bool // write ANSI colours
	rows    [][]Cell
}

// Row adds a row of plain text.
func (t *Table) Row(cells ...string) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		row[i] = Cell{Text: c}
	}
	t.Add(row...)
}

// Add adds a row. Missing cells are empty, surplus ones are ignored.
func (t *Table) Add(cells ...Cell) {
	row := make([]Cell, len(t.Columns))
	for i := range min(len(row), len(cells)) {
		row[i] = Cell{Text: Line(cells[i].Text), Tone: cells[i].Tone}
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

const gap = 2

// Write prints the table in at most width columns (80 when width is not
// positive), header first.
func (t *Table) Write(w io.Writer, width int) error {
	if width <= 0 {
		width = 80
	}
	widths := t.widths(width)
	header := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = Cell{Text: c.Name, Tone: Dim}
	}
	var b strings.Builder
	t.writeRow(&b, header, widths)
	for _, row := range t.rows {
		t.writeRow(&b, row, widths)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// widths gives every column its natural width and then takes from the widest
// flexible column, and only then from the widest of all, until the table fits.
func (t *Table) widths(total int) []int {
	widths := make([]int, len(t.Columns))
	sum := gap * (len(widths) - 1)
	for i, c := range t.Columns {
		widths[i] = Width(c.Name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], Width(row[i].Text))
		}
		sum += widths[i]
	}
	const narrowest = 12
	for sum > total {
		widest := -1
		for i, c := range t.Columns {
			if c.Flex && widths[i] > narrowest && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		for i := 0; widest < 0 && i < len(widths); i++ {
			if widths[i] > 1 && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		sum--
	}
	return widths
}

func (t *Table) writeRow(b *strings.Builder, row []Cell, widths []int) {
	lines := make([][]string, len(row))
	height := 1
	for i, c := range row {
		lines[i] = Wrap(c.Text, widths[i])
		height = max(height, len(lines[i]))
	}
	for y := range height {
		var line strings.Builder
		pad := 0
		for i, c := range row {
			if i > 0 {
				pad += gap
			}
			text := ""
			if y < len(lines[i]) {
				text = lines[i][y]
			}
			if text != "" {
				line.WriteString(strings.Repeat(" ", pad))
				line.WriteString(Paint(text, c.Tone, t.Colour))
				pad = 0
			}
			pad += widths[i] - Width(text)
		}
		b.WriteString(line.String())
		b.WriteByte('\n')
	}
}

// Paint colours text that is already safe to print, when on is true.
func Paint(text string, tone Tone, on bool) string {
	code := map[Tone]string{Good: "32", Warn: "33", Bad: "31", Dim: "2"}[tone]
	if !on || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
