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
		fmt.Fprintf(&b, "# %s: %s\n", d.Kind, d.Text)
	}
	b.WriteString("# what happened:\n")
	for _, l := range v.journal.told(300) {
		fmt.Fprintf(&b, "# %s\n", l)
	}
	return b.String()
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
