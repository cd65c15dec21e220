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

// Intensity bounds how many restarts a supervisor allows within a window. Disconnects do not count,
// because their causes are upstream. It is not safe for concurrent use.
type Intensity struct {
	Max    int
	Window time.Duration
	at     []time.Time
}

// Exceeded notes a failure and says whether the window now holds more than Max.
func (i *Intensity) Exceeded(now time.Time) bool {
	keep := i.at[:0]
	for _, t := range i.at {
		if now.Sub(t) < i.Window {
			keep = append(keep, t)
		}
	}
	i.at = append(keep, now)
	return len(i.at) > i.Max
}

// Count is how many failures the window held at the last Exceeded.
func (i *Intensity) Count() int { return len(i.at) }

// restart is the pending restart of a failed actor.
type restart struct {
	pid   *actor.PID
	timer clockwork.Timer // nil while no time is set for it
}

// restartDue is a supervisor's message to itself that the time of a restart has come. The message of a
// timer that fired before it was cancelled finds another restart in its place, or none.
type restartDue struct{ restart *restart }

// restartAfter makes a restart of a child of the actor whose turn it is.
func restartAfter(ctx actor.Context, clock clockwork.Clock, d time.Duration, pid *actor.PID) *restart {
	r := &restart{pid: pid}
	r.timer = actors.Later(ctx, clock, d, &restartDue{r})
	return r
}

func (r *restart) cancel() {
	if r != nil && r.timer != nil {
		r.timer.Stop()
	}
}

// HandleFailure is the feed's supervision strategy. The actor library calls it in the feed's own
// turn.
func (f *feed) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	ctx := s.(actor.Context)
	f.health.excuse(ctx, child)
	if !child.Equal(f.holder) {
		f.life.phase.failed(ctx, child, reason, message)
		return
	}
	if delay, escalated := f.fault(ctx, child, bounded(reason), message); !escalated {
		f.holderRestart = restartAfter(ctx, f.cfg.Clock, delay, child)
	}
}

// fault counts a fault of ours. It returns the delay before the actor's restart, unless there were
// too many faults.
func (f *feed) fault(ctx actor.Context, child *actor.PID, text string, message any) (delay time.Duration, escalated bool) {
	if f.faults.Exceeded(f.cfg.Clock.Now()) {
		f.status.restarted("feed", text) // the root restarts the feed
		f.cfg.Observer.Emit(observe.ActorEscalated, f.cfg.Name, "actor", child.Id, "reason", text,
			"failures", f.faults.Count(), "window", feedFaultWindow.String())
		asSupervisor(ctx).EscalateFailure(fmt.Errorf("feed %s: %d faults within %s, the last one of %s: %s",
			f.cfg.Name, f.faults.Count(), feedFaultWindow, child.Id, text), message)
		return 0, true
	}
	f.status.restarted(actors.Role(child), text)
	delay = restartDelay(f.faults.Count())
	f.cfg.Observer.Emit(observe.ActorRestarted, f.cfg.Name, "actor", child.Id, "reason", text,
		"delay", delay.String(), "failures", f.faults.Count())
	return delay, false
}

// failed handles the end of a connection, which is expected, or a fault of ours.
func (p running) failed(ctx actor.Context, child *actor.PID, reason, message any) {
	if ended, ok := reason.(*actors.Ended); ok {
		p.connectionEnded(ctx, ended)
		return
	}
	text := bounded(reason)
	delay, escalated := p.feed.fault(ctx, child, text, message)
	switch {
	case escalated:
		return
	case child.Equal(p.connection):
		p.connectionEnded(ctx, &actors.Ended{Epoch: p.feed.epoch, Reason: text})
		return
	case child.Equal(p.writer):
		// The next incarnation was asked nothing yet, and reports its own trouble.
		p.quiescing, p.stalled = 0, ""
		p.phase.force(ctx, messages.CauseWriter) // the batches in flight are lost
	case child.Equal(p.cursor):
		p.unread = ""
	}
	p.restarts[child.Id] = restartAfter(ctx, p.feed.cfg.Clock, delay, child)
}

// connectionEnded handles the end of a connection: it notes the end and saves the checkpoint. The
// phase decides about the next connection.
func (l *life) connectionEnded(ctx actor.Context, e *actors.Ended) {
	f := l.feed
	l.restarts[l.connection.Id] = &restart{pid: l.connection}
	l.fillEnded(f.endpoints.Current().Host(), e)
	l.continuity.ended(f.endpoints.Current().Host(), e, f.cfg.Monotonic())
	l.endedUnseen(e)
	f.status.ended(e.Epoch)
	f.cfg.Observer.Metrics().Ends.WithLabelValues(f.cfg.Name, endCause(e)).Inc()
	ctx.Send(l.watchdog, &messages.Unwatch{})
	l.stopBackfill(ctx)
	ctx.Send(l.cursor, &messages.SaveCheckpoint{Cause: "disconnect"})
	l.phase.disconnected(ctx, e)
}

// endCause is why a connection, or the attempt to make one, ended: one of a few words.
func endCause(e *actors.Ended) string {
	switch {
	case e.Forced != "":
		return string(e.Forced)
	case e.Swept:
		return "archive_read"
	case e.Permanent:
		return "refused"
	case e.Clean, e.Passing:
		return "closed"
	case e.Lived == 0:
		return "unreachable"
	}
	return "lost"
}

// disconnected waits for the backoff, unless nothing is to be read.
func (p running) disconnected(ctx actor.Context, e *actors.Ended) {
	f := p.feed
	p.phase = &waiting{p}
	switch {
	case p.leaving:
		p.drain(ctx)
		return
	case f.paused || p.closed:
		return
	}
	if p.fill.atOnce {
		f.status.enter(messages.StateFilling, e.Reason)
		p.restarts[p.connection.Id] = restartAfter(ctx, f.cfg.Clock, 0, p.connection)
		return
	}
	delay := f.endpoints.Ended(f.cfg.Clock.Now(), e, p.continuity.moved, p.continuity.stuck())
	state := messages.StateDisconnected
	if f.endpoints.Refused() {
		state = messages.StateFailed
	}
	f.status.enter(state, e.Reason, "retry_in", delay.Round(time.Millisecond).String())
	f.status.retryIn(delay)
	p.restarts[p.connection.Id] = restartAfter(ctx, f.cfg.Clock, delay, p.connection)
}

// restartActor restarts an actor whose time has come.
func (f *feed) restartActor(ctx actor.Context, r *restart) {
	switch r {
	case f.holderRestart:
		f.holderRestart = nil
		asSupervisor(ctx).RestartChildren(r.pid)
		f.life.phase.holderRestarted(ctx)
	case f.life.restarts[r.pid.Id]:
		f.life.restart(ctx, r)
	}
}

func (l *life) restart(ctx actor.Context, r *restart) {
	r.cancel()
	delete(l.restarts, r.pid.Id)
	asSupervisor(ctx).RestartChildren(r.pid)
	if r.pid.Equal(l.backfill) && l.fetching {
		l.startFetches(ctx)
	}
	l.phase.restarted(ctx, r.pid)
}

func (p running) restarted(ctx actor.Context, pid *actor.PID) {
	if pid.Equal(p.backfill) && p.backfills.running {
		// The backfill that failed reports no end.
		p.backfillDone(ctx, &messages.BackfillDone{ID: p.backfills.id, Err: errFault})
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
	pids := f.life.phase.answering()
	if f.holder != nil && f.holderRestart == nil {
		pids = append(pids, f.holder)
	}
	return pids
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
