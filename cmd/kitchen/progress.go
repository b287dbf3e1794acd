package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/enovance/kitchen/internal/progress"
	"github.com/enovance/kitchen/internal/render"
	"github.com/schollz/progressbar/v3"
)

// longestSilence is how long nothing may be shown while work goes on.
const longestSilence = 4 * time.Second

// smallTask is the size, in bytes, below which a task is not worth a line.
const smallTask = 1_000_000

// display shows progress on stderr: one bar for all open tasks on a terminal,
// plain lines elsewhere, and a sign of life whenever nothing else was shown for
// longestSilence. It is the program's progress.Sink. All of stderr goes through
// it, so that lines and the bar do not mix.
type display struct {
	out      io.Writer
	terminal bool // one that understands what wipes a line
	silent   bool // --no-progress: tasks and signs of life are not shown; notes are
	terse    bool // show nothing before longestSilence has passed (-o json)
	now      func() time.Time

	mu     sync.Mutex
	tasks  []*task
	bar    *progressbar.ProgressBar
	shown  time.Time // when something was shown last
	start  time.Time
	doing  string // what is going on, as far as known
	paused bool   // somebody is asked for a password
	stays  bool   // a service: silence is no cause for concern

	stop chan struct{}
	done chan struct{}
}

// begin starts the clock; end must follow.
func (d *display) begin() {
	d.start = d.now()
	d.shown = d.start
	d.stop, d.done = make(chan struct{}), make(chan struct{})
	go d.watch()
}

func (d *display) end() {
	close(d.stop)
	<-d.done
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

func (d *display) watch() {
	defer close(d.done)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-tick.C:
			d.mu.Lock()
			d.signOfLife()
			d.mu.Unlock()
		}
	}
}

// signOfLife shows what goes on when nothing was shown for too long. Called with mu held.
func (d *display) signOfLife() {
	now := d.now()
	if d.silent || d.paused || d.stays || now.Sub(d.shown) < longestSilence-500*time.Millisecond {
		return
	}
	if d.bar != nil {
		_ = d.bar.RenderBlank()
		d.shown = now
		return
	}
	if len(d.tasks) == 0 {
		what := d.doing
		if what == "" {
			what = "working"
		}
		d.line(fmt.Sprintf("still %s (%s)", what, render.Duration(now.Sub(d.start))))
		return
	}
	for _, t := range d.tasks {
		d.line(t.describe(now))
	}
}

// line prints one line of progress. Called with mu held.
func (d *display) line(s string) {
	d.clear()
	fmt.Fprintln(d.out, render.Line(s))
	d.shown = d.now()
}

// wipe clears the line on which the cursor stands, whatever its length.
const wipe = "\r\x1b[2K"

// clear takes the bar off the screen; the next Add draws it again. It does not ask the bar, which does not know how long
// its last line was. Called with mu held.
func (d *display) clear() {
	if d.bar != nil {
		_, _ = io.WriteString(d.out, wipe)
	}
}

// Write passes other output to stderr, between two redraws of the bar.
func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	d.shown = d.now()
	return d.out.Write(p)
}

// pause keeps the display quiet while a person types; call the result afterwards.
func (d *display) pause() (resume func()) {
	d.mu.Lock()
	d.clear()
	d.paused = true
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.paused, d.shown = false, d.now()
		d.mu.Unlock()
	}
}

// stay ends the signs of life: what is shown from now on are events.
func (d *display) stay() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stays = true
}

// Note implements progress.Sink.
func (d *display) Note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doing = line
	if !d.terse {
		for i, part := range render.Wrap(render.Line(line), d.noteWidth()) {
			d.line(strings.Repeat("  ", min(i, 1)) + part)
		}
	}
}

// noteWidth is how wide a note is written: a service that logs to a file has it on one line.
func (d *display) noteWidth() int {
	if d.stays && !d.terminal {
		return math.MaxInt
	}
	return 78
}

// Start implements progress.Sink.
func (d *display) Start(label string, total int64) progress.Task {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &task{display: d, label: label, total: total, begun: d.now()}
	d.tasks = append(d.tasks, t)
	d.doing = label
	switch {
	case d.silent || d.terse:
	case d.terminal:
		d.redraw()
	case total >= smallTask:
		d.line(t.describe(t.begun))
	}
	return t
}

// redraw makes the bar fit the open tasks. Called with mu held.
func (d *display) redraw() {
	if len(d.tasks) == 0 {
		d.clear()
		d.bar = nil
		return
	}
	label, count := d.tasks[len(d.tasks)-1].label, int64(0)
	for _, t := range d.tasks {
		count += t.count
	}
	total := d.total()
	if len(d.tasks) > 1 {
		label = fmt.Sprintf("%s (+%d)", label, len(d.tasks)-1)
	}
	label = render.Shorten(render.Line(label), 30)
	if d.bar == nil { // one that draws when it is told to, never by itself
		d.bar = progressbar.NewOptions64(max(total, -1), progressbar.OptionSetWriter(d.out), progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(20), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionSetDescription(label), progressbar.OptionSetRenderBlankState(true))
	}
	d.bar.Describe(label)
	d.bar.ChangeMax64(total)
	_ = d.bar.Set64(count)
	d.shown = d.now()
}

// total is what the open tasks have to move, -1 when that is not known. Called with mu held.
func (d *display) total() (total int64) {
	for _, t := range d.tasks {
		if t.total < 0 {
			return -1
		}
		total += t.total
	}
	return total
}

// task is one transfer. Its fields are guarded by the display's mu.
type task struct {
	display *display
	label   string
	total   int64
	count   int64
	begun   time.Time
	ended   bool
}

// Add implements progress.Task.
func (t *task) Add(n int64) {
	d := t.display
	d.mu.Lock()
	defer d.mu.Unlock()
	t.count += n
	if d.bar != nil && !t.ended && !d.paused && !d.silent {
		_ = d.bar.Add64(n)
		d.shown = d.now()
	}
}

// Skip implements progress.Shrinking. What went on before the first byte moved is no transfer: it slows none down.
func (t *task) Skip(n int64) {
	d := t.display
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.total < 0 || t.ended {
		return
	}
	t.total -= n
	if t.count == 0 {
		t.begun = d.now()
	}
	if d.bar != nil && !d.paused && !d.silent {
		if total := d.total(); total > 0 { // a bar without a total is another one
			d.bar.ChangeMax64(total)
		}
	}
}

// Done implements progress.Task.
func (t *task) Done(err error) {
	d := t.display
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	d.tasks = slices.DeleteFunc(d.tasks, func(o *task) bool { return o == t })
	switch {
	case d.silent || d.terse:
	case d.terminal:
		d.redraw()
		fallthrough
	default:
		if err == nil && t.count >= smallTask {
			d.line(t.finished(d.now()))
		}
	}
}

func (t *task) describe(now time.Time) string {
	spent := now.Sub(t.begun)
	switch {
	case t.count == 0 && t.total > 0:
		return fmt.Sprintf("%s: %s", t.label, render.Size(t.total))
	case t.count == 0:
		return t.label
	case t.total > 0:
		return fmt.Sprintf("%s: %d%% of %s%s%s", t.label, t.count*100/t.total, render.Size(t.total), rate(t.count, spent), left(t.count, t.total, spent))
	default:
		return fmt.Sprintf("%s: %s%s", t.label, render.Size(t.count), rate(t.count, spent))
	}
}

func (t *task) finished(now time.Time) string {
	if t.count == 0 {
		return t.label + ": done"
	}
	return fmt.Sprintf("%s: done, %s%s", t.label, render.Size(t.count), rate(t.count, now.Sub(t.begun)))
}

// left tells how much longer a task takes at the pace that it had.
func left(count, total int64, spent time.Duration) string {
	if spent < time.Second || count <= 0 || count >= total {
		return ""
	}
	return ", " + render.Duration(time.Duration(float64(spent)*float64(total-count)/float64(count))) + " left"
}

func rate(n int64, spent time.Duration) string {
	if spent < 100*time.Millisecond {
		return ""
	}
	return fmt.Sprintf(", %s/s", render.Size(int64(float64(n)/spent.Seconds())))
}
