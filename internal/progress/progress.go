// Package progress carries what a long transfer has to say to whoever shows it.
//
// Rooms that move bytes report to a Sink; the command line decides whether that
// becomes a bar on a terminal, plain lines, or notes alone.
package progress

// Sink opens tasks. Implementations are safe for concurrent use.
type Sink interface {
	// Start announces a task. total is in bytes, or negative when unknown.
	Start(label string, total int64) Task
	// Note says one line that stands on its own, such as "waiting for …" or what was left out. It is shown where bars are
	// not wanted, too.
	Note(line string)
}

// Task is one transfer under way.
type Task interface {
	// Add counts n more bytes.
	Add(n int64)
	// Done ends the task; err is nil when it succeeded. Done may be called more than once.
	Done(err error)
}

// Shrinking is a Task whose total can fall: what is at hand already is no transfer, and has no rate.
type Shrinking interface {
	// Skip takes n bytes off the total; a negative n puts them back.
	Skip(n int64)
}

// Skip tells a task that n bytes of its total need not move. One that cannot shrink counts them.
func Skip(t Task, n int64) {
	if s, ok := t.(Shrinking); ok {
		s.Skip(n)
		return
	}
	t.Add(n)
}

// Silent discards everything. It is the Sink of tests, and of whoever named none.
type Silent struct{}

// Start returns a task that ignores what it is told.
func (Silent) Start(string, int64) Task { return silentTask{} }

// Note discards the line.
func (Silent) Note(string) {}

type silentTask struct{}

func (silentTask) Add(int64)  {}
func (silentTask) Done(error) {}

// Counter is a task that remembers how much it counted. One at a time may tell it.
type Counter struct {
	Task
	N int64
}

// Add implements Task.
func (c *Counter) Add(n int64) {
	c.N += n
	c.Task.Add(n)
}

// Writer counts what passes through it into a task, as an io.Writer.
type Writer struct{ Task Task }

// Write counts len(p) and never fails.
func (w Writer) Write(p []byte) (int, error) {
	w.Task.Add(int64(len(p)))
	return len(p), nil
}
