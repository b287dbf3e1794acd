package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/render"
)

// A document is a command's one result: a versioned JSON value, or its
// rendering for people.
type document interface {
	// human writes it as lines and tables; every foreign text in it is escaped.
	human(p *page)
}

// show prints a command's result, in the form the user asked for. It is called
// exactly once a command, and only when the result is complete.
func (k *kitchen) show(d document) error {
	var out bytes.Buffer
	if k.global.json {
		text, err := encodeJSON(d)
		if err != nil {
			return err
		}
		out.Write(text)
	} else {
		d.human(&page{w: &out, width: k.width, colour: k.colour})
	}
	_, err := k.stdout.Write(out.Bytes())
	return err
}

// encodeJSON is a document as machines get it. What would drive a terminal is escaped in it.
func encodeJSON(d any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return nil, err
	}
	return render.JSON(out.Bytes()), nil
}

// foreign is where a program that kitchen starts may print: stderr, escaped.
func (k *kitchen) foreign() io.Writer { return &render.Writer{W: k.stderr} }

// warn tells what does not change the answer, on stderr: people at once, machines at the end, so that an error stays
// one document.
func (k *kitchen) warn(message string) {
	if k.quiet {
		return
	}
	if k.global.json {
		k.warnings = append(k.warnings, message)
		return
	}
	fmt.Fprintln(k.stderr, errorLine("warning: ", render.Line(message), k.stderrWidth))
}

// showWarnings prints what machines are still to be told, a line each.
func (k *kitchen) showWarnings() {
	for _, message := range k.warnings {
		line, err := json.Marshal(map[string]string{"schema": "kitchen.warning/v1", "warning": message})
		if err == nil {
			fmt.Fprintf(k.stderr, "%s\n", render.JSON(line))
		}
	}
}

// page is where a document writes itself for people.
type page struct {
	w      io.Writer
	width  int
	colour bool
}

// linef prints one line, or several, indented, where the page is too narrow. Its arguments are foreign text as far as
// it knows, whatever their type: the line is escaped as a whole.
func (p *page) linef(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.para(2+len(text)-len(strings.TrimLeft(text, " ")), "", text)
}

// para prints a label and foreign text, wrapped to the page; later lines are
// indented by indent columns. Text that begins with spaces stands that much further in.
func (p *page) para(indent int, label, text string) {
	if strings.Trim(label, " ") == "" {
		deeper := len(text) - len(strings.TrimLeft(text, " "))
		label, text, indent = label+text[:deeper], text[deeper:], indent+deeper
	}
	margin := len(label) - len(strings.TrimLeft(label, " "))
	lines := []string{label[margin:] + render.Line(text)}
	if margin+render.Width(lines[0]) > p.width {
		lines = render.Fold(lines[0], p.width-max(margin, indent))
	}
	for i, line := range lines {
		if i > 0 {
			margin = indent
		}
		fmt.Fprintf(p.w, "%*s%s\n", margin, "", line)
	}
}

// verdict prints one line in the colour of what it says.
func (p *page) verdict(tone render.Tone, text string) {
	for i, line := range render.Fold(render.Line(text), p.width-2) {
		if i > 0 {
			line = "  " + line
		}
		fmt.Fprintln(p.w, render.Paint(line, tone, p.colour))
	}
}

// table prints a table, or the given line when it is empty.
func (p *page) table(t *render.Table, empty string) {
	if t.Len() == 0 {
		p.linef("%s", empty)
		return
	}
	t.Colour = p.colour
	_ = t.Write(p.w, p.width) // into a buffer: cannot fail
}

// toneOf colours verdicts, stages and results.
func toneOf(word string) render.Tone {
	switch word {
	case "PASSED", "ready-to-deploy", "deployed", "committed":
		return render.Good
	case "WARNED", "NOT_RUN", "pending", "published":
		return render.Warn
	case "FAILED", "ERROR", "recalled", statusRefused:
		return render.Bad
	case "", "-":
		return render.Dim
	}
	return render.Plain
}

func toned(word string) render.Cell { return render.Cell{Text: word, Tone: toneOf(word)} }

// dash is how an empty cell is shown.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// stamp is a time in machine output: RFC 3339, UTC, whole seconds; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// list makes an empty JSON list of a nil slice.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}
