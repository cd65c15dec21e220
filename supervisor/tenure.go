package supervisor

import (
	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

func newTenure(cfg feedConfig) tenure {
	return tenure{restarts: make(map[string]clockwork.Timer)}
}

// begun starts the feed's first actors: all of them, or only the keeper where the store is shared.
func (f *feed) begun(ctx actor.Context) {
	if f.cfg.Lease == nil {
		f.spawn(ctx)
		return
	}
	f.spawnKeeper(ctx)
}

// spawn starts the feed's actors. An actor that receives messages starts before the actors that
// send them.
func (f *feed) spawn(ctx actor.Context) {
	c := f.cfg
	f.phase = starting
	f.cursor = mustSpawn(ctx, "cursor", actors.NewCursor(actors.CursorConfig{
		Feed: c.Name, Stream: c.Stream, Checkpoints: c.Checkpoints, Filters: c.Filters, Interval: c.CheckpointInterval,
		ReplayWindow: c.ReplayWindow, SeparateStore: c.Apart, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}))
	f.writer = mustSpawn(ctx, "writer", actors.NewWriter(actors.WriterConfig{
		Feed: c.Name, Stream: c.Stream, Cursor: f.cursor, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
		Dedupe: dedupe.Options{
			Horizon: persistence.Horizon{Entries: c.DedupeHorizon.Entries, Age: c.DedupeHorizon.Age},
			Always:  c.Dedupe == "always",
			Clock:   c.Clock,
		},
	}))
	f.watchdog = mustSpawn(ctx, "watchdog", actors.NewWatchdog(actors.WatchdogConfig{
		Feed: c.Name, StaleAfter: c.StaleAfter, BlindAfter: c.BlindAfter, Interval: c.Interval, Monotonic: c.Monotonic, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}))
	connection := actors.ConnectionConfig{
		Feed: c.Name, Dial: c.Dial, DialTimeout: dialTimeout,
		PingInterval: c.PingInterval, PingTimeout: min(c.PingInterval, maxPingTimeout),
		Limits: jetstream.Limits{Events: c.BatchEvents, Bytes: int(c.BatchBytes), Delay: c.BatchDelay},
		Pool:   actors.NewPool(), Writer: f.writer, Watchdog: f.watchdog, Monotonic: c.Monotonic, Clock: c.Clock, Observer: c.Observer, Fault: c.Fault,
	}
	f.backfill = mustSpawn(ctx, "backfill", actors.NewBackfill(connection))
	f.connection = mustSpawn(ctx, "connection", actors.NewConnection(connection))
}

func mustSpawn(ctx actor.Context, name string, props *actor.Props) *actor.PID {
	pid, err := ctx.SpawnNamed(props, name)
	if err != nil {
		panic(err)
	}
	return pid
}

// stop begins the graceful end of the feed.
func (f *feed) stop(ctx actor.Context) {
	if f.ending {
		return
	}
	f.ending, f.stopAsker = true, ctx.Sender()
	switch {
	case f.clearing || f.leaving: // the end of the tenure also ends the feed
	case f.phase == absent:
		ctx.Send(f.keeper, &messages.ReleaseLease{}) // the keeper may be asking for the lease
	default:
		f.leave(ctx)
	}
}

// leave begins the graceful end of a tenure: stop reading, commit what was read, save the
// checkpoint.
func (f *feed) leave(ctx actor.Context) {
	f.leaving, f.saveErr = true, nil
	f.haltReading(ctx)
	if f.phase == idle || f.phase == waiting {
		f.drain(ctx)
	}
}

// drain asks the writer to store everything that it holds. If the stream is closed, the writer
// stores nothing any more and waits for its end, so drain goes on without it.
func (f *feed) drain(ctx actor.Context) {
	if f.closed {
		f.save(ctx)
		return
	}
	ctx.Send(f.writer, &messages.Drain{})
}

func (f *feed) save(ctx actor.Context) {
	ctx.Request(f.cursor, &messages.SaveCheckpoint{Cause: "stop"})
}

// streamClosed ends the reading of a feed whose stream was closed for good.
func (f *feed) streamClosed(ctx actor.Context, m *messages.StreamClosed) {
	if f.phase == absent || f.clearing || f.closed {
		return
	}
	f.closed = true
	f.haltReading(ctx)
	f.book.enter(messages.StateStopped, m.Reason)
	if f.leaving && (f.phase == idle || f.phase == waiting) {
		f.save(ctx) // the writer will not answer
	}
}

// saveFailure is the error of the last save as far as it matters for a stop. The stream holds the
// position that counts, so nothing is lost while the store is only full or unavailable.
func saveFailure(err error) error {
	if persistence.Temporary(err) {
		return nil
	}
	return err
}

// left goes on when everything that was read is stored and the checkpoint is saved. Only now may
// another daemon begin.
func (f *feed) left(ctx actor.Context, err error) {
	if !f.leaving || f.clearing {
		return
	}
	if f.keeper != nil {
		f.saveErr = err
		ctx.Send(f.keeper, &messages.ReleaseLease{})
		return
	}
	f.stopped(ctx, err)
}

// stopped answers the daemon's stop.
func (f *feed) stopped(ctx actor.Context, err error) {
	if !f.ending || f.stopAsker == nil {
		return
	}
	f.book.enter(messages.StateStopped, "the daemon stops")
	ctx.Send(f.stopAsker, &actors.Stopped{From: ctx.Self(), Err: err})
	f.stopAsker = nil
}

// clear ends the feed's actors at once. The next owner of the feed reads again the events that they
// had not stored.
func (f *feed) clear(ctx actor.Context) {
	f.clearing, f.leaving = true, false
	f.stopTimers()
	for _, pid := range ctx.Children() {
		if !pid.Equal(f.keeper) {
			ctx.Stop(pid)
		}
	}
	f.cleared(ctx)
}

// terminated notes the end of one of the feed's actors.
func (f *feed) terminated(ctx actor.Context, pid *actor.PID) {
	f.health.excuse(ctx, pid)
	if f.clearing {
		f.cleared(ctx)
	}
}

// cleared begins to wait for the next tenure when all actors have ended: no incarnation lives
// longer than its lease.
func (f *feed) cleared(ctx actor.Context) {
	for _, pid := range ctx.Children() {
		if !pid.Equal(f.keeper) {
			return
		}
	}
	f.clearing = false
	f.tenure = newTenure(f.cfg)
	if f.cfg.Lease == nil {
		if !f.ending {
			f.spawn(ctx) // the stream goes on from its present end
		}
		return
	}
	f.paused = false
	f.cfg.Stream = nil
	f.claim(ctx)
}
