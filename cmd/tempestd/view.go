package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"tempestd/internal/demo"
	"tempestd/internal/plain"
)

// progress prints one line per second about a demo.
type progress struct {
	w    io.Writer
	last time.Time
}

func newProgress(w io.Writer) *progress { return &progress{w: w} }

func (p *progress) show(s demo.Snapshot) {
	if time.Since(p.last) < time.Second && s.Phase != demo.Finished {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, "%5.1fs %s: %s, %.0f events/s, lag %s, sent %d, stored %d, tailed %d; reconnects %d; faults: %s\n",
		s.Elapsed.Seconds(), s.Phase, stateOrNone(s), s.Feed.EventsPerSec, showLag(s.Feed), s.Sim.Contents, s.Stream.Entries, s.Tailed, s.Feed.Reconnects, showFaults(s.Sim.Faults))
}

// stateOrNone is the feed's state, or a note if there is none yet.
func stateOrNone(s demo.Snapshot) string {
	if s.Feed.State == "" {
		return "no feed yet"
	}
	return string(s.Feed.State)
}

// showFaults lists faults by name and number.
func showFaults(faults map[string]int64) string {
	if len(faults) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, faults[name]))
	}
	return strings.Join(parts, " ")
}

// demoView is the live view on a terminal. Each snapshot replaces the one before.
type demoView struct {
	palette palette
	length  time.Duration
	seen    demo.Snapshot
	lines   reader
}

func newDemoView(terminal io.Writer, opt demo.Options) *demoView {
	return &demoView{palette: newPalette(terminal), length: opt.For, lines: newReader(terminal, nil)}
}

// render returns the snapshot as lines of at most columns; 0 means no limit.
func (v *demoView) render(seen demo.Snapshot, columns int) string {
	v.seen = seen
	p, s, f := v.palette, v.seen, v.seen.Feed
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s %s  %s\n\n", p.strong.Render("tempestd demo"), v.bar(), v.phase(), p.faint.Render("Ctrl-C ends it early"))

	label := func(name string) string { return p.faint.Render(fmt.Sprintf("%-9s", name)) }
	fmt.Fprintf(&b, "%s %s  sent %s%s\n", label("upstream"), s.Upstream, showCount(s.Sim.Contents), v.down())
	fmt.Fprintf(&b, "%s %s\n", label("faults"), p.bad.Render(showFaults(s.Sim.Faults)))
	fmt.Fprintf(&b, "%s %s since %s  %s events/s  lag %s\n", label("feed"), p.state(f.State), showAge(time.Since(since(f))), p.strong.Render(fmt.Sprintf("%.0f", f.EventsPerSec)), showLag(f))
	fmt.Fprintf(&b, "%s stored %s  replayed and dropped %s  bad frames %d\n", label(""), showCount(f.Stored), showCount(f.Duplicates), f.Bad)
	fmt.Fprintf(&b, "%s reconnects %d  stalls found %d  actor restarts %d  gaps %d\n", label(""), f.Reconnects, f.Stalls, f.Restarts, f.Gaps)
	fmt.Fprintf(&b, "%s %s entries, %s  %s\n", label("stream"), showCount(s.Stream.Entries), humanize.IBytes(uint64(max(s.Stream.Bytes, 0))), p.faint.Render(s.Addr))
	fmt.Fprintf(&b, "%s %s entries over HTTP\n", label("consumer"), showCount(s.Tailed))

	fmt.Fprintf(&b, "\n%s\n", p.faint.Render("last events"))
	for _, frame := range s.Recent {
		fmt.Fprintln(&b, v.lines.line(frame))
	}
	fmt.Fprintf(&b, "\n%s\n", p.faint.Render("last log events"))
	for _, line := range s.Log {
		fmt.Fprintln(&b, plain.Line(line))
	}
	return fit(b.String(), columns)
}

// bar shows the elapsed part of the time.
func (v *demoView) bar() string {
	const width = 20
	done := min(width, int(width*v.seen.Elapsed/v.length))
	return v.palette.good.Render(strings.Repeat("━", done)) + v.palette.faint.Render(strings.Repeat("─", width-done))
}

func (v *demoView) phase() string {
	if v.seen.Phase == demo.Running {
		return fmt.Sprintf("%.0f of %v", min(v.seen.Elapsed, v.length).Seconds(), v.length)
	}
	return string(v.seen.Phase)
}

func (v *demoView) down() string {
	if v.seen.Sim.Down {
		return v.palette.bad.Render("  down")
	}
	return ""
}
