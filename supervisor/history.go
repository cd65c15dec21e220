package supervisor

import (
	"slices"
	"time"

	"tempestd/messages"
)

// The bounds of a feed's history (I5). A feed that flaps makes a dozen transitions a minute.
const (
	keepTransitions = 4096
	keepFor         = 24 * time.Hour
	keepRestarts    = 256
	keepGaps        = 256

	fineStep, keepFine     = 10 * time.Second, 540 // 90 minutes
	coarseStep, keepCoarse = time.Minute, 1440     // a day
)

// history is what a feed remembers. The caller passes the times, which go back only by moments if
// at all.
type history struct {
	started      time.Time
	transitions  []messages.Transition
	restarts     []messages.Restart
	gaps         []messages.GapNote
	fine, coarse series
}

func newHistory(now time.Time) history {
	return history{started: now, fine: series{step: fineStep, keep: keepFine}, coarse: series{step: coarseStep, keep: keepCoarse}}
}

func (h *history) transition(t messages.Transition) {
	h.transitions = keepNewest(append(h.transitions, t), keepTransitions)
	if old := t.At.Add(-keepFor); h.transitions[0].At.Before(old) {
		// The last transition before old stays, because it tells the state at that time.
		first := slices.IndexFunc(h.transitions, func(t messages.Transition) bool { return !t.At.Before(old) })
		h.transitions = slices.Delete(h.transitions, 0, max(first-1, 0))
	}
}

func (h *history) restarted(r messages.Restart) {
	h.restarts = keepNewest(append(h.restarts, r), keepRestarts)
}

func (h *history) gap(g messages.GapNote) { h.gaps = keepNewest(append(h.gaps, g), keepGaps) }

// keepNewest drops the oldest elements that exceed n.
func keepNewest[T any](all []T, n int) []T { return slices.Delete(all, 0, max(len(all)-n, 0)) }

// stored notes a commit.
func (h *history) stored(at time.Time, entries uint64, lagMS int64) {
	for _, s := range []*series{&h.fine, &h.coarse} {
		current := s.at(at)
		current.Events += entries
		if current.LagMS == nil || *current.LagMS < lagMS {
			current.LagMS = &lagMS
		}
	}
}

// suspected notes the watchdog's suspicion.
func (h *history) suspected(at time.Time, phi float64) {
	for _, s := range []*series{&h.fine, &h.coarse} {
		current := s.at(at)
		current.Suspicion = max(current.Suspicion, phi)
	}
}

// tell answers a query. The answer shares no memory with the history.
func (h *history) tell(feed string, now time.Time, q *messages.HistoryQuery) *messages.FeedHistory {
	samples := &h.fine
	if q.Step > fineStep {
		samples = &h.coarse
	}
	samples.at(now)
	return &messages.FeedHistory{
		Feed: feed, Now: now, Started: h.started,
		Transitions: since(h.transitions, func(t messages.Transition) time.Time { return t.At }, q.Since),
		Restarts:    since(h.restarts, func(r messages.Restart) time.Time { return r.At }, q.Since),
		Gaps:        since(h.gaps, func(g messages.GapNote) time.Time { return g.At }, q.Since),
		StepSeconds: int(samples.step / time.Second),
		Samples:     since(samples.done, func(s messages.Sample) time.Time { return s.At }, q.Since),
	}
}

// since copies the elements that are not older than t. An empty result is not nil, so that JSON
// does not show null.
func since[T any](all []T, at func(T) time.Time, t time.Time) []T {
	first := len(all)
	for first > 0 && !at(all[first-1]).Before(t) {
		first--
	}
	return append([]T{}, all[first:]...)
}

// series is a series of samples of one length. Samples begin at multiples of that length, so that
// the charts of several feeds agree.
type series struct {
	step    time.Duration
	keep    int
	done    []messages.Sample // oldest first, without holes
	current messages.Sample
}

// at returns the sample of a moment, and completes the samples before it. A time without reports
// becomes samples of zeros.
func (s *series) at(now time.Time) *messages.Sample {
	begins := now.Truncate(s.step)
	if s.current.At.IsZero() {
		s.current.At = begins
	}
	// The pause is longer than the series keeps, so all samples are dropped without a walk through
	// them.
	if begins.Sub(s.current.At) > time.Duration(s.keep)*s.step {
		s.done, s.current = nil, messages.Sample{At: begins.Add(-time.Duration(s.keep) * s.step)}
	}
	for s.current.At.Before(begins) {
		s.done = append(s.done, s.current)
		s.current = messages.Sample{At: s.current.At.Add(s.step)}
	}
	s.done = keepNewest(s.done, s.keep)
	return &s.current
}
