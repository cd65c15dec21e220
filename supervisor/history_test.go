package supervisor

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/messages"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestHistorySamplesWhatWasStored(t *testing.T) {
	h := newHistory(noon)
	h.stored(noon.Add(1*time.Second), 100, 40)
	h.stored(noon.Add(9*time.Second), 50, 90)
	h.suspected(noon.Add(12*time.Second), 1.5)
	h.suspected(noon.Add(13*time.Second), 0.5)
	h.stored(noon.Add(31*time.Second), 7, 10)
	got := h.tell("sky", noon.Add(40*time.Second), &messages.HistoryQuery{Step: fineStep})
	if got.StepSeconds != 10 || len(got.Samples) != 4 || !got.Samples[0].At.Equal(noon) {
		t.Fatalf("got %+v", got)
	}
	first, second, third, fourth := got.Samples[0], got.Samples[1], got.Samples[2], got.Samples[3]
	if first.Events != 150 || first.LagMS == nil || *first.LagMS != 90 {
		t.Errorf("the first 10 s: %+v", first)
	}
	if second.Events != 0 || second.LagMS != nil || second.Suspicion != 1.5 {
		t.Errorf("the second: %+v", second)
	}
	if third.Events != 0 || third.LagMS != nil || third.Suspicion != 0 {
		t.Errorf("the third: %+v", third)
	}
	if fourth.Events != 7 {
		t.Errorf("the fourth: %+v", fourth)
	}
	minutes := h.tell("sky", noon.Add(time.Minute), &messages.HistoryQuery{Step: coarseStep})
	if minutes.StepSeconds != 60 || len(minutes.Samples) != 1 || minutes.Samples[0].Events != 157 || *minutes.Samples[0].LagMS != 90 {
		t.Errorf("the minute: %+v", minutes)
	}
	since := h.tell("sky", noon.Add(40*time.Second), &messages.HistoryQuery{Step: fineStep, Since: noon.Add(20 * time.Second)})
	if len(since.Samples) != 2 {
		t.Errorf("%d samples since 20 s, want 2", len(since.Samples))
	}
}

// At any times of reports, a series has no holes up to now. Within its reach no event is lost or
// counted twice.
func TestHistorySeriesHasNoHoles(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := series{step: fineStep, keep: rapid.IntRange(1, 40).Draw(r, "keep")}
		now, told := noon, map[time.Time]uint64{}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200_000).Draw(r, "ms")) * time.Millisecond)
			n := uint64(rapid.IntRange(0, 9).Draw(r, "n"))
			s.at(now).Events += n
			told[now.Truncate(fineStep)] += n
		}
		s.at(now.Add(fineStep))
		if len(s.done) > s.keep {
			r.Fatalf("%d samples are kept, at most %d", len(s.done), s.keep)
		}
		if last := s.done[len(s.done)-1].At; !last.Equal(now.Truncate(fineStep)) {
			r.Fatalf("the newest sample is of %v, now is %v", last, now)
		}
		for i, sample := range s.done {
			if i > 0 && sample.At.Sub(s.done[i-1].At) != fineStep {
				r.Fatalf("a hole between %v and %v", s.done[i-1].At, sample.At)
			}
			if sample.Events != told[sample.At] {
				r.Fatalf("%v: %d events, want %d", sample.At, sample.Events, told[sample.At])
			}
		}
	})
}

func TestI5_HistoryIsBounded(t *testing.T) {
	h := newHistory(noon)
	now := noon
	for i := range 10_000 {
		now = now.Add(time.Second)
		h.transition(messages.Transition{At: now, To: messages.StateLive, Reason: fmt.Sprint(i)})
		h.restarted(messages.Restart{At: now})
		h.gap(messages.GapNote{At: now})
		h.stored(now, 1, 1)
	}
	got := h.tell("sky", now, &messages.HistoryQuery{})
	if len(got.Transitions) != keepTransitions || len(got.Restarts) != keepRestarts || len(got.Gaps) != keepGaps || len(got.Samples) != keepFine {
		t.Errorf("kept %d transitions, %d restarts, %d gaps, %d samples", len(got.Transitions), len(got.Restarts), len(got.Gaps), len(got.Samples))
	}
	if newest := got.Transitions[len(got.Transitions)-1]; newest.Reason != "9999" {
		t.Errorf("the newest transition is %q", newest.Reason)
	}

	// Transitions older than a day are dropped, except the one that tells the state at the
	// beginning of the day.
	h.transition(messages.Transition{At: now.Add(3 * keepFor), Reason: "later"})
	got = h.tell("sky", now.Add(3*keepFor), &messages.HistoryQuery{})
	if len(got.Transitions) != 2 || got.Transitions[0].Reason != "9999" {
		t.Errorf("after three days: %d transitions, the first is %+v", len(got.Transitions), got.Transitions[0])
	}
}

func TestHistorySharesNothingAndHasNoNulls(t *testing.T) {
	h := newHistory(noon)
	text, err := json.Marshal(h.tell("sky", noon, &messages.HistoryQuery{}))
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]any
	if err := json.Unmarshal(text, &parts); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"transitions", "restarts", "gaps", "samples"} {
		if list, ok := parts[name].([]any); !ok || len(list) != 0 {
			t.Errorf("%s is %v, want an empty list", name, parts[name])
		}
	}
	h.transition(messages.Transition{At: noon, Reason: "first"})
	got := h.tell("sky", noon, &messages.HistoryQuery{})
	got.Transitions[0].Reason = "changed"
	if h.transitions[0].Reason != "first" {
		t.Error("an answer shares memory with the history")
	}
}
