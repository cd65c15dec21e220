package supervisor

import (
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

// repair is the backfill that is due or under way. Times are Unix µs.
type repair struct {
	fromUS, toUS int64 // both 0: none
	id           uint64
	attempts     int
	running      bool
	timer        clockwork.Timer
}

// repairDue is the feed's message to itself.
type repairDue struct{}

// noticeHandover orders a backfill once a connection that began with a replay, of a host without sequence numbers, has reached the tip.
func (f *feed) noticeHandover(ctx actor.Context, m *messages.Heartbeat) {
	if !f.handover || m.Blocked > 0 || f.book.status.Position.Seq != 0 {
		return
	}
	last := m.LastFrame
	if last.Before(f.openAt) {
		last = f.openAt
	}
	if m.At.Sub(last) < tipQuiet && (m.NewestUS == 0 || m.At.Sub(time.UnixMicro(m.NewestUS)) > tipLag) {
		return
	}
	f.handover = false
	from := max(f.openAt.Add(-repairMargin).UnixMicro(), m.At.Add(-repairReach).UnixMicro())
	f.orderRepair(ctx, from, m.At.Add(repairMargin).UnixMicro())
}

// orderRepair orders a backfill of the range, together with what was ordered before and is not done.
func (f *feed) orderRepair(ctx actor.Context, fromUS, toUS int64) {
	r := &f.repair
	if r.toUS != 0 {
		fromUS, toUS = min(fromUS, r.fromUS), max(toUS, r.toUS)
	}
	r.fromUS, r.toUS, r.attempts = fromUS, toUS, 0
	r.running = false // an answer to the one that is under way is not the answer to this
	f.scheduleRepair(ctx, repairDelay)
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
	if f.phase != connected || r.toUS == 0 || f.leaving {
		return
	}
	r.id++
	r.attempts++
	r.running = true
	request := f.request
	request.Cursor = jetstream.TimeCursor(r.fromUS)
	f.cfg.Observer.Emit(observe.BackfillStarted, f.cfg.Name, "from", showTime(r.fromUS), "to", showTime(r.toUS), "attempt", r.attempts)
	ctx.Send(f.backfill, &actors.Backfill{ID: r.id, FromUS: r.fromUS, ToUS: r.toUS, Request: request})
}

// repaired takes the end of a backfill.
func (f *feed) repaired(ctx actor.Context, m *messages.BackfillDone) {
	r := &f.repair
	if !r.running || m.ID != r.id {
		return
	}
	r.running = false
	if m.Err == nil {
		f.cfg.Observer.Emit(observe.BackfillDone, f.cfg.Name, "from", showTime(r.fromUS), "to", showTime(r.toUS), "found", m.Found)
		f.book.status.Backfilled += uint64(m.Found)
		r.fromUS, r.toUS = 0, 0
		return
	}
	wait := repairDelay * time.Duration(r.attempts)
	f.cfg.Observer.Emit(observe.BackfillFailed, f.cfg.Name, "from", showTime(r.fromUS), "to", showTime(r.toUS), "error", m.Err.Error(),
		"attempt", r.attempts, "attempts", repairAttempts)
	if r.attempts < repairAttempts {
		f.scheduleRepair(ctx, wait)
		return
	}
	ctx.Send(f.writer, &messages.RecordGap{Gap: messages.Gap{Host: f.endpoints.Current().Host(), FromUS: r.fromUS, ToUS: r.toUS, Cause: messages.GapHandover}})
	r.fromUS, r.toUS = 0, 0
}

// haltRepair leaves a backfill that is under way; what it was to fetch stays ordered.
func (f *feed) haltRepair(ctx actor.Context) {
	f.repair.running = false
	ctx.Send(f.backfill, &messages.StopBackfill{})
}

func showTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }
