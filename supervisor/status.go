package supervisor

import (
	"slices"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// historyLength is how many transitions a feed's status shows. The history holds more.
const historyLength = 64

// rateWindow is the number of seconds over which events per second are averaged.
const rateWindow = 10

// stateEvents is the log event of each state.
var stateEvents = map[messages.FeedState]observe.Event{
	messages.StateConnecting:    observe.FeedConnecting,
	messages.StateLive:          observe.FeedLive,
	messages.StateBackpressured: observe.FeedBackpressured,
	messages.StateDisconnected:  observe.FeedDisconnected,
	messages.StateReconnecting:  observe.FeedReconnecting,
	messages.StateGapped:        observe.FeedGapped,
	messages.StatePaused:        observe.FeedPaused,
	messages.StateFailed:        observe.FeedFailed,
	messages.StateStopped:       observe.FeedStopped,
	messages.StateStandby:       observe.FeedStandby,
}

// book keeps the figures of one feed. It survives the incarnations of the feed actor, and only the
// feed actor uses it.
type book struct {
	clock    clockwork.Clock
	observer *observe.Observer
	status   messages.FeedStatus
	filter   jetstream.Filter
	history  history
	freshness
	progress

	// perSecond counts the entries stored in each of the last seconds, as a ring by Unix second.
	perSecond [rateWindow + 1]uint64
	second    int64
}

func newBook(feed string, filter jetstream.Filter, clock clockwork.Clock, o *observe.Observer) *book {
	return &book{clock: clock, observer: o, status: messages.FeedStatus{Feed: feed}, filter: filter, history: newHistory(clock.Now())}
}

// enter moves the feed to a state. It is no transition if both the state and the reason stay the
// same. Extra fields go to the log.
func (b *book) enter(to messages.FeedState, reason string, extra ...any) {
	s := &b.status
	if s.State == to && s.Reason == reason {
		return
	}
	now := b.clock.Now()
	t := messages.Transition{At: now, From: s.State, To: to, Reason: reason}
	b.history.transition(t)
	s.State, s.Since, s.Reason = to, now, reason
	if to != messages.StateDisconnected && to != messages.StateFailed {
		s.NextAttemptAt = nil
	}
	for _, state := range messages.FeedStates {
		one := 0.0
		if state == to {
			one = 1
		}
		b.observer.Metrics().State.WithLabelValues(s.Feed, string(state)).Set(one)
	}
	fields := append([]any{"from", string(t.From), "reason", reason, "epoch", uint64(s.Epoch), "endpoint", s.Endpoint}, extra...)
	b.observer.Emit(stateEvents[to], s.Feed, fields...)
}

// waiting notes when the next connection will be tried.
func (b *book) waiting(d time.Duration) {
	at := b.clock.Now().Add(d)
	b.status.NextAttemptAt = &at
}

func (b *book) committed(m *messages.Committed) {
	s := &b.status
	s.Position = m.Checkpoint.Position
	if !m.Checkpoint.LastID.IsZero() {
		id := m.Checkpoint.LastID
		s.LastID = &id
	}
	s.Stored += uint64(m.Entries)
	s.Duplicates += uint64(m.Duplicates)
	s.Bad += uint64(m.Bad)
	b.freshness.commits(m)
	b.progress.commits(m)
	if m.Entries > 0 {
		b.history.stored(m.At, uint64(m.Entries), b.late.Milliseconds())
	}
	b.roll(m.At)
	b.perSecond[b.second%int64(len(b.perSecond))] += uint64(m.Entries)
}

// resumes notes the stored position from which the feed resumes.
func (b *book) resumes(cp messages.Checkpoint) {
	b.freshness.resumes(b.clock.Now(), cp)
	b.status.Position = cp.Position
	if !cp.LastID.IsZero() {
		id := cp.LastID
		b.status.LastID = &id
	}
}

// gap notes a gap entry.
func (b *book) gap(m *messages.GapRecorded) {
	b.status.Gaps++
	b.history.gap(messages.GapNote{At: b.clock.Now(), ID: m.ID, Gap: m.Gap})
}

// restarted notes a fault of ours.
func (b *book) restarted(actor, reason string) {
	b.status.Restarts++
	b.history.restarted(messages.Restart{At: b.clock.Now(), Actor: actor, Reason: reason})
}

func (b *book) suspect(phi float64) {
	b.status.Suspicion = phi
	b.history.suspected(b.clock.Now(), phi)
}

func (b *book) heartbeat(m *messages.Heartbeat) {
	if !m.LastFrame.IsZero() {
		at := m.LastFrame
		b.status.LastFrameAt = &at
	}
}

// roll empties the seconds that have passed since the last call.
func (b *book) roll(now time.Time) {
	size := int64(len(b.perSecond))
	for s := max(b.second+1, now.Unix()-size+1); s <= now.Unix(); s++ {
		b.perSecond[s%size] = 0
	}
	b.second = max(b.second, now.Unix())
}

// snapshot is the present status. It shares no memory with the book.
func (b *book) snapshot() *messages.FeedStatus {
	b.roll(b.clock.Now())
	sum := uint64(0)
	for i, n := range b.perSecond {
		if int64(i) != b.second%int64(len(b.perSecond)) { // all but the second that is not over yet
			sum += n
		}
	}
	s := b.status
	s.EventsPerSec = float64(sum) / rateWindow
	known := b.history.transitions
	s.History = slices.Clone(known[max(len(known)-historyLength, 0):])
	return &s
}
