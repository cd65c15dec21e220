package oracle

import (
	"fmt"
	"strings"
	"time"
)

// Story tells a bad run: the schedule in the form that Parse reads, the differences, and what
// happened around the faults.
func (v Verdict) Story() string {
	var b strings.Builder
	b.WriteString("\n")
	b.WriteString(v.Schedule.String())
	for _, d := range v.Differences {
		fmt.Fprintf(&b, "# %s\n", d)
	}
	b.WriteString("#\n# the world: ")
	b.WriteString(drawSetup(v.Schedule.Seed).String())
	b.WriteString("\n# what happened:\n")
	for _, l := range v.journal.told(300) {
		fmt.Fprintf(&b, "# %s\n", l)
	}
	return b.String()
}

// String describes the world in one line.
func (s setup) String() string {
	var parts []string
	for i, o := range s.servers {
		text := "v2"
		switch {
		case o.Legacy:
			text = "v1"
		case o.Newer != nil:
			text = "v2, newer"
		}
		text = fmt.Sprintf("server %d: %s, clock ahead by %s, drift %.4f%%", i, text, o.Skew, 100*s.drift[i])
		if o.NoDate {
			text += ", no Date"
		}
		if o.Lag > 0 {
			text += ", lag " + o.Lag.String()
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s; %d events from before; up to %d events every %s; latency %s; batches of %d; dedupe %s; gaps are repaired: %v",
		strings.Join(parts, "; "), s.servers[0].Backlog, s.burst, s.pace, s.latency, s.feed.BatchEvents, s.feed.Dedupe, s.repairs)
}

// told returns the lines, at most so many: the first and the last ones.
func (j *journal) told(most int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, l := range j.lines {
		all = append(all, fmt.Sprintf("%12s %s", l.at.Round(time.Millisecond), l.text))
	}
	if len(all) > most {
		left := fmt.Sprintf("… %d lines …", len(all)-most)
		all = append(append(all[:most/2:most/2], left), all[len(all)-most/2:]...)
	}
	return all
}
