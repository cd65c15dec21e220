package oracle

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"tempestd/messages"
)

// oversizedGap returns the event that a gap entry stands for because it was too large, nil for
// another entry.
func oversizedGap(entry []byte) *messages.MissingEvent {
	var e struct {
		Kind string       `json:"kind"`
		Gap  messages.Gap `json:"gap"`
	}
	if !strings.Contains(string(entry), `"kind":"gap"`) || json.Unmarshal(entry, &e) != nil || e.Gap.Cause != messages.GapOversized {
		return nil
	}
	return e.Gap.Event
}

// withoutOversized leaves out the gap entries of events that are too large. They are no losses.
func withoutOversized(all iter.Seq2[[]byte, error]) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for e, err := range all {
			if (err != nil || oversizedGap(e) == nil) && !yield(e, err) {
				return
			}
		}
	}
}

// judgeOversized returns what is wrong with the gap entries of events that are too large: each such
// event has one.
func (w *world) judgeOversized() string {
	seen := map[messages.MissingEvent]bool{}
	for e, err := range w.events() {
		if err != nil {
			return err.Error()
		}
		missing := oversizedGap(e)
		switch {
		case missing == nil:
			continue
		case !w.Large:
			return "an event counts as too large, and none is: " + string(e)
		}
		identity := messages.MissingEvent{DID: missing.DID, Rev: missing.Rev, Collection: missing.Collection, RKey: missing.RKey, Operation: missing.Operation}
		if seen[identity] {
			return "a second entry of an event that was too large: " + string(e)
		}
		seen[identity] = true
	}
	return ""
}

// faults are the failures of actors that the log tells of and that no schedule asked for.
func (j *journal) faults() (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		failed := slices.ContainsFunc([]string{"actor.failed", "actor.restarted", "actor.gave_up"}, func(event string) bool { return strings.Contains(l.text, event) })
		if failed && !strings.Contains(l.text, asked) {
			all = append(all, fmt.Sprintf("%s %.600s", l.at, l.text))
		}
	}
	return all
}
