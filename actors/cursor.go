package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// CursorConfig is what a cursor needs.
type CursorConfig struct {
	Feed         string
	Stream       persistence.Stream          // its checkpoint is the truth: it commits with the entries
	Checkpoints  persistence.CheckpointStore // what the cursor saves besides
	Apart        bool                        // they are kept in another place than the stream, and tell when its end went back
	Interval     time.Duration               // between saves while events flow
	ReplayWindow time.Duration               // past which an upstream is not asked to replay
	Clock        clockwork.Clock
	Observer     *observe.Observer
}

// NewCursor makes the props of the actor that knows where a feed stands.
//
// The position that counts is stored by the stream, with the entries it covers. The cursor's own checkpoint adds what moves without
// an append: frames that are not wanted, and the moments at which a quiet connection was known to stand at the tip.
func NewCursor(cfg CursorConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, func() actor.Actor { return &cursor{cfg: cfg} })
}

type cursor struct {
	cfg    CursorConfig
	latest messages.Checkpoint
	found  bool
	dirty  bool      // latest is not saved
	aged   time.Time // when the age was last complained about

	ready  bool       // what is stored was loaded
	asked  []question // who asked before that
	cancel context.CancelFunc

	due     clockwork.Timer // the next throttled save, nil when none is due
	saving  bool
	waiters []waiter // who asked for a save
	done    sync.WaitGroup
}

type waiter struct {
	pid   *actor.PID
	cause string
}

// question is a ResumeQuery that waits for its answer.
type question struct {
	from  *actor.PID
	epoch messages.Epoch
}

// The cursor's messages to itself.
type (
	loaded struct {
		latest messages.Checkpoint
		found  bool
		err    error
	}
	saveDue  struct{}
	saveDone struct {
		cause string
		saved messages.Checkpoint
		err   error
	}
)

// agingShare of the replay window is where a cursor's age is worth a warning.
const agingShare = 0.75

// Receive is the actor's.
func (c *cursor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		c.begin(ctx)
	case *loaded:
		c.takeOver(ctx, m)
	case *actor.Restarting, *actor.Stopping:
		c.stop()
	case *messages.Committed:
		atTip := c.latest.AtTip
		c.latest, c.found, c.dirty = m.Checkpoint, true, true
		c.latest.AtTip = max(atTip, m.Checkpoint.AtTip)
		c.schedule(ctx)
	case *messages.AtTip:
		if at := m.At.UnixMicro(); c.found && at > c.latest.AtTip {
			c.latest.AtTip, c.dirty = at, true
			c.schedule(ctx)
		}
		c.noteAge()
	case *messages.ResumeQuery:
		if !c.ready {
			c.asked = append(c.asked, question{ctx.Sender(), m.Epoch})
			return
		}
		c.noteAge()
		ctx.Respond(&messages.ResumePoint{Epoch: m.Epoch, Checkpoint: c.latest, Found: c.found})
	case *messages.SaveCheckpoint:
		c.waiters = append(c.waiters, waiter{ctx.Sender(), m.Cause})
		c.save(ctx, m.Cause)
	case *saveDue:
		c.due = nil
		c.save(ctx, "interval")
	case *saveDone:
		c.saved(ctx, m)
	case *messages.HealthCheck:
		ctx.Respond(&messages.HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// begin loads what is stored, beside the actor: a store may be away for long.
func (c *cursor) begin(ctx actor.Context) {
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	root, self := ctx.ActorSystem().Root, ctx.Self()
	c.done.Go(func() {
		m := &loaded{}
		m.err = patiently(run, c.cfg.Clock, func(error, time.Duration) {}, func() (err error) {
			m.latest, m.found, err = c.load(run)
			return err
		})
		if run.Err() == nil {
			root.Send(self, m)
		}
	})
}

// takeOver takes over what was loaded and answers who asked meanwhile.
func (c *cursor) takeOver(ctx actor.Context, m *loaded) {
	if m.err != nil {
		panic(m.err)
	}
	c.latest, c.found, c.ready = m.latest, m.found, true
	for _, q := range c.asked {
		ctx.Send(q.from, &messages.ResumePoint{Epoch: q.epoch, Checkpoint: c.latest, Found: c.found})
	}
	c.asked = nil
}

// load reads the stream's checkpoint, and the saved one, which may be ahead of it by what was passed over without an append. A saved checkpoint about
// entries that the stream does not hold (its log was truncated, or another daemon has appended since) counts for nothing, but where it is all there is: then
// what an upstream can replay is asked for again.
func (c *cursor) load(ctx context.Context) (latest messages.Checkpoint, found bool, err error) {
	stored, err := c.cfg.Stream.Checkpoint(ctx)
	found = err == nil
	if err != nil && !errors.Is(err, persistence.ErrNoCheckpoint) {
		return latest, false, fmt.Errorf("load the stream's checkpoint: %w", err)
	}
	saved, err := c.cfg.Checkpoints.LoadCheckpoint(ctx, c.cfg.Feed)
	switch {
	case errors.Is(err, persistence.ErrNoCheckpoint):
		return stored, found, nil
	case err != nil:
		return latest, false, fmt.Errorf("load the checkpoint: %w", err)
	}
	if c.cfg.Apart && saved.LastID.Compare(stored.LastID) > 0 {
		c.cfg.Observer.Emit(observe.StoreTruncated, c.cfg.Feed, "expected", saved.LastID.String(), "found", stored.LastID.String())
	}
	switch {
	case saved.LastID == stored.LastID && saved.Saved >= stored.Saved:
		return saved, true, nil
	case !found:
		oldest := c.cfg.Clock.Now().Add(-c.cfg.ReplayWindow).Add(replayMargin)
		return messages.Checkpoint{Position: messages.Position{TimeUS: min(saved.TimeUS, oldest.UnixMicro())}}, true, nil
	}
	return stored, found, nil
}

// replayMargin keeps a position that is as old as can be within the replay window until it is used.
const replayMargin = time.Minute

func (c *cursor) schedule(ctx actor.Context) {
	if c.due != nil || !c.dirty {
		return
	}
	root, self := ctx.ActorSystem().Root, ctx.Self()
	c.due = c.cfg.Clock.AfterFunc(c.cfg.Interval, func() { root.Send(self, &saveDue{}) })
}

// save writes the latest checkpoint unless that is under way; what changes meanwhile is saved after it.
func (c *cursor) save(ctx actor.Context, cause string) {
	if c.saving {
		return
	}
	if !c.dirty || !c.found {
		c.answer(ctx, nil)
		return
	}
	c.saving, c.dirty = true, false
	cp := c.latest
	cp.Saved = c.cfg.Clock.Now().UnixMicro()
	root, self := ctx.ActorSystem().Root, ctx.Self()
	c.done.Go(func() {
		err := c.cfg.Checkpoints.SaveCheckpoint(context.Background(), c.cfg.Feed, cp)
		root.Send(self, &saveDone{cause, cp, err})
	})
}

func (c *cursor) saved(ctx actor.Context, m *saveDone) {
	c.saving = false
	if m.err != nil {
		c.dirty = true
		c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", m.err.Error())
		c.answer(ctx, m.err)
		c.schedule(ctx)
		return
	}
	c.cfg.Observer.Emit(observe.CursorSaved, c.cfg.Feed, "cause", m.cause, "host", m.saved.Host, "seq", m.saved.Seq,
		"time_us", m.saved.TimeUS, "last_id", m.saved.LastID.String())
	if c.dirty && len(c.waiters) > 0 { // it moved while it was being saved
		c.save(ctx, c.waiters[0].cause)
		return
	}
	c.answer(ctx, nil)
	c.schedule(ctx)
}

func (c *cursor) answer(ctx actor.Context, err error) {
	for _, w := range c.waiters {
		if w.pid != nil {
			ctx.Send(w.pid, &messages.CheckpointSaved{Err: err})
		}
	}
	c.waiters = nil
}

// noteAge says, at most once an hour, that the position nears the age at which no upstream would be asked to replay from it.
func (c *cursor) noteAge() {
	if !c.found {
		return
	}
	now := c.cfg.Clock.Now()
	age := now.Sub(time.UnixMicro(c.latest.CoveredUS()))
	if age.Seconds() < agingShare*c.cfg.ReplayWindow.Seconds() || now.Sub(c.aged) < time.Hour {
		return
	}
	c.aged = now
	c.cfg.Observer.Emit(observe.CursorAging, c.cfg.Feed, "age", age.Round(time.Second).String(), "window", c.cfg.ReplayWindow.String())
}

func (c *cursor) stop() {
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.done.Wait()
}
