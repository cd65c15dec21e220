package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tempestd/messages"
)

// mostTroubles is how many feeds in trouble the status line names.
const mostTroubles = 3

// statusLine returns the line that systemctl status shows: how many feeds are live, what they
// store, and what is wrong with the others, those that have been in trouble for longest first.
func statusLine(feeds []messages.FeedStatus) string {
	var rate float64
	var troubles []messages.FeedStatus
	for _, f := range feeds {
		rate += f.EventsPerSec
		if f.State != messages.StateLive {
			troubles = append(troubles, f)
		}
	}
	slices.SortStableFunc(troubles, func(a, b messages.FeedStatus) int { return a.Since.Compare(b.Since) })
	clauses := []string{fmt.Sprintf("%d of %d feeds live, %.0f events/s", len(feeds)-len(troubles), len(feeds), rate)}
	switch {
	case len(feeds) == 0:
		clauses[0] = "no feeds"
	case len(feeds) == 1:
		clauses[0], troubles = clause(feeds[0])+fmt.Sprintf(", %.0f events/s", rate), nil
	}
	for i, f := range troubles {
		if i == mostTroubles {
			clauses = append(clauses, fmt.Sprintf("and %d more", len(troubles)-i))
			break
		}
		clauses = append(clauses, clause(f))
	}
	return strings.Join(clauses, "; ")
}

// clause returns what a feed does, and since when and why if it is not live.
func clause(f messages.FeedStatus) string {
	text := f.Feed + " " + string(f.State)
	if f.State == messages.StateLive {
		return text
	}
	since := f.Since
	if f.AwaySince != nil {
		since = *f.AwaySince
	}
	text += " since " + since.UTC().Format(time.RFC3339)
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	return text
}
