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

// A legacy server's change from replay to live leaves events out. It reads a snapshot of its archive as of the connect, sends live events only once the replay is
// within a second of the present, and ends the replay when the snapshot does if that was half a second ago: what came in between is never sent. It also
// skips whatever is older than the live event it has sent last. Measured against the real one: some 10 to 80 ms of events at each reconnect. There are
// no sequence numbers to tell by, so every such change is followed by a backfill: a second connection, while the live one runs, that asks for the moments around
// it when they are history. The servers that number their events do not have this fault.

const (
	// repairDelay is how long after the change the backfill begins: the moments it asks for must be far from its own change to live.
	repairDelay = 5 * time.Second
	// repairMargin is how much is asked for before and after.
	repairMargin = 2 * time.Second
	// unknownMargin is the margin where the host's clock is not known.
	unknownMargin = 5 * time.Minute
	// repairReach bounds how far before the tip the change can have begun; what was replayed before comes from a snapshot that was whole.
	repairReach = time.Minute
	// repairAttempts is how often a backfill is tried before the gap is recorded.
	repairAttempts = 5
	// legacyRewind is the least a host without sequence numbers is rewound: it covers a repair that a crash cut short.
	legacyRewind = 30 * time.Second
	// tipLag is how close to the present the newest event of a feed at the tip is, tipQuiet how long nothing has come of one that has nothing to send.
	tipLag   = 2 * time.Second
	tipQuiet = 3 * time.Second
)

// repair is the backfills that are due or under way, one at a time.
type repair struct {
	queue    []span
	id       uint64
	attempts int // of the first
	found    int // by them, of what the stream lacked
	known    int // … and of what it held
	running  bool
	timer    clockwork.Timer
}

// span is what is to be fetched, in Unix µs of the host's clock, and why.
type span struct {
	fromUS, toUS int64
	cause        messages.GapCause // of the gap that is recorded where it cannot be
}

// mostSpans bounds what waits to be fetched; what is beyond it is recorded as a gap at once.
const mostSpans = 256

// repairDue is the feed's message to itself.
type repairDue struct{}

// noticeHandover orders a backfill once a connection that began with a replay, of a host without sequence numbers, has reached the tip.
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
		present, margin = m.At.UnixMicro(), unknownMargin // by our clock: nothing tells what the host's shows
	} else if !f.resuming.keepsPace(f.endpoints.Current().Host(), m, f.cfg.Monotonic()) {
		return
	}
	if m.At.Sub(last) < tipQuiet && (m.NewestUS == 0 || time.Duration(present-m.NewestUS)*time.Microsecond > tipLag) {
		return
	}
	f.handover = false
	f.orderRepair(ctx, around(present, m.At.Sub(f.openAt), margin))
}

// around is the span of a change to live that happened during the last lived, at most, before the host's present.
func around(present int64, lived, margin time.Duration) span {
	since := min(lived+margin, max(repairReach, margin))
	return span{present - since.Microseconds(), present + margin.Microseconds(), messages.GapHandover}
}

// endedUnseen notes that a connection which began with a replay ended before it was seen at the tip: it may have gone over to live all the same, and what was left out
// then lies before the position.
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
		return // it was replaying, or nothing has come live
	}
	s := around(present, e.Lived, margin)
	f.unseen = &s
}

// repairUnseen orders the backfill for it, once it is known whether it was a host without sequence numbers.
func (f *feed) repairUnseen(ctx actor.Context, cp messages.Checkpoint, host string) {
	if s := f.unseen; s != nil && cp.Seq == 0 && cp.Host == host {
		f.orderRepair(ctx, *s)
	}
	f.unseen = nil
}

// orderRepair orders a backfill, together with one of the same cause that overlaps it and is not done.
func (f *feed) orderRepair(ctx actor.Context, s span) {
	r := &f.repair
	for i := range r.queue {
		q := &r.queue[i]
		if q.cause != s.cause || q.fromUS > s.toUS || s.fromUS > q.toUS {
			continue
		}
		q.fromUS, q.toUS = min(q.fromUS, s.fromUS), max(q.toUS, s.toUS)
		if i == 0 {
			r.attempts, r.found, r.known, r.running = 0, 0, 0, false // an answer to the one that is under way is not the answer to this
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

// place takes over where the stream began, and deals with the blocks that waited for that.
func (f *feed) place(ctx actor.Context, firstUS int64) {
	f.firstUS, f.placed = firstUS, true
	waiting := f.unplaced
	f.unplaced = nil
	for _, m := range waiting {
		f.blockLost(ctx, m)
	}
}

// recordSpan records what cannot be fetched.
func (f *feed) recordSpan(ctx actor.Context, s span) {
	g := messages.Gap{Host: f.endpoints.Current().Host(), FromUS: s.fromUS, ToUS: s.toUS, Cause: s.cause}
	if s.cause == messages.GapCorrupt {
		g.Host = "" // of whichever host the events were: the gap is the same when the block is found again
	}
	f.recordGap(ctx, g)
}

// blockLost has the events of a block that cannot be read any more fetched again. What is too old for that is recorded: for the upstream, or to be told from what the
// stream holds besides.
func (f *feed) blockLost(ctx actor.Context, m *messages.BlockLost) {
	if f.phase == absent || f.clearing || f.closed {
		return
	}
	s := span{m.FromUS, m.ToUS, messages.GapCorrupt}
	if s.fromUS <= 0 { // all from the stream's beginning on
		if !f.placed {
			f.unplaced = append(f.unplaced, m)
			return
		}
		s.fromUS = cmp.Or(f.firstUS, s.toUS)
		if age := f.cfg.Retention.Age; age > 0 {
			s.fromUS = max(s.fromUS, s.toUS-age.Microseconds()) // the same whenever the block is found
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

// startRepair asks the current endpoint for what may be missing. Without a live connection the next one's own overlap is the better cure, and its change to
// live orders the backfill anew.
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
	ctx.Send(f.backfill, &actors.Backfill{ID: r.id, FromUS: s.fromUS, ToUS: s.toUS, Request: request})
}

// repaired takes the end of a backfill.
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
		m.Err = nil // it ended after all that was asked for
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
	if m.EndUS > s.fromUS { // a link that cuts lets a part through at a time
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

// errNotSent is why a backfill failed that was sent nothing of what the stream lacks.
var errNotSent = errors.New("the upstream does not have it any more")

// nextRepair goes on with what waits behind the first.
func (f *feed) nextRepair(ctx actor.Context) {
	r := &f.repair
	r.queue, r.attempts, r.found, r.known = r.queue[1:], 0, 0, 0
	if len(r.queue) > 0 {
		f.scheduleRepair(ctx, repairDelay)
	}
}

// recordGap has a gap entry appended, in this epoch or the next: a writer that fails, or whose store refuses it, forgets what it was given.
func (f *feed) recordGap(ctx actor.Context, g messages.Gap) {
	f.unrecorded = append(f.unrecorded, g)
	if f.phase != preparing { // else the epoch that is being prepared asks
		ctx.Send(f.writer, &messages.RecordGap{Gap: g})
	}
}

// recordGaps asks once more for those that were not recorded, in an epoch that begins: the writer has done everything that it was asked for before.
func (f *feed) recordGaps(ctx actor.Context) {
	for _, g := range f.unrecorded {
		ctx.Send(f.writer, &messages.RecordGap{Gap: g})
	}
}

// haltRepair leaves a backfill that is under way; what it was to fetch stays ordered.
func (f *feed) haltRepair(ctx actor.Context) {
	f.repair.running = false
	ctx.Send(f.backfill, &messages.StopBackfill{})
}

func showTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }
