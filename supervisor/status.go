package supervisor

import (
	"slices"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus"

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
	messages.StateFilling:       observe.FeedFilling,
	messages.StateDisconnected:  observe.FeedDisconnected,
	messages.StateReconnecting:  observe.FeedReconnecting,
	messages.StateGapped:        observe.FeedGapped,
	messages.StatePaused:        observe.FeedPaused,
	messages.StateFailed:        observe.FeedFailed,
	messages.StateStopped:       observe.FeedStopped,
	messages.StateStandby:       observe.FeedStandby,
}

// feedStatus is a feed's state, its figures and its filter. It survives the incarnations of the
// feed actor, and only the feed actor uses it.
type feedStatus struct {
	messages.FeedStatus
	clock    clockwork.Clock
	observer *observe.Observer
	filter   jetstream.Filter // the one that applies now
	// startUsed says that the configured start was used, or that it was said why not.
	startUsed bool
	history   history
	absence   absence
	freshness
	progress

	// perSecond counts the entries stored in each of the last seconds, as a ring by Unix second.
	perSecond [rateWindow + 1]uint64
	second    int64
}

func newFeedStatus(feed string, filter jetstream.Filter, clock clockwork.Clock, o *observe.Observer) *feedStatus {
	return &feedStatus{clock: clock, observer: o, FeedStatus: messages.FeedStatus{Feed: feed}, filter: filter, history: newHistory(clock.Now())}
}

// changed notes that the feed begins anew with another configuration.
func (s *feedStatus) changed(filter jetstream.Filter) {
	for _, ofEndpoints := range []*prometheus.GaugeVec{s.observer.Metrics().Endpoint, s.observer.Metrics().EndpointKO} {
		ofEndpoints.DeletePartialMatch(prometheus.Labels{"feed": s.Feed})
	}
	s.filter, s.startUsed, s.Follows = filter, false, nil
}

// enter moves the feed to a state. It is no transition if both the state and the reason stay the
// same. Extra fields go to the log.
func (s *feedStatus) enter(to messages.FeedState, reason string, extra ...any) {
	if s.State == to && s.Reason == reason {
		return
	}
	now := s.clock.Now()
	t := messages.Transition{At: now, From: s.State, To: to, Reason: reason}
	s.history.transition(t)
	s.State, s.Since, s.Reason = to, now, reason
	s.absence.moved(s, to, reason)
	if to != messages.StateDisconnected && to != messages.StateFailed {
		s.NextAttemptAt = nil
	}
	for _, state := range messages.FeedStates {
		one := 0.0
		if state == to {
			one = 1
		}
		s.observer.Metrics().State.WithLabelValues(s.Feed, string(state)).Set(one)
	}
	fields := append([]any{"from", string(t.From), "reason", reason, "epoch", uint64(s.Epoch), "endpoint", s.Endpoint}, extra...)
	s.observer.Emit(stateEvents[to], s.Feed, fields...)
}

// retryIn notes when the next connection will be tried.
func (s *feedStatus) retryIn(d time.Duration) {
	at := s.clock.Now().Add(d)
	s.NextAttemptAt = &at
}

func (s *feedStatus) committed(m *messages.Committed) {
	s.Position = m.Checkpoint.Position
	if !m.Checkpoint.LastID.IsZero() {
		id := m.Checkpoint.LastID
		s.LastID = &id
	}
	s.Stored += uint64(m.Entries)
	s.Duplicates += uint64(m.Duplicates)
	s.Bad += uint64(m.Bad)
	s.freshness.committed(m)
	s.progress.committed(m)
	if m.Entries > 0 {
		s.history.stored(m.At, uint64(m.Entries), s.late.Milliseconds())
	}
	s.roll(m.At)
	s.perSecond[s.second%int64(len(s.perSecond))] += uint64(m.Entries)
}

// resumed notes the stored position from which the feed resumes.
func (s *feedStatus) resumed(cp messages.Checkpoint) {
	s.freshness.resumed(s.clock.Now(), cp)
	s.absence.covers(s.covered)
	s.Position = cp.Position
	if !cp.LastID.IsZero() {
		id := cp.LastID
		s.LastID = &id
	}
}

// gap notes a gap entry.
func (s *feedStatus) gap(m *messages.GapRecorded) {
	s.Gaps++
	if from, to := m.Gap.FromUS, m.Gap.ToUS; from > 0 && to > from {
		lost := time.Duration(to-from) * time.Microsecond
		s.absence.lost += lost
		s.observer.Metrics().LostTime.WithLabelValues(s.Feed, string(m.Gap.Cause)).Add(lost.Seconds())
	}
	s.history.gap(messages.GapNote{At: s.clock.Now(), ID: m.ID, Gap: m.Gap})
}

// restarted notes a fault of ours.
func (s *feedStatus) restarted(actor, reason string) {
	s.Restarts++
	s.observer.Metrics().Restarts.WithLabelValues(s.Feed, actor).Inc()
	s.history.restarted(messages.Restart{At: s.clock.Now(), Actor: actor, Reason: reason})
}

func (s *feedStatus) suspected(phi float64) {
	s.Suspicion = phi
	s.history.suspected(s.clock.Now(), phi)
}

// heartbeat notes a heartbeat of a connection that opened at open. patience is how long it may give
// no sign of life.
func (s *feedStatus) heartbeat(m *messages.Heartbeat, open time.Time, patience time.Duration) {
	s.freshness.heartbeat(m, open, s.Position, s.Suspicion, patience)
	if !m.LastFrame.IsZero() {
		at := m.LastFrame
		s.LastFrameAt = &at
		s.observer.Metrics().LastFrame.WithLabelValues(s.Feed).Set(float64(at.UnixMicro()) / 1e6)
	}
	s.absence.told(s)
}

// roll empties the seconds that have passed since the last call.
func (s *feedStatus) roll(now time.Time) {
	size := int64(len(s.perSecond))
	for second := max(s.second+1, now.Unix()-size+1); second <= now.Unix(); second++ {
		s.perSecond[second%size] = 0
	}
	s.second = max(s.second, now.Unix())
}

// snapshot is the present status. It shares no memory with the original.
func (s *feedStatus) snapshot() *messages.FeedStatus {
	s.roll(s.clock.Now())
	sum := uint64(0)
	for i, n := range s.perSecond {
		if int64(i) != s.second%int64(len(s.perSecond)) { // all but the second that is not over yet
			sum += n
		}
	}
	now := s.FeedStatus
	if at := s.absence.since; !at.IsZero() && s.absence.back.IsZero() {
		now.AwaySince = &at
	}
	now.EventsPerSec = float64(sum) / rateWindow
	known := s.history.transitions
	now.History = slices.Clone(known[max(len(known)-historyLength, 0):])
	return &now
}
