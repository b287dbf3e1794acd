package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/enovance/kitchen/internal/catalog"
	"github.com/enovance/kitchen/internal/render"
	"github.com/enovance/kitchen/internal/trust"
	"github.com/urfave/cli/v2"
)

type doctorOptions struct {
	acceptClock bool
	yes         bool
}

func doctorCommand(k *kitchen) *cli.Command {
	return &cli.Command{
		Name: "doctor", Category: groupEverybody, Usage: "look for what is wrong with this host, and say what to do",
		Description: "Looks at the configuration, clock, state directory, pinned root, catalog, rights in the store, key files, hooks and expiries, and never changes the catalog: " +
			"the right to write is tried by a write whose condition cannot hold. With a password at hand (COSIGN_PASSWORD, --password-file) it also opens the key files.\n\n" +
			"--accept-clock is for a host that saw a timestamp of a committer whose clock was far ahead, and refuses all that came since. It shows both times and asks; " +
			"what is forgotten is that time alone, not which versions and recalls were seen.\n\n" +
			"Exit 0 when nothing is wrong (warnings included), 3 when there are problems.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "accept-clock", Usage: "take this host's clock for right, against the newest time that the catalog showed"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
			passwordFlag(),
		},
		Action: func(c *cli.Context) error { // not action: a configuration that is wrong is a finding
			if err := k.readGlobals(c); err != nil {
				return err
			}
			if err := operands(c); err != nil {
				return err
			}
			k.readKeyOptions(c)
			return k.working(func() error {
				return runDoctor(c.Context, k, doctorOptions{acceptClock: c.Bool("accept-clock"), yes: c.Bool("yes")})
			})
		},
	}
}

// What a line of the doctor says.
const (
	healthOK      = "ok"
	healthWarning = "warning"
	healthProblem = "problem"
)

// doctorDocument is the doctor's report.
type doctorDocument struct {
	Schema   string       `json:"schema"` // kitchen.doctor/v1
	Healthy  bool         `json:"healthy"`
	Problems int          `json:"problems"`
	Warnings int          `json:"warnings"`
	Checks   []doctorLine `json:"checks"`
}

type doctorLine struct {
	Area   string `json:"area"`   // configuration, clock, …
	Status string `json:"status"` // ok | warning | problem
	Detail string `json:"detail"`
	Next   string `json:"next"` // what to do; "" with ok

	Evidence []string `json:"evidence,omitempty"` // whole ids and fingerprints, to be compared
}

func (d *doctorDocument) human(p *page) {
	tones := map[string]render.Tone{healthOK: render.Good, healthWarning: render.Warn, healthProblem: render.Bad}
	for _, line := range d.Checks {
		const column = 9
		text := render.Fold(render.Line(line.Area+": "+line.Detail), p.width-column)
		for i, part := range text {
			word := ""
			if i == 0 {
				word = line.Status
			}
			fmt.Fprintf(p.w, "%s%s\n", render.Paint(fmt.Sprintf("%-*s", column, word), tones[line.Status], p.colour && word != ""), part)
		}
		for _, whole := range line.Evidence {
			p.linef("%*s%s", column, "", whole)
		}
		if line.Next != "" {
			p.para(column+2, strings.Repeat(" ", column)+"> ", line.Next)
		}
	}
	words := counted(d.Problems, "problem") + ", " + counted(d.Warnings, "warning")
	if d.Healthy {
		p.verdict(render.Good, "healthy: "+words)
	} else {
		p.verdict(render.Bad, "NOT HEALTHY: "+words)
	}
}

// doctor is one examination. Each part works with whatever the parts before it found, or did not.
type doctor struct {
	k   *kitchen
	doc *doctorDocument

	url     string // "" when nobody says which catalog
	state   string // "" when there is no place for it
	health  catalog.StateHealth
	offLine bool          // this machine signs what is carried to it, see signsOffLine
	root    *trust.Root   // off line: the newest one that was seen
	session *session      // nil when the catalog could not be opened
	view    *catalog.View // nil when no view of it can be had, neither on line nor off
	online  bool          // view is fresh
	skew    *time.Duration
}

func (d *doctor) say(area, status, next, format string, args ...any) {
	d.doc.Checks = append(d.doc.Checks, doctorLine{Area: area, Status: status, Detail: fmt.Sprintf(format, args...), Next: next})
	switch status {
	case healthWarning:
		d.doc.Warnings++
	case healthProblem:
		d.doc.Problems++
	}
}

func (d *doctor) ok(area, format string, args ...any) { d.say(area, healthOK, "", format, args...) }

func (d *doctor) warn(area, next, format string, args ...any) {
	d.say(area, healthWarning, next, format, args...)
}

func (d *doctor) problem(area, next, format string, args ...any) {
	d.say(area, healthProblem, next, format, args...)
}

// fails is a problem that an error tells of, with what the program itself would say to do.
func (d *doctor) fails(area string, err error) {
	f := explain(d.k.ctx, err)
	next := cmp.Or(f.Hint, nextStep(d.k.command, f.Code, err))
	if strings.HasPrefix(next, "`kitchen doctor`") {
		next = "correct what it names, then run kitchen doctor again"
	}
	d.problem(area, next, "%s", strings.TrimPrefix(err.Error(), area+": "))
	d.show(f.Evidence...)
}

func runDoctor(ctx context.Context, k *kitchen, o doctorOptions) error {
	d := &doctor{k: k, doc: &doctorDocument{Schema: "kitchen.doctor/v1", Checks: []doctorLine{}}}
	d.configuration()
	d.environment()
	d.stateDirectory()
	if o.acceptClock {
		if err := d.acceptClock(ctx, o.yes); err != nil {
			return err
		}
	}
	d.catalog(ctx)
	d.clock()
	d.roles()
	d.keyFiles(ctx)
	d.site(ctx)
	d.rights(ctx)
	d.hooks()
	if err := ctx.Err(); err != nil {
		return err
	}
	d.doc.Healthy = d.doc.Problems == 0
	if err := k.show(d.doc); err != nil {
		return err
	}
	if !d.doc.Healthy {
		return answer(exitNo)
	}
	return nil
}

// acceptClock makes the host's clock the floor of the time, once somebody has looked at both.
func (d *doctor) acceptClock(ctx context.Context, yes bool) error {
	now := d.k.now()
	if d.state == "" || !d.health.Issued.After(now.Add(catalog.ClockSlack)) {
		d.ok("clock", "nothing to accept: this host's clock is not behind what the catalog showed")
		return nil
	}
	s, err := d.open(ctx, true)
	if err != nil {
		return err
	}
	defer s.close(&err)
	if !yes {
		agreed, err := d.k.askClock(now, d.health.Issued)
		if err != nil {
			return err
		}
		if !agreed {
			d.warn("clock", "kitchen doctor --accept-clock asks again", "not accepted, as you said")
			return nil
		}
	}
	if err := s.catalog.AcceptClock(ctx); err != nil {
		return err
	}
	d.ok("clock", "accepted: %s, in place of %s; what was seen of versions and recalls is kept", stamp(now), stamp(d.health.Issued))
	d.health = catalog.InspectState(d.state)
	return nil
}

const clockRisk = "If this host's clock is the wrong one, what has expired will count as valid here until a refresh shows a newer time."

// askClock shows both times and the risk, and asks on the terminal.
func (k *kitchen) askClock(host, issued time.Time) (bool, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false, nobodyAtTheClock()
	}
	defer tty.Close()
	defer k.progress.pause()()
	return askAboutClock(tty, host, issued)
}

func askAboutClock(tty io.ReadWriter, host, issued time.Time) (bool, error) {
	p := &page{w: tty, width: 80}
	p.linef("this host's clock:                    %s", stamp(host))
	p.linef("newest time that the catalog showed:  %s (%s ahead)", stamp(issued), render.Duration(issued.Sub(host)))
	p.para(0, "", clockRisk)
	fmt.Fprint(tty, "is this host's clock the right one? [y/N] ")
	line, err := bufio.NewReader(tty).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return false, nobodyAtTheClock()
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", err
}

func nobodyAtTheClock() error {
	return usageHint("--accept-clock asks first, and there is no terminal", "compare this host's clock with another one, then give --yes")
}
