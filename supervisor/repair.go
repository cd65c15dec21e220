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
	// repairDelay is how long after the change the backfill begins: the time that it asks for must
	// be far from its own change to live.
	repairDelay = 5 * time.Second
	// repairMargin is how much more is asked for before and after that time.
	repairMargin = 2 * time.Second
	// unknownMargin is the margin where the host's clock is not known.
	unknownMargin = 5 * time.Minute
	// repairReach bounds how far before the tip the change can have begun. Earlier events come from
	// the replay's snapshot, which is complete.
	repairReach = time.Minute
	// repairAttempts is how often a backfill is tried before its gap is recorded.
	repairAttempts = 5
	// legacyRewind is the least rewind on a host without sequence numbers. It covers a repair that
	// a crash cut short.
	legacyRewind = 30 * time.Second
	// tipLag is the greatest age of the newest event of a feed at the tip. tipQuiet is the silence
	// after which a feed has nothing more to get.
	tipLag   = 2 * time.Second
	tipQuiet = 3 * time.Second
)

// repair is the state of the backfills that are due or under way. One runs at a time.
type repair struct {
	queue    []span
	id       uint64
	attempts int // of the first in the queue
	found    int // events in it that the stream lacked
	known    int // events in it that the stream held
	running  bool
	timer    clockwork.Timer
}

// span is a time span to fetch, in Unix µs of the host's clock, and the reason.
type span struct {
	fromUS, toUS int64
	cause        messages.GapCause // of the gap that is recorded if the span cannot be fetched
}

// mostSpans bounds the spans that wait. A span beyond it is recorded as a gap at once.
const mostSpans = 256

// repairDue is the feed's message to itself that a backfill is due.
type repairDue struct{}

// noticeHandover orders a backfill when a connection has reached the tip that began with a replay
// of a host without sequence numbers.
func (f *feed) noticeHandover(ctx actor.Context, m *messages.Heartbeat) {
	if !f.handover || m.Blocked > 0 || f.resuming.unproven || f.book.status.Position.Seq != 0 {
		return
	}
	last := m.LastFrame
	if last.Before(f.openAt) {
		last = f.openAt
	}
	present, margin := m.PresentUS, repairMargin
	if present == 0 {
		// By our clock, because the host's present is not known.
		present, margin = m.At.UnixMicro(), unknownMargin
	} else if !f.resuming.keepsPace(f.endpoints.Current().Host(), m, f.cfg.Monotonic()) {
		return
	}
	if m.At.Sub(last) < tipQuiet && (m.NewestUS == 0 || time.Duration(present-m.NewestUS)*time.Microsecond > tipLag) {
		return
	}
	f.handover = false
	f.orderRepair(ctx, around(present, m.At.Sub(f.openAt), margin))
}

// around is the span around a change to live that happened at most lived before the host's present.
func around(present int64, lived, margin time.Duration) span {
	since := min(lived+margin, max(repairReach, margin))
	return span{present - since.Microseconds(), present + margin.Microseconds(), messages.GapHandover}
}

// endedUnseen notes a connection that began with a replay and ended before it was seen at the tip.
// It may have changed to live all the same, and the events that were then left out lie before the
// position.
func (f *feed) endedUnseen(e *actors.Ended) {
	if f.unseen = nil; !f.handover || e.Frames == 0 {
		return
	}
	f.handover = false
	present, margin := e.PresentUS, repairMargin
	if present == 0 {
		present, margin = f.cfg.Clock.Now().UnixMicro(), unknownMargin
	}
	if time.Duration(present-e.NewestUS)*time.Microsecond > tipLag {
		return // it was still replaying, or nothing has come live
	}
	s := around(present, e.Lived, margin)
	f.unseen = &s
}

// repairUnseen orders the backfill that endedUnseen noted, once it is known whether the host sends
// sequence numbers.
func (f *feed) repairUnseen(ctx actor.Context, cp messages.Checkpoint, host string) {
	if s := f.unseen; s != nil && cp.Seq == 0 && cp.Host == host {
		f.orderRepair(ctx, *s)
	}
	f.unseen = nil
}

// orderRepair orders a backfill. It merges the span with one of the same cause that overlaps it and
// is not done.
func (f *feed) orderRepair(ctx actor.Context, s span) {
	r := &f.repair
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
		f.scheduleRepair(ctx, repairDelay)
		return
	}
	if len(r.queue) == mostSpans {
		f.recordSpan(ctx, s)
		return
	}
	r.queue = append(r.queue, s)
	f.scheduleRepair(ctx, repairDelay)
}

// place takes over where the stream began, and handles the lost blocks that waited for it.
func (f *feed) place(ctx actor.Context, firstUS int64) {
	f.firstUS, f.placed = firstUS, true
	waiting := f.unplaced
	f.unplaced = nil
	for _, m := range waiting {
		f.blockLost(ctx, m)
	}
}

// recordSpan records a span that cannot be fetched as a gap.
func (f *feed) recordSpan(ctx actor.Context, s span) {
	g := messages.Gap{Host: f.endpoints.Current().Host(), FromUS: s.fromUS, ToUS: s.toUS, Cause: s.cause}
	if s.cause == messages.GapCorrupt {
		// The events may be of any host. Without a host the gap is the same when the block is found
		// again.
		g.Host = ""
	}
	f.recordGap(ctx, g)
}

// blockLost orders a backfill of the events of a block that cannot be read any more. It records a
// gap instead if they are too old: for the upstream, or for the comparison with the other stored
// events.
func (f *feed) blockLost(ctx actor.Context, m *messages.BlockLost) {
	if f.phase == absent || f.clearing || f.closed {
		return
	}
	s := span{m.FromUS, m.ToUS, messages.GapCorrupt}
	if s.fromUS <= 0 { // everything from the stream's beginning on
		if !f.placed {
			f.unplaced = append(f.unplaced, m)
			return
		}
		s.fromUS = cmp.Or(f.firstUS, s.toUS)
		if age := f.cfg.Retention.Age; age > 0 {
			// This keeps the span the same whenever the block is found.
			s.fromUS = max(s.fromUS, s.toUS-age.Microseconds())
		}
		s.fromUS = min(s.fromUS, s.toUS)
	}
	age := f.cfg.Clock.Now().Sub(time.UnixMicro(s.fromUS))
	if m.FromUS <= 0 || age > f.cfg.ReplayWindow || f.cfg.DedupeHorizon.Age > 0 && age > f.cfg.DedupeHorizon.Age {
		f.recordSpan(ctx, s)
		return
	}
	f.orderRepair(ctx, s)
}

func (f *feed) scheduleRepair(ctx actor.Context, d time.Duration) {
	if f.repair.timer != nil {
		f.repair.timer.Stop()
	}
	f.repair.timer = f.later(ctx, d, &repairDue{})
}

// startRepair asks the current endpoint for the events that may be missing. Without a live
// connection it does nothing: the next connection's own overlap is the better remedy, and its
// change to live orders the backfill again.
func (f *feed) startRepair(ctx actor.Context) {
	r := &f.repair
	if f.phase != connected || len(r.queue) == 0 || r.running || f.leaving || f.resuming.doubtful() {
		return
	}
	s := r.queue[0]
	r.id++
	r.attempts++
	r.running = true
	request := f.request
	request.Cursor = jetstream.TimeCursor(s.fromUS)
	f.cfg.Observer.Emit(observe.BackfillStarted, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "attempt", r.attempts)
	ctx.Send(f.backfill, &actors.StartBackfill{ID: r.id, FromUS: s.fromUS, ToUS: s.toUS, Request: request})
}

// repaired handles the end of a backfill.
func (f *feed) repaired(ctx actor.Context, m *messages.BackfillDone) {
	r := &f.repair
	if !r.running || m.ID != r.id {
		return
	}
	r.running = false
	s := r.queue[0]
	r.found += m.Found
	r.known += m.Known
	f.book.status.Backfilled += uint64(m.Found)
	if m.Err != nil && m.EndUS > s.toUS {
		m.Err = nil // it ended after the whole span
	}
	if m.Err == nil && s.cause == messages.GapCorrupt && r.found+r.known == 0 {
		m.Err = errNotSent
		r.attempts = repairAttempts
	}
	if m.Err == nil {
		f.cfg.Observer.Emit(observe.BackfillDone, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "found", r.found)
		f.nextRepair(ctx)
		return
	}
	// A link that is cut again and again lets one part through at a time.
	if m.EndUS > s.fromUS {
		r.queue[0].fromUS, r.attempts = m.EndUS, 1
	}
	wait := repairDelay * time.Duration(r.attempts)
	f.cfg.Observer.Emit(observe.BackfillFailed, f.cfg.Name, "from", showTime(s.fromUS), "to", showTime(s.toUS), "error", m.Err.Error(),
		"attempt", r.attempts, "attempts", repairAttempts)
	if r.attempts < repairAttempts {
		f.scheduleRepair(ctx, wait)
		return
	}
	f.recordSpan(ctx, s)
	f.nextRepair(ctx)
}

// errNotSent is the error of a backfill for a lost block when the upstream sent none of its events.
var errNotSent = errors.New("the upstream does not have it any more")

// nextRepair goes on with the next span of the queue.
func (f *feed) nextRepair(ctx actor.Context) {
	r := &f.repair
	r.queue, r.attempts, r.found, r.known = r.queue[1:], 0, 0, 0
	if len(r.queue) > 0 {
		f.scheduleRepair(ctx, repairDelay)
	}
}

// recordGap asks the writer to append a gap entry, in this epoch or the next. It also remembers the
// gap, because a writer that fails, or whose store refuses the entry, forgets it.
func (f *feed) recordGap(ctx actor.Context, g messages.Gap) {
	f.unrecorded = append(f.unrecorded, g)
	if f.phase != preparing { // otherwise connect asks for it
		ctx.Send(f.writer, &messages.RecordGap{Gap: g})
	}
}

// recordGaps asks again for the gaps that are not recorded, in a new epoch. By then the writer has
// done everything that it was asked for before.
func (f *feed) recordGaps(ctx actor.Context) {
	for _, g := range f.unrecorded {
		ctx.Send(f.writer, &messages.RecordGap{Gap: g})
	}
}

// haltRepair stops a backfill that is under way. Its span stays in the queue.
func (f *feed) haltRepair(ctx actor.Context) {
	f.repair.running = false
	ctx.Send(f.backfill, &messages.StopBackfill{})
}

func showTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }
