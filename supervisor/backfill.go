package supervisor

import (
	"cmp"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// When a legacy server changes from replay to live, it leaves events out. It reads a snapshot of
// its archive as of the connect. It sends live events only once the replay is within a second of
// the present. It ends the replay at the end of the snapshot if that was half a second ago, and the
// events in between are never sent. It also skips every event that is older than the last live
// event that it has sent. By measurement against the real server, some 10 to 80 ms of events are
// missing at each reconnect. These servers send no sequence numbers that could show the loss. So a
// backfill follows every such change: a second connection, while the live one runs, that asks for
// the time around the change when that time is history. Servers that number their events do not
// have this fault.

const (
	// backfillDelay is how long after the change the backfill begins: the time that it asks for must
	// be far from its own change to live.
	backfillDelay = 5 * time.Second
	// backfillMargin is how much more is asked for before and after that time.
	backfillMargin = 2 * time.Second
	// unknownMargin is the margin where the host's clock is not known.
	unknownMargin = 5 * time.Minute
	// changeReach bounds how far before the tip the change can have begun. Earlier events come from
	// the replay's snapshot, which is complete.
	changeReach = time.Minute
	// backfillAttempts is how often a backfill is tried before its gap is recorded.
	backfillAttempts = 5
	// legacyRewind is the least rewind on a host without sequence numbers. It covers a backfill
	// that a crash cut short.
	legacyRewind = 30 * time.Second
	// tipLag is the greatest age of the newest event of a feed at the tip. tipQuiet is the silence
	// after which a feed has nothing more to get.
	tipLag   = 2 * time.Second
	tipQuiet = 3 * time.Second
	// changeQuiet is the silence after which a replay is over. A server that looks for the few
	// events of a narrow feed in a long archive is silent for long.
	changeQuiet = 30 * time.Second
)

// backfills are the backfills that are due or under way, and what leads to others. One runs at a
// time.
type backfills struct {
	queue    []span
	id       uint64
	attempts int // of the first in the queue
	found    int // events in it that the stream lacked
	known    int // events in it that the stream held
	running  bool
	timer    clockwork.Timer

	// replaying says that the newest connection began with a replay by time, and has not been seen
	// to change to live. noticed says that it has been, and that no backfill has begun since.
	replaying, noticed bool
	// unseen is the span in which the last connection may have changed to live unnoticed, nil for
	// none.
	unseen *span

	// firstUS is the time of the stream's first event, on the clock of its host then; 0 for unknown,
	// nil until it is loaded.
	firstUS *int64
	undated []*messages.BlockLost // lost blocks that wait for firstUS
}

// span is a time span to fetch, in Unix µs of the host's clock, and the reason.
type span struct {
	fromUS, toUS int64
	cause        messages.GapCause // of the gap that is recorded if the span cannot be fetched
}

// mostSpans bounds the spans that wait. A span beyond it is recorded as a gap at once.
const mostSpans = 256

// backfillDue is the feed's message to itself that a backfill of a life is due.
type backfillDue struct{ life *life }

// noticeLive orders a backfill when a connection has reached the tip that began with a replay of a
// host without sequence numbers. at is when it opened, and quietSince when its silence began.
func (l *life) noticeLive(ctx actor.Context, m *messages.Heartbeat, at, quietSince time.Time) {
	f, b := l.feed, &l.backfills
	if !b.replaying && !b.noticed || l.continuity.unproven || f.status.Position.Seq != 0 {
		return
	}
	present, margin := m.PresentUS, backfillMargin
	if present == 0 {
		// By our clock, because the host's present is not known.
		present, margin = m.At.UnixMicro(), unknownMargin
	} else if !l.continuity.knowsPresent(f.endpoints.Current().Host(), m, f.cfg.Monotonic()) {
		return
	}
	// The event was of the present when it came. That of a narrow feed is not any more, soon after,
	// and is the newest one all the same.
	live := ofThePresent(m, m.LastFrame)
	tip := m.Blocked == 0 && (live || m.At.Sub(quietSince) >= changeQuiet)
	switch {
	case tip && b.replaying:
		b.replaying, b.noticed = false, true
		l.orderBackfill(ctx, around(present, m.At.Sub(at), margin))
	case !tip && b.noticed:
		b.replaying, b.noticed = true, false // the replay had only paused
	}
}

// around is the span around a change to live that happened at most lived before the host's present.
func around(present int64, lived, margin time.Duration) span {
	since := min(lived+margin, max(changeReach, margin))
	return span{present - since.Microseconds(), present + margin.Microseconds(), messages.GapHandover}
}

// endedUnseen notes a connection that began with a replay and ended before it was seen at the tip.
// It may have changed to live all the same, and the events that were then left out lie before the
// position.
func (l *life) endedUnseen(e *actors.Ended) {
	b := &l.backfills
	if b.unseen = nil; !b.replaying || e.Frames == 0 {
		return
	}
	b.replaying = false
	present, margin := e.PresentUS, backfillMargin
	if present == 0 {
		present, margin = l.feed.cfg.Clock.Now().UnixMicro(), unknownMargin
	}
	if time.Duration(present-e.NewestUS)*time.Microsecond > tipLag {
		return // it was still replaying, or nothing has come live
	}
	s := around(present, e.Lived, margin)
	b.unseen = &s
}

// orderUnseen orders the backfill that endedUnseen noted, once it is known whether the host sends
// sequence numbers.
func (l *life) orderUnseen(ctx actor.Context, cp messages.Checkpoint, host string) {
	if s := l.backfills.unseen; s != nil && cp.Seq == 0 && cp.Host == host {
		l.orderBackfill(ctx, *s)
	}
	l.backfills.unseen = nil
}

// orderBackfill orders a backfill. It merges the span with one of the same cause that overlaps it
// and is not done.
func (l *life) orderBackfill(ctx actor.Context, s span) {
	r := &l.backfills
	for i := range r.queue {
		q := &r.queue[i]
		if q.cause != s.cause || q.fromUS > s.toUS || s.fromUS > q.toUS {
			continue
		}
		q.fromUS, q.toUS = min(q.fromUS, s.fromUS), max(q.toUS, s.toUS)
		if i == 0 {
			// The merged span differs from the one that is under way, so the answer to that one
			// does not count.
			r.attempts, r.found, r.known, r.running = 0, 0, 0, false
		}
		l.scheduleBackfill(ctx, backfillDelay)
		return
	}
	if len(r.queue) == mostSpans {
		l.recordSpan(ctx, s)
		return
	}
	r.queue = append(r.queue, s)
	l.scheduleBackfill(ctx, backfillDelay)
}

// locate takes over where the stream began, and handles the lost blocks that waited for it.
func (l *life) locate(ctx actor.Context, firstUS int64) {
	l.backfills.firstUS = &firstUS
	waiting := l.backfills.undated
	l.backfills.undated = nil
	for _, m := range waiting {
		l.blockLost(ctx, m)
	}
}

// recordSpan records a span that cannot be fetched as a gap.
func (l *life) recordSpan(ctx actor.Context, s span) {
	g := messages.Gap{Host: l.feed.endpoints.Current().Host(), FromUS: s.fromUS, ToUS: s.toUS, Cause: s.cause}
	if s.cause == messages.GapCorrupt {
		// The events may be of any host. Without a host the gap is the same when the block is found
		// again.
		g.Host = ""
	}
	l.recordGap(ctx, g)
}

// blockLost orders a backfill of the events of a block that cannot be read any more. It records a
// gap instead if they are too old: for the upstream, or for the comparison with the other stored
// events.
func (l *life) blockLost(ctx actor.Context, m *messages.BlockLost) {
	if l.closed {
		return
	}
	f, b := l.feed, &l.backfills
	s := span{m.FromUS, m.ToUS, messages.GapCorrupt}
	if s.fromUS <= 0 { // everything from the stream's beginning on
		if b.firstUS == nil {
			b.undated = append(b.undated, m)
			return
		}
		s.fromUS = cmp.Or(*b.firstUS, s.toUS)
		if age := f.cfg.Retention.Age; age > 0 {
			// This keeps the span the same whenever the block is found.
			s.fromUS = max(s.fromUS, s.toUS-age.Microseconds())
		}
		s.fromUS = min(s.fromUS, s.toUS)
	}
	age := f.cfg.Clock.Now().Sub(time.UnixMicro(s.fromUS))
	if m.FromUS <= 0 || age > f.cfg.ReplayWindow || f.cfg.DedupeHorizon.Age > 0 && age > f.cfg.DedupeHorizon.Age {
		l.recordSpan(ctx, s)
		return
	}
	l.orderBackfill(ctx, s)
}

func (l *life) scheduleBackfill(ctx actor.Context, d time.Duration) {
	if l.backfills.timer != nil {
		l.backfills.timer.Stop()
	}
	l.backfills.timer = l.feed.later(ctx, d, &backfillDue{l})
}

// startBackfill asks the current endpoint for the events that may be missing. Only a connected feed
// does that: otherwise the next connection's own overlap is the better remedy, and its opening
// schedules the backfill again.
func (p *connected) startBackfill(ctx actor.Context) {
	r := &p.backfills
	f := p.feed
	if len(r.queue) == 0 || r.running || p.continuity.doubtful() {
		return
	}
	if r.replaying && f.status.Position.Seq == 0 {
		return // it would overtake the replay; noticeLive schedules it again
	}
	s := r.queue[0]
	r.noticed = false
	r.id++
	r.attempts++
	r.running = true
	request := p.request
	request.Cursor = jetstream.TimeCursor(s.fromUS)
	f.cfg.Observer.Emit(observe.BackfillStarted, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "attempt", r.attempts)
	ctx.Send(p.backfill, &actors.StartBackfill{ID: r.id, FromUS: s.fromUS, ToUS: s.toUS, Request: request,
		PresentUS: p.continuity.presentUS, At: p.continuity.presentAt})
}

// backfillDone handles the end of a backfill.
func (l *life) backfillDone(ctx actor.Context, m *messages.BackfillDone) {
	r := &l.backfills
	if !r.running || m.ID != r.id {
		return
	}
	r.running = false
	f, s := l.feed, r.queue[0]
	r.found += m.Found
	r.known += m.Known
	f.status.Backfilled += uint64(m.Found)
	if m.Err != nil && m.EndUS > s.toUS {
		m.Err = nil // it ended after the whole span
	}
	if m.Err == nil && s.cause == messages.GapCorrupt && r.found+r.known == 0 {
		m.Err = errNotSent
		r.attempts = backfillAttempts
	}
	if m.Err == nil {
		f.cfg.Observer.Emit(observe.BackfillDone, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "found", r.found)
		l.nextBackfill(ctx)
		return
	}
	// A link that is cut again and again lets one part through at a time.
	if m.EndUS > s.fromUS {
		r.queue[0].fromUS, r.attempts = m.EndUS, 1
	}
	wait := backfillDelay * time.Duration(r.attempts)
	f.cfg.Observer.Emit(observe.BackfillFailed, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "error", m.Err.Error(),
		"attempt", r.attempts, "attempts", backfillAttempts)
	if r.attempts < backfillAttempts {
		l.scheduleBackfill(ctx, wait)
		return
	}
	l.recordSpan(ctx, s)
	l.nextBackfill(ctx)
}

// errNotSent is the error of a backfill for a lost block when the upstream sent none of its events.
var errNotSent = errors.New("the upstream does not have it any more")

// nextBackfill goes on with the next span of the queue.
func (l *life) nextBackfill(ctx actor.Context) {
	r := &l.backfills
	r.queue, r.attempts, r.found, r.known = r.queue[1:], 0, 0, 0
	if len(r.queue) > 0 {
		l.scheduleBackfill(ctx, backfillDelay)
	}
}

// recordGap asks the writer to append a gap entry, in this epoch or the next. It also remembers the
// gap, because a writer that fails, or whose store refuses the entry, forgets it.
func (l *life) recordGap(ctx actor.Context, g messages.Gap) {
	l.unrecorded = append(l.unrecorded, g)
	l.phase.requestGap(ctx, g)
}

// stopBackfill stops a backfill that is under way. Its span stays in the queue.
func (l *life) stopBackfill(ctx actor.Context) {
	l.backfills.running = false
	ctx.Send(l.backfill, &messages.StopBackfill{})
}
