package supervisor

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// phase is what a life does now. Every phase is a type, whose methods say what a message or an
// order means in it. A life goes through them in this order:
//
//	due         messages of the life before may still wait
//	standby     where the store is shared: the feed has no lease
//	starting    the connection actor has not reported yet that it waits for an order
//	preparing   the writer and the cursor are asked what the next epoch follows
//	connecting  the websocket is being opened
//	connected   the websocket is open
//	sweeping    instead of that: the archive is read
//	waiting     the connection has failed and waits for its restart; then it is starting again
//
//	stopping    the connection actor was told to stop reading: a pause, or the end of stream or life
//	idle        nothing is to be read; resumed, it is preparing
//	unfollowed  instead of that: the feed follows an account, and knows nobody whom that follows
//
//	draining    the end in good order: the writer stores what it holds,
//	saving      the cursor saves the checkpoint,
//	releasing   and the lease holder gives up the lease, where the store is shared
//	ending      the actors end; at once where the lease is lost
//
// due, standby and ending are inert: their actors are not there or of no interest. In all others
// the actors run.
type phase interface {
	// receive handles a message.
	receive(ctx actor.Context)
	// show enters the feed's state that belongs to the phase. It returns false if there is none.
	show() bool

	// halt ends the reading, and resume ends the rest or the wait after which it begins again.
	halt(ctx actor.Context)
	resume(ctx actor.Context)
	// leave begins the end of the life in good order.
	leave(ctx actor.Context)
	// force ends the connection for a reason of ours; the next one begins at once.
	force(ctx actor.Context, cause messages.ReconnectCause)
	// useFilter takes over a changed filter.
	useFilter(ctx actor.Context, filter jetstream.Filter)
	// requestGap asks the writer for a gap entry.
	requestGap(ctx actor.Context, g messages.Gap)

	// failed handles the failure of one of the life's actors, disconnected the end of a connection,
	// and restarted goes on after a restart.
	failed(ctx actor.Context, child *actor.PID, reason, message any)
	disconnected(ctx actor.Context, e *actors.Ended)
	restarted(ctx actor.Context, pid *actor.PID)
	// holderRestarted goes on with a lease holder that was restarted and holds nothing.
	holderRestarted(ctx actor.Context)
	// answering lists the actors that can answer a health check.
	answering() []*actor.PID
}

// inert is the base of all phases: nothing means anything.
type inert struct{ *life }

func (inert) receive(actor.Context)                          {}
func (inert) show() bool                                     { return false }
func (inert) halt(actor.Context)                             {}
func (inert) resume(actor.Context)                           {}
func (inert) leave(actor.Context)                            {}
func (inert) force(actor.Context, messages.ReconnectCause)   {}
func (inert) useFilter(actor.Context, jetstream.Filter)      {}
func (inert) requestGap(actor.Context, messages.Gap)         {}
func (inert) failed(_ actor.Context, _ *actor.PID, _, _ any) {}
func (inert) disconnected(actor.Context, *actors.Ended)      {}
func (inert) restarted(actor.Context, *actor.PID)            {}
func (inert) holderRestarted(actor.Context)                  {}
func (inert) answering() []*actor.PID                        { return nil }

// running is the base of the phases in which the actors run: what is valid in each of them.
type running struct{ inert }

func runs(l *life) running { return running{inert{l}} }

func (p running) receive(ctx actor.Context) {
	f := p.feed
	switch m := ctx.Message().(type) {
	case *messages.Quiesced:
		p.quiesced(m)
	case *messages.Committed:
		p.continuity.committed(m, f.cfg.Monotonic())
	case *messages.Proven:
		p.continuity.proven(m)
	case *messages.NoOverlap:
		p.continuity.noOverlap(m)
	case *messages.GapRecorded:
		p.unrecorded = slices.DeleteFunc(p.unrecorded, func(g messages.Gap) bool { return g == m.Gap })
		ctx.Send(p.backfill, m)
	case *messages.GapChanged, *messages.LedgerLoaded, *messages.FetchReady, *messages.FetchDone:
		ctx.Send(p.backfill, m)
	case *messages.BlockLost:
		p.blockLost(ctx, m)
	case *messages.BackfillDone:
		p.backfillDone(ctx, m)
	case *messages.WriterTrouble:
		p.stalled = m.Reason
		p.phase.show()
	case *messages.CursorTrouble:
		p.unread = m.Reason
		p.phase.show()
	case *messages.Suspicion:
		f.status.suspected(m.Phi)
	case *messages.Stalled:
		f.status.Stalls++

	default:
		p.receiveEnd(ctx)
	}
}

// receiveEnd handles the messages that end the reading or the life.
func (p running) receiveEnd(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Share:
		// A feed that an operator paused stays here, because another daemon would resume it.
		if f := p.feed; !f.wanted && !f.paused && !f.stopping {
			p.phase.leave(ctx)
		}
	case *messages.LeaseLost, *messages.Fenced:
		p.leaseLost(ctx)
	case *messages.StreamClosed:
		p.streamClosed(ctx, m.Reason)
	case *messages.StreamMoved:
		p.streamMoved(ctx, m)
	}
}

func (p running) halt(ctx actor.Context) {
	ctx.Send(p.watchdog, &messages.Unwatch{})
	p.fetching = false
	ctx.Send(p.backfill, &messages.StopFetches{})
	p.stopBackfill(ctx)
}

func (p running) leave(ctx actor.Context) {
	p.leaving, p.feed.saveErr = true, nil
	p.phase.halt(ctx)
}

func (p running) useFilter(ctx actor.Context, filter jetstream.Filter) {
	p.filters.change(filter, 0) // the next connection asks for it
	p.saveFilters(ctx)
	p.phase.force(ctx, messages.CauseFilter) // where one is being made with the former filter
}

func (p running) requestGap(ctx actor.Context, g messages.Gap) {
	ctx.Send(p.writer, &messages.RecordGap{Gap: g})
}

func (p running) holderRestarted(ctx actor.Context) { p.lose(ctx, "its lease holder failed", "") }

func (p running) answering() (pids []*actor.PID) {
	for _, pid := range []*actor.PID{p.cursor, p.writer, p.watchdog, p.connection, p.backfill} {
		if p.restarts[pid.Id] == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// due is the phase before a life begins: messages of the life before may still wait.
type due struct{ inert }

func (p *due) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.BlockLost:
		if p.feed.cfg.Lease == nil {
			p.backfills.undated = append(p.backfills.undated, m)
		}
	case *messages.Share:
		p.feed.showOwner(m.Owner)
	}
}

// starting: the connection actor has not reported yet that it waits for an order.
type starting struct{ running }

func (p *starting) receive(ctx actor.Context) {
	if _, ready := ctx.Message().(*messages.ConnectionReady); ready {
		p.ready(ctx)
		return
	}
	p.running.receive(ctx)
}

// idle: the connection actor waits for an order, and gets none: an operator has paused the feed, or
// the stream is closed.
type idle struct{ running }

func (p *idle) resume(ctx actor.Context) { p.prepare(ctx) }

func (p *idle) halt(ctx actor.Context) {
	p.running.halt(ctx)
	if p.leaving {
		p.drain(ctx)
	}
}

// unfollowed: the feed follows an account, and knows nobody whom that follows. Its position stays: if
// it were read with a filter that wants nobody, the position would pass what the account's follows
// did meanwhile.
type unfollowed struct{ idle }

func (p *unfollowed) resume(ctx actor.Context) { p.ready(ctx) }

// stopping: the connection actor was told to stop reading.
type stopping struct{ running }

func (p *stopping) receive(ctx actor.Context) {
	if _, stopped := ctx.Message().(*messages.ReadingStopped); !stopped {
		p.running.receive(ctx)
		return
	}
	p.ready(ctx)
	if p.feed.paused {
		ctx.Send(p.cursor, &messages.SaveCheckpoint{Cause: "pause"})
	}
}

// waiting: the connection actor has failed and waits for its restart, which comes after the
// backoff, or when an operator resumes the feed. Its mailbox is suspended.
type waiting struct{ running }

func (p *waiting) halt(ctx actor.Context) {
	p.running.halt(ctx)
	p.restarts[p.connection.Id].cancel()
	p.restarts[p.connection.Id] = &restart{pid: p.connection}
	if p.leaving {
		p.drain(ctx)
	}
}

func (p *waiting) resume(ctx actor.Context) { p.restart(ctx, p.restarts[p.connection.Id]) }

func (p *waiting) restarted(ctx actor.Context, pid *actor.PID) {
	if pid.Equal(p.connection) {
		p.phase = &starting{p.running}
		return
	}
	p.running.restarted(ctx, pid)
}

// finishing is the base of the phases in which a life ends in good order. Nothing is read any more,
// so the connection is of no interest.
type finishing struct{ running }

func (finishing) leave(actor.Context)                       {}
func (finishing) disconnected(actor.Context, *actors.Ended) {}

// restarted begins again, because the message at which the actor failed is lost.
func (p finishing) restarted(ctx actor.Context, _ *actor.PID) { p.drain(ctx) }

// draining: the writer stores what it holds.
type draining struct{ finishing }

func (p *draining) receive(ctx actor.Context) {
	switch ctx.Message().(type) {
	case *messages.Drained:
		p.save(ctx)
	case *messages.StreamClosed:
		p.finishing.receive(ctx)
		p.save(ctx) // the writer will not answer
	default:
		p.finishing.receive(ctx)
	}
}

// saving: the cursor saves the checkpoint.
type saving struct{ finishing }

func (p *saving) receive(ctx actor.Context) {
	if m, done := ctx.Message().(*messages.CheckpointSaved); done {
		p.saved(ctx, m.Err)
		return
	}
	p.finishing.receive(ctx)
}

// releasing: the lease holder gives up the lease.
type releasing struct{ finishing }

func (p *releasing) receive(ctx actor.Context) {
	if _, released := ctx.Message().(*messages.LeaseReleased); released {
		p.leaseReleased(ctx)
		return
	}
	p.finishing.receive(ctx)
}

func (*releasing) restarted(actor.Context, *actor.PID) {} // everything is stored

// ending: the actors end, and nothing that they still report matters.
type ending struct{ inert }

func (p *ending) receive(ctx actor.Context) {
	if _, ended := ctx.Message().(*actor.Terminated); ended {
		p.feed.lifeEnded(ctx)
	}
}
