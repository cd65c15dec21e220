package supervisor

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// feedConfig is what a feed supervisor needs.
type feedConfig struct {
	config.Feed
	// Stream is nil where the store is shared: there it comes with the lease.
	Stream persistence.Stream
	// Interval is the mean interval of the stream's events, 0 where there are too few.
	Interval time.Duration
	Lease    *leaseConfig // nil where the store is not shared

	Checkpoints persistence.CheckpointStore
	// SeparateStore says that the checkpoints are kept in another place than the streams.
	SeparateStore bool
	Filters       actors.FilterStore // nil keeps the filters in the process alone

	Dial      actors.Dialer
	Repairs   actors.RepairConfig // how the ledger's gaps are repaired
	Archive   actors.ArchiveOpener
	Clock     clockwork.Clock
	Monotonic func() time.Duration
	Observer  *observe.Observer
	Rand      *rand.Rand
	Fault     actors.Fault
}

// feed supervises the actors of one feed. Its life has the actors and the connection's state
// machine; the feed itself has what outlives them: the lease, the choice of endpoints with their
// backoff, the status, and the count of faults. It is its own supervision strategy (failure.go).
type feed struct {
	cfg    feedConfig
	status *feedStatus
	life   *life // the present life of the actors, or the next one

	endpoints *Endpoints
	epoch     messages.Epoch
	paused    bool // by an operator
	ownership
	gapHold

	faults Intensity
	health healthRound
	ready  readiness
	ticker clockwork.Timer

	stopping bool       // the daemon stops
	asker    *actor.PID // waits for that stop; nil before, and once it is answered
}

// How many faults of ours a feed allows its actors within the window before it escalates.
const (
	feedMaxFaults   = 5
	feedFaultWindow = time.Minute
)

// newFeed makes the props of a feed supervisor. The status belongs to the root, so it survives a
// restart of the feed.
func newFeed(cfg feedConfig, status *feedStatus) *actor.Props {
	return actors.Guarded(cfg.Name, cfg.Observer, cfg.Fault, func() actor.Actor {
		return &feed{
			cfg:       cfg,
			status:    status,
			endpoints: NewEndpoints(upstreams(cfg.Feed), cfg.Backoff, cfg.Rand),
			faults:    Intensity{Max: feedMaxFaults, Window: feedFaultWindow},
			epoch:     status.Epoch,
		}
	})
}

// Receive implements actor.Actor. What depends on what the feed's actors are doing goes to the
// phase of their life.
func (f *feed) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		f.started(ctx)
	case *actor.Restarting, *actor.Stopping:
		f.end()
	case *actor.Terminated:
		f.health.excuse(ctx, m.Who)
		f.life.phase.receive(ctx)
	case *tick:
		f.tick(ctx)
	case *lifeDue:
		f.beginLife(ctx, m.life)
	case *restartDue:
		f.restartActor(ctx, m.restart)

	case *messages.Committed:
		// The figures also count what was stored by a life that is over.
		f.status.committed(m)
		f.life.phase.receive(ctx)
	case *messages.GapRecorded:
		f.gapRecorded(m)
		f.life.phase.receive(ctx)
		f.decide(ctx, m.Row)
	case *messages.GapChanged:
		f.life.phase.receive(ctx)
		f.decide(ctx, m.Row)
	case *messages.LedgerLoaded:
		f.life.phase.receive(ctx)
		clear(f.undecided)
		f.decide(ctx, m.Rows...)
	case *messages.Share:
		f.share(m)
		f.life.phase.receive(ctx)

	case *messages.FeedQuery, *messages.HistoryQuery, *filterUpdate, *followUpdate, *retentionUpdate, messages.Command:
		if answer := f.answer(ctx); ctx.Sender() != nil {
			ctx.Respond(answer)
		}
	case *messages.RepairGap, *messages.DismissGap:
		f.commandGap(ctx)
	case *messages.HealthCheck:
		f.health.ask(ctx, m, f.answering())
	case *actors.HealthReply:
		f.health.reply(ctx, m)
	case *messages.Stop:
		f.stop(ctx)
	default:
		f.life.phase.receive(ctx)
	}
}

// started begins an incarnation of the feed.
func (f *feed) started(ctx actor.Context) {
	if f.cfg.Lease != nil {
		f.wanted = !f.cfg.Lease.Shared
		f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(0)
		f.status.enter(messages.StateStandby, "started")
	}
	f.nextLife(ctx)
	f.tick(ctx)
}

// end ends an incarnation of the feed. The actor library ends its actors.
func (f *feed) end() {
	f.holderRestart.cancel()
	if f.life != nil { // nil where the feed failed at its start
		f.life.stopTimers()
		f.life.phase = inert{f.life}
	}
	if f.ticker != nil {
		f.ticker.Stop()
	}
}

// later sends the feed a message after d.
func (f *feed) later(ctx actor.Context, d time.Duration, message any) clockwork.Timer {
	return actors.Later(ctx, f.cfg.Clock, d, message)
}

// answer is the answer to a question or an order from outside the tree.
func (f *feed) answer(ctx actor.Context) any {
	now := f.cfg.Clock.Now()
	switch m := ctx.Message().(type) {
	case *messages.FeedQuery:
		s := f.status.snapshot()
		s.LagMS = f.lag(now).Milliseconds()
		s.Endpoints = f.endpoints.Status(now)
		keep := f.cfg.Retention
		s.Retention = messages.Retention{AgeSeconds: int64(keep.Age / time.Second), Bytes: keep.Bytes, Entries: keep.Entries}
		return s
	case *messages.HistoryQuery:
		return f.status.history.tell(f.cfg.Name, now, m)
	case *filterUpdate:
		f.updateFilter(ctx, m.filter)
	case *retentionUpdate:
		f.cfg.Retention = m.retention
	case *followUpdate:
		f.status.Follows = &m.status
	case messages.Command:
		return &messages.CommandDone{Err: f.command(ctx, m)}
	}
	return &messages.CommandDone{}
}

// errPaused refuses a reconnect of a paused feed.
var errPaused = fmt.Errorf("%w: the feed is paused: resume it instead", messages.ErrNotNow)

// errClosed refuses a command about a feed whose stream is closed for good.
var errClosed = fmt.Errorf("%w: the feed's stream is closed for good", messages.ErrNotNow)

// refusal says why the feed follows no command at all, nil if it does.
func (f *feed) refusal() error {
	switch l := f.life; {
	case f.stopping:
		return fmt.Errorf("%w: the daemon is stopping", messages.ErrNotNow)
	case l.leaving || f.cfg.Lease != nil && l.lease.IsZero():
		return f.notOurs()
	case l.closed:
		return errClosed
	}
	return nil
}

// command carries out an operator's command. A command that changes nothing succeeds.
func (f *feed) command(ctx actor.Context, c messages.Command) error {
	if err := f.refusal(); err != nil {
		return err
	}
	switch c {
	case messages.CommandReconnect:
		if f.paused {
			return errPaused
		}
		f.endpoints.Reset()
		// Only one of the two does anything: a wait ends, or a connection does.
		f.life.phase.resume(ctx)
		f.life.phase.force(ctx, messages.CauseOperator)
	case messages.CommandPause:
		f.paused, f.held = true, false
		f.life.phase.halt(ctx)
		f.status.enter(messages.StatePaused, "operator")
	case messages.CommandResume:
		if f.held {
			return errHeld
		}
		if f.paused {
			f.paused = false
			f.endpoints.Reset()
			f.life.phase.resume(ctx)
		}
	}
	return nil
}

// gapRecorded reports a gap entry that is new, whatever its cause: a state, a log event and a
// metric.
func (f *feed) gapRecorded(m *messages.GapRecorded) {
	if m.Known {
		return
	}
	s := f.status
	s.gap(m)
	g := m.Gap
	was, reason, next := s.State, s.Reason, s.NextAttemptAt
	s.enter(messages.StateGapped, string(g.Cause), "id", m.ID.String(), "gap_from", showTime(g.FromUS), "gap_to", showTime(g.ToUS), "host", g.Host)
	if !f.life.phase.show() {
		s.enter(was, reason)
		s.NextAttemptAt = next
	}
}

// stop begins the graceful end of the feed. A life that is ending already also ends the feed.
func (f *feed) stop(ctx actor.Context) {
	if !f.stopping {
		f.stopping, f.asker = true, ctx.Sender()
		f.life.phase.leave(ctx)
	}
}

// stopped answers the daemon's stop.
func (f *feed) stopped(ctx actor.Context, err error) {
	if f.asker == nil {
		return
	}
	f.status.enter(messages.StateStopped, "the daemon stops")
	ctx.Send(f.asker, &actors.Stopped{From: ctx.Self(), Err: err})
	f.asker = nil
}

func showTime(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }
