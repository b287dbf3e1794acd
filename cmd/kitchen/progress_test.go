package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/enovance/kitchen/internal/progress"
)

// TestNeverLongSilent: whatever goes on, something is shown before five seconds have passed, off a terminal and with
// -o json too; only --no-progress is silent.
func TestNeverLongSilent(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(*display)
		work   func(*display)
		want   string
		silent bool
	}{
		{name: "nothing announced", want: "still working (4s)"},
		{name: "after a note", work: func(d *display) { d.Note("asking the store") }, want: "still asking the store (4s)"},
		{name: "a transfer", work: func(d *display) { d.Start("uploading x", 4_000_000).Add(1_000_000) }, want: "uploading x: 25% of 4.0 MB"},
		{name: "for machines", set: func(d *display) { d.terse = true }, work: func(d *display) { d.Start("uploading x", 4_000_000) }, want: "uploading x"},
		{name: "not wanted", set: func(d *display) { d.silent = true }, work: func(d *display) { d.Start("uploading x", 4_000_000) }, silent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			now := time.Unix(0, 0)
			d := &display{out: &out, now: func() time.Time { return now }, start: now, shown: now}
			if c.set != nil {
				c.set(d)
			}
			if c.work != nil {
				c.work(d)
			}
			out.Reset()
			now = now.Add(longestSilence)
			d.signOfLife()
			if got := out.String(); c.silent && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("after %s: %q, want %q", longestSilence, got, c.want)
			}
		})
	}
}

// TestNotesWithoutProgress: --no-progress, which a CI uses, takes away bars and lines of transfers, and no warning.
func TestNotesWithoutProgress(t *testing.T) {
	var out bytes.Buffer
	d := &display{out: &out, silent: true, now: time.Now}
	task := d.Start("fetch x", 4_000_000)
	task.Add(4_000_000)
	d.Note("seed /nonexistent is left out: no such file or directory")
	task.Done(nil)
	if got, want := out.String(), "seed /nonexistent is left out: no such file or directory\n"; got != want {
		t.Errorf("shown: %q, want %q", got, want)
	}
}

// TestRateOfWhatMoves: what is at hand is neither moved nor fast, on a terminal and in lines.
func TestRateOfWhatMoves(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		now := time.Unix(0, 0)
		d := &display{out: &out, terminal: terminal, now: func() time.Time { return now }, start: now, shown: now}
		fetch := d.Start("fetch x", 100_000_000)
		now = now.Add(20 * time.Second) // seeds are read
		progress.Skip(fetch, 92_000_000)
		now = now.Add(4 * time.Second)
		fetch.Add(4_000_000)
		if got, want := fetch.(*task).describe(now), "fetch x: 50% of 8.0 MB, 1.0 MB/s, 4s left"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if terminal && d.bar.GetMax64() != 8_000_000 {
			t.Errorf("the bar is one of %d bytes", d.bar.GetMax64())
		}
		now = now.Add(4 * time.Second)
		fetch.Add(4_000_000)
		fetch.Done(nil)
		if want := "fetch x: done, 8.0 MB, 1.0 MB/s\n"; !strings.HasSuffix(out.String(), want) {
			t.Errorf("%q does not end with %q", out.String(), want)
		}
	}
}
