package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// The feed's messages to itself, sent by its timers.
type (
	retryDue   struct{ number int }
	restartDue struct{ pid *actor.PID }
)

// HandleFailure is the feed's supervision strategy. The actor library calls it in the feed's own
// turn.
func (f *feed) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	ctx := s.(actor.Context)
	f.health.excuse(ctx, child)
	if f.clearing && !child.Equal(f.keeper) {
		return // the child is being ended already
	}
	if ended, ok := reason.(*actors.Ended); ok {
		f.connectionEnded(ctx, ended)
		return
	}
	f.fault(ctx, child, reason, message)
}

// connectionEnded handles the end of a connection: it notes the end, saves the checkpoint, waits
// and reconnects.
func (f *feed) connectionEnded(ctx actor.Context, e *actors.Ended) {
	was := f.phase
	f.phase = waiting
	f.resuming.ended(f.endpoints.Current().Host(), e, f.cfg.Monotonic())
	f.endedUnseen(e)
	f.book.ended(e.Epoch)
	ctx.Send(f.watchdog, &messages.Unwatch{})
	f.haltRepair(ctx)
	ctx.Send(f.cursor, &messages.SaveCheckpoint{Cause: "disconnect"})
	switch {
	case f.leaving:
		if was == stopping {
			f.drain(ctx)
		}
		return
	case f.paused || f.closed:
		return
	}
	delay := f.endpoints.Ended(f.cfg.Clock.Now(), e, f.resuming.moved, f.resuming.stuck())
	state := messages.StateDisconnected
	if f.endpoints.Refused() {
		state = messages.StateFailed
	}
	f.book.enter(state, e.Reason, "retry_in", delay.Round(time.Millisecond).String())
	f.book.waiting(delay)
	f.retryAfter(ctx, delay)
}

// retryAfter restarts the connection actor after d, by a message to the feed itself.
func (f *feed) retryAfter(ctx actor.Context, d time.Duration) {
	f.cancelRetry()
	f.retry = f.later(ctx, d, &retryDue{f.retries})
}

// later sends the feed a message after d.
func (f *feed) later(ctx actor.Context, d time.Duration, message any) clockwork.Timer {
	return actors.Later(ctx, f.cfg.Clock, d, message)
}

// cancelRetry cancels the pending restart. The message of a timer that has already fired carries an
// old number and is ignored.
func (f *feed) cancelRetry() {
	f.retries++
	if f.retry != nil {
		f.retry.Stop()
		f.retry = nil
	}
}

func (f *feed) retryNow(ctx actor.Context) {
	f.cancelRetry()
	f.retryConnection(ctx, f.retries)
}

func (f *feed) retryConnection(ctx actor.Context, number int) {
	if number != f.retries || f.phase != waiting || f.leaving || f.paused || f.closed {
		return
	}
	f.phase = starting
	asSupervisor(ctx).RestartChildren(f.connection)
}

// fault handles a fault of ours: a delay, a restart, and an escalation if there are too many.
func (f *feed) fault(ctx actor.Context, child *actor.PID, reason, message any) {
	now := f.cfg.Clock.Now()
	text := bounded(reason)
	if f.faults.Exceeded(now) {
		f.book.restarted("feed", text) // the root restarts the feed
		f.cfg.Observer.Emit(observe.ActorEscalated, f.cfg.Name, "actor", child.Id, "reason", text,
			"failures", f.faults.Count(), "window", feedFaultWindow.String())
		asSupervisor(ctx).EscalateFailure(fmt.Errorf("feed %s: %d faults within %s, the last one of %s: %s",
			f.cfg.Name, f.faults.Count(), feedFaultWindow, child.Id, text), message)
		return
	}
	f.book.restarted(actors.Role(child), text)
	delay := restartDelay(f.faults.Count())
	f.cfg.Observer.Emit(observe.ActorRestarted, f.cfg.Name, "actor", child.Id, "reason", text,
		"delay", delay.String(), "failures", f.faults.Count())
	if child.Equal(f.connection) {
		f.connectionEnded(ctx, &actors.Ended{Epoch: f.epoch, Reason: text})
		return
	}
	if child.Equal(f.writer) {
		// The next incarnation was asked nothing yet, and reports its own trouble.
		f.quiescing, f.stalled = 0, ""
	}
	if child.Equal(f.cursor) {
		f.unread = ""
	}
	if child.Equal(f.writer) && (f.phase == connecting || f.phase == connected) {
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseWriter})
	}
	f.restarts[child.Id] = f.later(ctx, delay, &restartDue{child})
}

// restartActor restarts an actor after its delay, and repeats a message that the failure may have
// swallowed: the message at which an actor fails is lost.
func (f *feed) restartActor(ctx actor.Context, pid *actor.PID) {
	if f.restarts[pid.Id] == nil {
		return
	}
	delete(f.restarts, pid.Id)
	asSupervisor(ctx).RestartChildren(pid)
	switch {
	case pid.Equal(f.keeper):
		f.keeperRestarted(ctx)
	case f.leaving && f.phase != stopping:
		f.drain(ctx)
	case f.phase == preparing:
		f.begin(ctx)
	case pid.Equal(f.backfill) && f.repair.running:
		// The backfill that failed reports no end.
		f.repaired(ctx, &messages.BackfillDone{ID: f.repair.id, Err: errFault})
	case f.phase == connected && pid.Equal(f.watchdog):
		f.watch(ctx, f.cfg.Clock.Now())
	}
}

// errFault is the error of a backfill that a fault of ours ended.
var errFault = errors.New("a fault of ours ended it")

// restartDelay grows with the faults in the window: 100, 200, 400 ms …, 6.4 s at most.
func restartDelay(faults int) time.Duration {
	return 100 * time.Millisecond << min(max(faults-1, 0), 6)
}

// answering lists the actors that can answer a health check: all that do not wait for a restart.
func (f *feed) answering() []*actor.PID {
	var pids []*actor.PID
	if f.keeper != nil && f.restarts[f.keeper.Id] == nil {
		pids = append(pids, f.keeper)
	}
	if f.phase == absent || f.clearing {
		return pids
	}
	for _, pid := range []*actor.PID{f.cursor, f.writer, f.watchdog, f.connection, f.backfill} {
		if f.restarts[pid.Id] == nil && !(pid.Equal(f.connection) && f.phase == waiting) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (f *feed) stopTimers() {
	f.cancelRetry()
	if f.repair.timer != nil {
		f.repair.timer.Stop()
	}
	for _, t := range f.restarts {
		t.Stop()
	}
	clear(f.restarts)
}

// asSupervisor gives access to the context's methods for its children. The library passes that
// interface to strategies only, but every context implements it.
func asSupervisor(ctx actor.Context) actor.Supervisor { return ctx.(actor.Supervisor) }

// bounded is a failure's text, at most one short line.
func bounded(reason any) string {
	s := fmt.Sprint(reason)
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}
