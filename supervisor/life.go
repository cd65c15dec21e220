package supervisor

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// life is one life of the feed's actors, from their start to the end of the last one, and all that
// the feed knows of it. Where the store is shared, a life lasts while the lease is held. Otherwise
// it ends only if the stream does not end where this daemon left it.
//
// Nothing of a former life reaches a later one. The next life begins with a message of the feed to
// itself ([lifeDue]), which is behind everything that the actors of the life before have sent. A
// timer's message carries the pending restart or the life that it belongs to.
type life struct {
	feed  *feed
	phase phase // what it does now

	stream   persistence.Stream
	interval time.Duration  // the mean interval of the stream's events, 0 where there are too few
	lease    messages.Lease // zero where the store is not shared, and when it is over

	cursor, writer, watchdog, connection, backfill *actor.PID
	// restarts are the failed actors, by ID.
	restarts map[string]*restart

	leaving bool // told to end; it never reads again
	closed  bool // the stream is closed for good: the feed reads no more

	request    jetstream.Request // of the newest connection
	continuity continuity
	filters    filters
	backfills  backfills
	fill       fill
	fetching   bool           // the backfill actor may fetch gaps
	unrecorded []messages.Gap // sent outside of the writer's epochs, not yet recorded

	quiescing messages.Epoch // the Quiesce that the writer has not answered, 0 for none
	stalled   string         // why the writer cannot append, "" when it can
	unread    string         // why the cursor cannot read the stored position, "" when it can
}

// lifeDue is the feed's message to itself that the next life may begin: everything that the actors
// of the life before sent has been handled.
type lifeDue struct{ life *life }

// nextLife makes the next life.
func (f *feed) nextLife(ctx actor.Context) {
	l := &life{feed: f, restarts: make(map[string]*restart)}
	l.phase = &due{inert{l}}
	f.life = l
	ctx.Send(ctx.Self(), &lifeDue{l})
}

// beginLife starts the actors of a life that is due, or asks for the lease that it needs.
func (f *feed) beginLife(ctx actor.Context, l *life) {
	switch {
	case l != f.life: // of an incarnation of the feed that has failed
	case f.cfg.Lease != nil:
		f.standBy(ctx)
	case f.stopping:
		f.stopped(ctx, nil)
	default:
		l.start(ctx, f.cfg.Stream, f.cfg.Interval)
	}
}

const (
	// dialTimeout bounds name resolution, connect, TLS and upgrade together.
	dialTimeout = 15 * time.Second
	// maxPingTimeout is the longest wait for a pong.
	maxPingTimeout = 10 * time.Second
)

// start starts the feed's actors. An actor that receives messages starts before the actors that
// send them.
func (l *life) start(ctx actor.Context, stream persistence.Stream, interval time.Duration) {
	c := l.feed.cfg
	l.stream, l.interval = stream, interval
	l.phase = &starting{runs(l)}
	l.feed.status.Fill = nil
	l.cursor = mustSpawn(ctx, "cursor", actors.NewCursor(actors.CursorConfig{
		Feed: c.Name, Stream: stream, Checkpoints: c.Checkpoints, Filters: c.Filters, Interval: c.CheckpointInterval,
		ReplayWindow: c.ReplayWindow, SeparateStore: c.SeparateStore, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}))
	l.writer = mustSpawn(ctx, "writer", actors.NewWriter(actors.WriterConfig{
		Feed: c.Name, Stream: stream, Cursor: l.cursor, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
		Dedupe: dedupe.Options{
			Horizon: persistence.Horizon{Entries: c.DedupeHorizon.Entries, Age: c.DedupeHorizon.Age},
			Always:  c.Dedupe == config.DedupeAlways,
			Clock:   c.Clock,
		},
	}))
	l.watchdog = mustSpawn(ctx, "watchdog", actors.NewWatchdog(actors.WatchdogConfig{
		Feed: c.Name, StaleAfter: c.StaleAfter, BlindAfter: c.BlindAfter, Interval: interval, Monotonic: c.Monotonic, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}))
	connection := actors.ConnectionConfig{
		Feed: c.Name, Dial: c.Dial, Archive: c.Archive, DialTimeout: dialTimeout,
		PingInterval: c.PingInterval, PingTimeout: min(c.PingInterval, maxPingTimeout),
		Limits: jetstream.Limits{Events: c.BatchEvents, Bytes: int(c.BatchBytes), Delay: c.BatchDelay},
		Pool:   actors.NewPool(), Writer: l.writer, Watchdog: l.watchdog, Monotonic: c.Monotonic, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}
	repairs := c.Repairs
	repairs.Stream = stream
	l.backfill = mustSpawn(ctx, "backfill", actors.NewBackfill(connection, repairs))
	l.connection = mustSpawn(ctx, "connection", actors.NewConnection(connection))
}

func mustSpawn(ctx actor.Context, name string, props *actor.Props) *actor.PID {
	pid, err := ctx.SpawnNamed(props, name)
	if err != nil {
		panic(err)
	}
	return pid
}

// ready goes on when the connection actor waits for an order.
func (l *life) ready(ctx actor.Context) {
	switch {
	case l.leaving:
		l.drain(ctx)
	case l.feed.paused || l.closed:
		l.phase = &idle{runs(l)}
	case l.feed.wantsNobody():
		l.phase = &unfollowed{idle{runs(l)}}
		l.feed.status.enter(messages.StatePaused, "waiting: whom its account follows is not known yet, or nobody")
	default:
		l.prepare(ctx)
	}
}

// stopReading ends the connection, or the preparations for it.
func (l *life) stopReading(ctx actor.Context) {
	l.phase = &stopping{runs(l)}
	ctx.Send(l.connection, &messages.StopReading{})
}

// drain asks the writer to store everything that it holds. If the stream is closed, the writer
// stores nothing any more and waits for its end, so drain goes on without it.
func (l *life) drain(ctx actor.Context) {
	if l.closed {
		l.save(ctx)
		return
	}
	l.phase = &draining{finishing{runs(l)}}
	ctx.Send(l.writer, &messages.Drain{})
}

func (l *life) save(ctx actor.Context) {
	l.phase = &saving{finishing{runs(l)}}
	ctx.Request(l.cursor, &messages.SaveCheckpoint{Cause: "stop"})
}

// saved goes on when everything that was read is stored and the checkpoint is saved. Only now may
// another daemon begin.
func (l *life) saved(ctx actor.Context, err error) {
	if persistence.Temporary(err) {
		// The stream holds the position that counts, so nothing is lost while the store is only
		// full or unavailable.
		err = nil
	}
	f := l.feed
	if f.holder == nil {
		l.beginEnding()
		f.stopped(ctx, err)
		return
	}
	f.saveErr = err
	l.phase = &releasing{finishing{runs(l)}}
	ctx.Send(f.holder, &messages.ReleaseLease{})
}

// streamClosed ends the reading of a stream that was closed for good.
func (l *life) streamClosed(ctx actor.Context, reason string) {
	if !l.closed {
		l.closed = true
		l.phase.halt(ctx)
		l.feed.status.enter(messages.StateStopped, reason)
	}
}

// streamMoved handles a stream that does not end where this daemon left it. The next life opens it
// again, and reads again the events that the stream does not hold any more.
func (l *life) streamMoved(ctx actor.Context, m *messages.StreamMoved) {
	f := l.feed
	reason := "the stream holds what this writer did not know of: an append that was not answered came to be after all"
	if m.Found.Compare(m.Expected) < 0 {
		f.cfg.Observer.Emit(observe.StoreTruncated, f.cfg.Name, "expected", m.Expected.String(), "found", m.Found.String())
		reason = "the store came back with older data"
	}
	if f.cfg.Lease != nil {
		l.leaseOver(f.cfg.Lease.Node.Name)
		f.status.enter(messages.StateStandby, reason)
	}
	l.end(ctx)
}

// end ends the feed's actors at once. The next owner of the feed reads again the events that they
// had not stored.
func (l *life) end(ctx actor.Context) {
	l.beginEnding()
	for _, pid := range l.actors(ctx) {
		ctx.Stop(pid)
	}
	l.feed.lifeEnded(ctx)
}

// beginEnding begins the last phase: the work of the life is done, or nothing more can be done.
func (l *life) beginEnding() {
	l.stopTimers()
	l.leaving = true
	l.phase = &ending{inert{l}}
}

// lifeEnded makes the next life when the last actor has ended: no incarnation lives longer than its
// lease.
func (f *feed) lifeEnded(ctx actor.Context) {
	if len(f.life.actors(ctx)) > 0 {
		return
	}
	if f.cfg.Lease != nil {
		f.paused = false
	}
	f.nextLife(ctx)
}

// actors are the actors of the life that have not ended.
func (l *life) actors(ctx actor.Context) (pids []*actor.PID) {
	for _, pid := range ctx.Children() {
		if !pid.Equal(l.feed.holder) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (l *life) stopTimers() {
	for _, r := range l.restarts {
		r.cancel()
	}
	clear(l.restarts)
	if l.backfills.timer != nil {
		l.backfills.timer.Stop()
	}
}
