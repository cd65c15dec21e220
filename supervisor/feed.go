package supervisor

import (
	"fmt"
	"math/rand/v2"
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
	Protocol    jetstream.Protocol
	Compress    jetstream.Compression
	Endpoints   []jetstream.Endpoint // in order of preference
	Stream      persistence.Stream   // nil until the lease is held, where the store is shared
	Lease       *leaseConfig         // nil where the store is this daemon's alone
	Checkpoints persistence.CheckpointStore
	Apart       bool // the checkpoints are kept in another place than the streams
	Dial        actors.Dialer
	Clock       clockwork.Clock
	Monotonic   func() time.Duration
	Interval    time.Duration // mean interval of the events the stream holds, 0 where there are too few
	Observer    *observe.Observer
	Rand        *rand.Rand
}

// dialTimeout bounds name resolution, connect, TLS and upgrade together.
const dialTimeout = 15 * time.Second

// maxPingTimeout is the longest a pong is waited for.
const maxPingTimeout = 10 * time.Second

// phase is where the connection actor stands, seen from its supervisor.
type phase uint8

const (
	absent     phase = iota // there is none: the feed's lease is not held
	starting                // its ConnectionReady has not come yet
	idle                    // it waits for a Connect
	preparing               // writer and cursor are being asked what the next epoch follows
	connecting              // told to dial
	connected
	stopping // told to stop reading
	waiting  // it failed and waits to be restarted; its mailbox stands still
)

// feed supervises the actors of one feed and owns its state machine. It is its own supervision strategy (failure.go).
type feed struct {
	cfg    feedConfig
	book   *book
	faults Intensity
	health healthRound

	endpoints *Endpoints
	epoch     messages.Epoch
	paused    bool
	ending    bool       // the daemon stops
	stopAsker *actor.PID // who waits for that
	retries   int        // numbers the restarts of the connection, so that a late timer is recognised

	tenure
	ownership
}

// tenure is what belongs to one life of the feed's actors. Where the store is shared that is while its lease is held; else there is one.
type tenure struct {
	cursor, writer, watchdog, connection, backfill *actor.PID

	phase    phase
	leaving  bool // it is being ended in good order: nothing is read any more, what was read is being stored
	plan     jetstream.Plan
	request  jetstream.Request
	rewind   time.Duration // how far the next resume by time goes back; grows while a replay begins too late
	unproven bool          // the replay has not begun with anything that the stream holds, nor with anything else
	handover bool          // the connection began with a replay by time: its change to live is to be watched for
	repair   repair
	openAt   time.Time // when the websocket opened
	closed   bool      // its stream was closed for good: there is nothing more to read for
	clean    bool      // the last connection was ended by the upstream in good order: its sequence numbers stand
	blind    bool      // the last connection was left because it showed no commits
	seqReset bool      // the upstream's sequences started anew: resume by time
	stalled  string    // why the writer cannot append, "" when it can
	pong     time.Time // the last pong that was turned into an AtTip

	retry    clockwork.Timer            // the pending restart of the connection
	restarts map[string]clockwork.Timer // the pending restarts of the others, by actor ID
}

// Faults of ours that a feed grants its actors within the window before it escalates.
const (
	feedMaxFaults   = 5
	feedFaultWindow = time.Minute
)

// newFeed makes the props of a feed supervisor. The book is the root's: it outlives a restart of the feed.
func newFeed(cfg feedConfig, b *book) *actor.Props {
	return actors.Guarded(cfg.Name, cfg.Observer, func() actor.Actor {
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

// Receive is the actor's.
func (f *feed) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		f.begun(ctx)
	case *actor.Restarting, *actor.Stopping:
		f.stopTimers()

	case *messages.ConnectionReady:
		f.ready(ctx)
	case *messages.Quiesced:
		if f.phase == preparing && m.Epoch == f.epoch {
			ctx.Request(f.cursor, &messages.ResumeQuery{Epoch: f.epoch})
		}
	case *messages.ResumePoint:
		if f.phase == preparing && m.Epoch == f.epoch {
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
		if m.Epoch == f.epoch {
			f.unproven = false
			f.rewind, f.seqReset = f.cfg.Rewind, false // the replay begins early enough, and the position is one of it
		}
	case *messages.GapRecorded:
		f.book.gap(m)
		f.showLive()
	case *messages.WriterStalled:
		f.stalled = m.Reason
		if f.phase == connected {
			f.book.enter(messages.StateBackpressured, m.Reason)
		}
	case *messages.WriterResumed:
		f.stalled = ""
		f.showLive()
	case *messages.Heartbeat:
		f.heartbeat(ctx, m)
	case *messages.Suspicion:
		f.book.suspect(m.Phi)
	case *messages.Stalled:
		f.book.status.Stalls++
	case *messages.NoOverlap:
		if m.Epoch == f.epoch {
			f.rewindFurther(ctx)
		}
	case *messages.BackfillDone:
		f.repaired(ctx, m)
	case *repairDue:
		f.startRepair(ctx)

	case *messages.Share:
		f.share(ctx, m)
	case *actors.LeaseGranted:
		f.granted(ctx, m)
	case *messages.LeaseHeld:
		f.held(m.Owner)
	case *messages.LeaseAway:
		if f.phase == absent && !f.ending {
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
	case *messages.HealthReply:
		f.health.reply(ctx, m)

	case *messages.Stop:
		f.stop(ctx)
	case *messages.Drained:
		if f.leaving {
			f.save(ctx)
		}
	case *messages.CheckpointSaved:
		f.left(ctx, m.Err)

	case *retryDue:
		f.retryConnection(ctx, m.number)
	case *restartDue:
		f.restartActor(ctx, m.pid)
	}
}

// ready is the connection actor's word that it has started and waits.
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
	f.phase, f.openAt, f.blind = connected, m.At, false
	f.endpoints.Live()
	f.book.status.Protocol, f.book.status.Compression = m.Protocol, m.Compression
	f.cfg.Observer.Emit(observe.FeedWire, f.cfg.Name, "epoch", uint64(f.epoch), "endpoint", f.endpoints.Current().String(),
		"protocol", m.Protocol, "compression", m.Compression, "fallback", m.Fallback)
	ctx.Send(f.writer, &messages.EpochLive{Epoch: f.epoch, At: m.At})
	ctx.Send(f.watchdog, &messages.Watch{Connection: f.connection, Epoch: f.epoch, At: m.At})
	if f.plan.Gap != nil {
		f.book.enter(messages.StateGapped, string(f.plan.Gap.Cause))
		return
	}
	f.showLive()
}

// showLive enters live, or what keeps a connected feed from it.
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
	// blockedFor is how long a connection may wait for the writer before the feed counts as backpressured: a commit takes milliseconds.
	blockedFor = time.Second
	// tipAfter is how long nothing must have come before a connection counts as standing at the tip.
	tipAfter = time.Minute
)

func (f *feed) heartbeat(ctx actor.Context, m *messages.Heartbeat) {
	if m.Epoch != f.epoch || f.phase != connected {
		return
	}
	f.book.heartbeat(m)
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
	if f.unproven && m.Frames == 0 && m.At.Sub(f.openAt) >= proofAfter {
		f.rewindFurther(ctx)
	}
	f.noticeHandover(ctx, m)
	quietSince := m.LastFrame
	if quietSince.Before(f.openAt) {
		quietSince = f.openAt
	}
	if m.Blocked == 0 && m.Pong.After(f.pong) && m.Pong.Sub(quietSince) >= tipAfter {
		f.pong = m.Pong
		ctx.Send(f.cursor, &messages.AtTip{At: m.Pong})
	}
}

// errPaused refuses a reconnect of a paused feed.
var errPaused = fmt.Errorf("%w: the feed is paused: resume it instead", messages.ErrNotNow)

// errClosed refuses a command about a feed that has come to its end.
var errClosed = fmt.Errorf("%w: the feed's stream is closed for good", messages.ErrNotNow)

// command does what an operator asks; asking for what is so already is fine.
func (f *feed) command(ctx actor.Context, c messages.Command) error {
	switch {
	case f.ending:
		return fmt.Errorf("%w: the daemon is stopping", messages.ErrNotNow)
	case f.phase == absent || f.clearing || f.leaving:
		return f.notOurs()
	case f.closed:
		return errClosed
	}
	switch c {
	case messages.CommandReconnect:
		if f.paused {
			return errPaused
		}
		f.endpoints.Reset()
		if f.phase == waiting {
			f.retryNow(ctx)
			return nil
		}
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseOperator})
	case messages.CommandPause:
		f.paused = true
		f.haltReading(ctx)
		f.book.enter(messages.StatePaused, "operator")
	case messages.CommandResume:
		if !f.paused {
			return nil
		}
		f.paused = false
		f.endpoints.Reset()
		switch f.phase {
		case idle:
			f.begin(ctx)
		case waiting:
			f.retryNow(ctx)
		}
	}
	return nil
}

// haltReading ends the connection, if there is one, and the wait for the next one.
func (f *feed) haltReading(ctx actor.Context) {
	ctx.Send(f.watchdog, &messages.Unwatch{})
	f.haltRepair(ctx)
	switch f.phase {
	case preparing, connecting, connected:
		f.phase = stopping
		ctx.Send(f.connection, &messages.StopReading{})
	case waiting:
		f.cancelRetry()
	}
}

func (f *feed) readingStopped(ctx actor.Context) {
	if f.phase != stopping {
		return
	}
	f.ready(ctx)
	if f.paused {
		ctx.Send(f.cursor, &messages.SaveCheckpoint{Cause: "pause"})
	}
}
