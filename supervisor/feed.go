package supervisor

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// feedConfig is what a feed supervisor needs.
type feedConfig struct {
	config.Feed
	Protocol  jetstream.Protocol
	Compress  jetstream.Compression
	Endpoints []jetstream.Endpoint // in order of preference
	// Stream is nil until the lease is held, where the store is shared.
	Stream      persistence.Stream
	Lease       *leaseConfig // nil where the store is not shared
	Checkpoints persistence.CheckpointStore
	Filters     actors.FilterStore // nil keeps the filters in the process alone
	Apart       bool               // the checkpoints are kept in another place than the streams
	Dial        actors.Dialer
	Clock       clockwork.Clock
	Monotonic   func() time.Duration
	// Interval is the mean interval of the stream's events, 0 where there are too few.
	Interval time.Duration
	Observer *observe.Observer
	Rand     *rand.Rand
	Fault    actors.Fault
}

// dialTimeout bounds name resolution, connect, TLS and upgrade together.
const dialTimeout = 15 * time.Second

// maxPingTimeout is the longest wait for a pong.
const maxPingTimeout = 10 * time.Second

// phase is the state of the connection actor, as its supervisor sees it.
type phase uint8

const (
	absent     phase = iota // there are no actors: the feed's lease is not held
	starting                // its ConnectionReady has not come yet
	idle                    // it waits for a Connect
	preparing               // the writer and the cursor are asked what the next epoch follows
	connecting              // told to dial
	connected
	stopping // told to stop reading
	waiting  // it failed and waits for its restart; its mailbox is suspended
)

// feed supervises the actors of one feed and owns the feed's state machine. It is its own
// supervision strategy (failure.go).
type feed struct {
	cfg    feedConfig
	book   *book
	faults Intensity
	health healthRound

	endpoints *Endpoints
	ticker    clockwork.Timer
	told      string    // its trouble, as last reported to the root
	since     time.Time // since when it cannot store, zero while it can
	epoch     messages.Epoch
	paused    bool
	ending    bool       // the daemon stops
	stopAsker *actor.PID // waits for that stop
	retries   int        // numbers the connection's restarts, to recognise a late timer

	tenure
	ownership
}

// tenure is the state of one life of the feed's actors. Where the store is shared, a tenure lasts
// while the lease is held. Otherwise it ends only if the stream does not end where this daemon left
// it.
type tenure struct {
	cursor, writer, watchdog, connection, backfill *actor.PID

	phase phase
	// leaving says that the tenure ends in good order: the feed reads nothing more, and stores what
	// it has read.
	leaving  bool
	request  jetstream.Request
	resuming resuming
	filters  filters
	// handover says that the connection began with a replay by time, so that its change to live
	// must be noticed.
	handover bool
	// unseen is the span in which the last connection may have changed to live unnoticed, nil for
	// none.
	unseen *span
	repair repair
	// firstUS is the time of the stream's first event, on the clock of its host then; 0 for
	// unknown.
	firstUS    int64
	placed     bool                  // firstUS was loaded
	unplaced   []*messages.BlockLost // blocks that wait for firstUS
	unrecorded []messages.Gap        // sent outside of the writer's epochs, not yet recorded
	openAt     time.Time             // when the websocket opened
	closed     bool                  // the stream is closed for good: the feed reads no more
	stalled    string                // why the writer cannot append, "" when it can
	// unread says why the cursor cannot read the stored position, "" when it can.
	unread string

	quiescing messages.Epoch // the Quiesce that the writer has not answered, 0 for none
	pong      time.Time      // the last pong that led to an AtTip

	retry    clockwork.Timer            // the pending restart of the connection
	restarts map[string]clockwork.Timer // the pending restarts of the others, by actor ID
}

// How many faults of ours a feed allows its actors within the window before it escalates.
const (
	feedMaxFaults   = 5
	feedFaultWindow = time.Minute
)

// newFeed makes the props of a feed supervisor. The book belongs to the root, so it survives a
// restart of the feed.
func newFeed(cfg feedConfig, b *book) *actor.Props {
	return actors.Guarded(cfg.Name, cfg.Observer, cfg.Fault, func() actor.Actor {
		return &feed{
			cfg:       cfg,
			book:      b,
			endpoints: NewEndpoints(cfg.Endpoints, cfg.Backoff, cfg.Rand),
			faults:    Intensity{Max: feedMaxFaults, Window: feedFaultWindow},
			epoch:     b.status.Epoch,
			tenure:    newTenure(cfg),
		}
	})
}

// Receive implements actor.Actor.
func (f *feed) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		f.begun(ctx)
		f.tick(ctx)
	case *actor.Restarting, *actor.Stopping:
		f.stopTimers()
		if f.ticker != nil { // nil where the feed failed at its start
			f.ticker.Stop()
		}
	case *tick:
		f.tick(ctx)

	case *messages.ConnectionReady:
		f.ready(ctx)
	case *messages.Quiesced:
		if m.Epoch != f.quiescing {
			return
		}
		f.quiescing = 0
		if f.phase == preparing {
			ctx.Request(f.cursor, &messages.ResumeQuery{Epoch: f.epoch})
		}
	case *messages.ResumePoint:
		if f.phase == preparing && m.Epoch == f.epoch {
			if m.Found {
				f.book.resumes(m.Checkpoint)
			}
			f.connect(ctx, m)
		}
	case *messages.Connected:
		if f.phase == connecting && m.Epoch == f.epoch {
			f.connected(ctx, m)
		}
	case *messages.ReadingStopped:
		f.readingStopped(ctx)

	case *messages.Committed:
		f.book.committed(m)
		f.resuming.committed(m, f.cfg.Monotonic())
	case *messages.Proven:
		f.resuming.proven(m)
	case *messages.GapRecorded:
		f.unrecorded = slices.DeleteFunc(f.unrecorded, func(g messages.Gap) bool { return g == m.Gap })
		if !m.Known {
			f.gapRecorded(m)
		}
	case *messages.WriterTrouble:
		f.stalled = m.Reason
		f.showTrouble()
	case *messages.CursorTrouble:
		f.unread = m.Reason
		f.showTrouble()
	case *messages.ReadAgain:
		if m.Epoch == f.epoch && (f.phase == connecting || f.phase == connected) {
			ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseWriter})
		}
	case *messages.Heartbeat:
		f.heartbeat(ctx, m)
	case *messages.Suspicion:
		f.book.suspect(m.Phi)
	case *messages.Stalled:
		f.book.status.Stalls++
	case *messages.NoOverlap:
		if m.Epoch == f.resuming.epoch {
			f.tooLate(ctx, m.Outdated)
		}
	case *messages.BackfillDone:
		f.repaired(ctx, m)
	case *messages.BlockLost:
		f.blockLost(ctx, m)
	case *repairDue:
		f.startRepair(ctx)

	case *messages.Share:
		f.share(ctx, m)
	case *actors.LeaseGranted:
		f.granted(ctx, m)
	case *messages.LeaseHeld:
		f.held(m.Owner)
	case *messages.LeaseTrouble:
		if f.phase == absent && !f.ending {
			f.away = m.Reason
			f.book.enter(messages.StateStandby, m.Reason)
		}
	case *messages.LeaseLost:
		if m.Lease == f.lease {
			f.lose(ctx, m.Reason, m.Owner)
		}
	case *messages.LeaseReleased:
		f.released(ctx)
	case *messages.Fenced:
		if m.Epoch == f.lease.Epoch {
			f.lose(ctx, "an append was refused", m.Owner)
		}
	case *messages.StreamClosed:
		f.streamClosed(ctx, m)
	case *messages.StreamMoved:
		f.moved(ctx, m)
	case *actor.Terminated:
		f.terminated(ctx, m.Who)

	case *messages.FeedQuery:
		s := f.book.snapshot()
		s.LagMS = f.lag(f.cfg.Clock.Now()).Milliseconds()
		s.Endpoints = f.endpoints.Status(f.cfg.Clock.Now())
		s.Retention = messages.Retention{AgeSeconds: int64(f.cfg.Retention.Age / time.Second), Bytes: f.cfg.Retention.Bytes, Entries: f.cfg.Retention.Entries}
		ctx.Respond(s)
	case *messages.HistoryQuery:
		ctx.Respond(f.book.history.tell(f.cfg.Name, f.cfg.Clock.Now(), m))
	case *filterUpdate:
		ctx.Respond(&messages.CommandDone{Err: f.updateFilter(ctx, m.filter)})
	case messages.Command:
		ctx.Respond(&messages.CommandDone{Err: f.command(ctx, m)})
	case *messages.HealthCheck:
		f.health.ask(ctx, m, f.answering())
	case *actors.HealthReply:
		f.health.reply(ctx, m)

	case *messages.Stop:
		f.stop(ctx)
	case *messages.Drained:
		if f.leaving {
			f.save(ctx)
		}
	case *messages.CheckpointSaved:
		f.left(ctx, saveFailure(m.Err))

	case *retryDue:
		f.retryConnection(ctx, m.number)
	case *restartDue:
		f.restartActor(ctx, m.pid)
	}
}

// ready notes that the connection actor has started and waits.
func (f *feed) ready(ctx actor.Context) {
	if f.phase == absent {
		return
	}
	f.phase = idle
	switch {
	case f.leaving:
		f.drain(ctx)
	case !f.paused && !f.closed:
		f.begin(ctx)
	}
}

func (f *feed) connected(ctx actor.Context, m *messages.Connected) {
	f.phase, f.openAt = connected, m.At
	f.resuming.connected(f.endpoints.Current().Host(), m, f.cfg.Monotonic())
	f.filters.opened(m.Present.US)
	f.saveFilters(ctx)
	if len(f.repair.queue) > 0 {
		f.scheduleRepair(ctx, repairDelay)
	}
	f.endpoints.Live()
	f.book.status.Protocol, f.book.status.Compression = m.Protocol, m.Compression
	f.cfg.Observer.Emit(observe.FeedWire, f.cfg.Name, "epoch", uint64(f.epoch), "endpoint", f.endpoints.Current().String(),
		"protocol", m.Protocol, "compression", m.Compression, "fallback", m.Fallback)
	f.watch(ctx, m.At)
	f.showLive()
}

// watch tells the watchdog to watch the connection, which opened at the given time.
func (f *feed) watch(ctx actor.Context, at time.Time) {
	ctx.Send(f.watchdog, &actors.Watch{Connection: f.connection, Host: f.endpoints.Current().Host(), Epoch: f.epoch, At: at})
}

// gapRecorded reports a gap entry, whatever its cause: a state, a log event and a metric.
func (f *feed) gapRecorded(m *messages.GapRecorded) {
	f.book.gap(m)
	g := m.Gap
	was, reason, next := f.book.status.State, f.book.status.Reason, f.book.status.NextAttemptAt
	f.book.enter(messages.StateGapped, string(g.Cause), "id", m.ID.String(), "gap_from", showTime(g.FromUS), "gap_to", showTime(g.ToUS), "host", g.Host)
	if f.phase == connected {
		f.showLive()
		return
	}
	f.book.enter(was, reason)
	f.book.status.NextAttemptAt = next
}

// quiesce asks the writer to finish the epochs before this one. At most one Quiesce is under way:
// its answer about an earlier epoch serves this one too, because no epoch has begun since the
// question.
func (f *feed) quiesce(ctx actor.Context) {
	if f.quiescing == 0 {
		f.quiescing = f.epoch
		ctx.Send(f.writer, &messages.Quiesce{Epoch: f.epoch})
	}
}

// showTrouble enters the state that shows whether the store refuses or works again.
func (f *feed) showTrouble() {
	if f.phase == preparing {
		f.showBegun()
	}
	f.showLive()
}

// showBegun enters the state of an epoch that has begun and is not connected yet.
func (f *feed) showBegun() {
	switch trouble := cmp.Or(f.stalled, f.unread); {
	case trouble != "":
		f.book.enter(messages.StateBackpressured, trouble)
	case f.epoch == 1:
		f.book.enter(messages.StateConnecting, "started")
	default:
		f.book.enter(messages.StateReconnecting, "")
	}
}

// showLive enters live, or the state that keeps a connected feed from being live.
func (f *feed) showLive() {
	switch {
	case f.phase != connected:
	case f.stalled != "":
		f.book.enter(messages.StateBackpressured, f.stalled)
	default:
		f.book.enter(messages.StateLive, "")
	}
}

const (
	// blockedFor is how long a connection may wait for the writer before the feed counts as
	// backpressured. A commit takes milliseconds.
	blockedFor = time.Second
	// tipAfter is the silence after which a connection counts as being at the tip.
	tipAfter = time.Minute
)

func (f *feed) heartbeat(ctx actor.Context, m *messages.Heartbeat) {
	if m.Epoch != f.epoch || f.phase != connected {
		return
	}
	f.book.heartbeat(m)
	f.book.beats(m, f.openAt, f.book.status.Position, f.book.status.Suspicion, f.cfg.PingInterval+maxPingTimeout)
	switch {
	case m.Blocked >= blockedFor:
		if f.stalled == "" {
			f.book.enter(messages.StateBackpressured, "the store does not keep up")
		}
	case f.book.status.State == messages.StateBackpressured:
		f.showLive()
	}
	if f.endpoints.WantsBack(m.At, m.At.Sub(f.openAt)) {
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CausePreferred})
	}
	quietSince := m.LastFrame
	if quietSince.Before(f.openAt) {
		quietSince = f.openAt
	}
	if f.resuming.unproven && m.Blocked == 0 && m.At.Sub(quietSince) >= proofAfter {
		f.tooLate(ctx, false)
	}
	f.noticeHandover(ctx, m)
	f.resuming.presentUS, f.resuming.presentAt = m.PresentUS, m.At
	if m.Blocked == 0 && m.Pong.After(f.pong) && m.Pong.Sub(quietSince) >= tipAfter && !f.resuming.doubtful() {
		f.pong = m.Pong
		f.resuming.alive(f.cfg.Monotonic())
		if m.TipUS > 0 {
			ctx.Send(f.cursor, &messages.AtTip{At: messages.UpstreamTime{Host: f.endpoints.Current().Host(), US: m.TipUS}})
		}
	}
}
