package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// Upstream is an open websocket. *jetstream.Conn implements it.
type Upstream interface {
	Run(first *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (rest *messages.Batch, err error)
	Wire() jetstream.Wire
	UpdateFilter(ctx context.Context, f jetstream.Filter) error
	Ping(ctx context.Context) error
	Activity() jetstream.Activity
	// ServerDate is the server's own clock as its handshake told it, to the second. ok is false
	// where the handshake did not tell it.
	ServerDate() (date time.Time, ok bool)
	Close(code int, reason string) error
	CloseNow()
}

// Dialer opens a websocket. It returns when its context ends.
type Dialer func(ctx context.Context, req jetstream.Request) (Upstream, error)

// Sweeper is an Upstream that reads an archive. *archive.Conn implements it.
type Sweeper interface {
	Upstream
	Progress() messages.SweepProgress
}

// ArchiveOpener makes a reader of the archive of a request's endpoint. It makes no request itself.
type ArchiveOpener func(req jetstream.Request, a Archive) (Sweeper, error)

// ConnectionConfig is what a connection needs. The connection reports everything to its parent, the
// feed. The writer gets the batches, and the watchdog the heartbeats.
type ConnectionConfig struct {
	Feed         string
	Dial         Dialer
	Archive      ArchiveOpener
	DialTimeout  time.Duration
	PingInterval time.Duration
	PingTimeout  time.Duration
	Limits       jetstream.Limits
	Pool         Pool
	Writer       *actor.PID
	Watchdog     *actor.PID
	Monotonic    func() time.Duration
	Clock        clockwork.Clock
	Observer     *observe.Observer
	Fault        Fault
}

// open opens what a Connect asks for: an archive, or a websocket.
func (c *ConnectionConfig) open(ctx context.Context, m *Connect) (Upstream, error) {
	if m.Archive != nil {
		return c.Archive(m.Request, *m.Archive)
	}
	return c.dial(ctx, m.Request)
}

// dial opens a websocket within DialTimeout.
func (c *ConnectionConfig) dial(ctx context.Context, req jetstream.Request) (Upstream, error) {
	limited, cancel := clockwork.WithTimeout(ctx, c.Clock, c.DialTimeout)
	defer cancel()
	return c.Dial(limited, req)
}

// NewConnection makes the props of the actor that owns a feed's websocket. It dials on a Connect.
// It fails with an *Ended when the websocket ends, for any reason except a StopReading.
func NewConnection(cfg ConnectionConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &connection{cfg: cfg} })
}

type connection struct {
	Tasks
	cfg      ConnectionConfig
	session  *session // nil while no websocket is open or being dialled
	stopping bool     // after StopReading: the session's end is an answer and not a failure
}

// Receive implements actor.Actor.
func (c *connection) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Send(ctx.Parent(), &messages.ConnectionReady{})
	case *Connect:
		c.connect(ctx, m)
	case *sessionEnded:
		c.ended(ctx, m.ended)
	case *messages.ForceReconnect:
		if c.reads(m.Epoch) {
			c.cfg.Observer.Emit(observe.ForceReconnect, c.cfg.Feed, "epoch", uint64(m.Epoch), "cause", string(m.Cause))
			c.session.cancel(&forced{m.Cause})
		}
	case *UpdateFilter:
		if c.reads(m.Epoch) {
			c.session.updateFilter(m.Filter)
		}
	case *messages.StopReading:
		if c.session == nil {
			ctx.Send(ctx.Parent(), &messages.ReadingStopped{})
			return
		}
		c.stopping = true
		c.session.cancel(errStopReading)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// reads says whether a session of the epoch is under way, and was not told to stop reading.
func (c *connection) reads(epoch messages.Epoch) bool {
	return c.session != nil && c.session.epoch == epoch && !c.stopping
}

// connect starts the session of an epoch.
func (c *connection) connect(ctx actor.Context, m *Connect) {
	if c.session != nil {
		if m.Epoch <= c.session.epoch {
			return
		}
		// The session of an older epoch is still here: its Connect was sent to the incarnation
		// before this one.
		c.session.task.End(errOver)
	}
	c.stopping = false
	c.cfg.Pool.refill()
	c.session = startSession(ctx, c.cfg, c.NewTask(ctx), m)
}

// ended fails the actor with the end of its session, unless it was told to stop reading.
func (c *connection) ended(ctx actor.Context, e *Ended) {
	c.session.task.End(errOver)
	c.session = nil
	if !c.stopping {
		panic(e)
	}
	ctx.Send(ctx.Parent(), &messages.ReadingStopped{})
}

// Ended is why a connection ended. The connection actor fails with it, and the feed's supervision
// decides what follows.
type Ended struct {
	Epoch  messages.Epoch
	Lived  time.Duration // from the open websocket to its end; 0 if it was never open
	Reason string        // one bounded line, free of secrets
	Clean  bool          // the upstream announced the end
	// Permanent says that the upstream refuses us, and that another request soon will not help.
	Permanent  bool
	RetryAfter time.Duration           // the wait that the upstream asked for, 0 for none
	Forced     messages.ReconnectCause // "" when the upstream or the network ended it
	SeqReset   bool                    // the upstream's sequence numbers began anew: resume by time
	// TooOld says that the socket does not go back to what was asked for, as the upstream says.
	TooOld bool
	Swept  bool // an archive was read to its end
	// Sweep is how far the reading of an archive came; nil for a websocket.
	Sweep    *messages.SweepProgress
	Frames   uint64 // read on this connection
	NewestUS int64  // the greatest upstream time among them, Unix µs
	// PresentUS is a moment that the host's clock had surely reached at the end, Unix µs; 0 where
	// nothing is known of that clock.
	PresentUS int64
	Poison    bool // the connection ended within a message, or because of one
	Passing   bool // the upstream said that it will be back soon: its host is not blamed
}

func (e *Ended) Error() string {
	return fmt.Sprintf("connection of epoch %d ended: %s", e.Epoch, e.Reason)
}

// Ours says whether we ended the connection for reasons of our own. Such an end says nothing about
// the upstream.
func (e *Ended) Ours() bool {
	switch e.Forced {
	case messages.CauseOperator, messages.CauseSleep, messages.CauseFilter, messages.CauseClock, messages.CausePreferred, messages.CauseWriter, messages.CauseBlind:
		return true
	}
	return false
}

// Stale says whether the watchdog ended the connection.
func (e *Ended) Stale() bool {
	switch e.Forced {
	case messages.CauseSilence, messages.CauseAdaptive, messages.CauseHalfOpen:
		return true
	}
	return false
}

// Credits is how many batches a feed has: one is filled, one waits and one is committed. Together
// with the bounds of a batch they bound the memory between socket and store (I5).
const Credits = 3

// Pool holds a feed's free batches. It lives longer than the incarnations of the connection, so
// that a batch in flight comes back to it.
type Pool chan *messages.Batch

// refill replaces the batches that do not come back any more: an actor failed while it held them. At
// the beginning of an epoch no batch of the last one is in use.
func (p Pool) refill() {
	for len(p) < cap(p) {
		select {
		case p <- &messages.Batch{}:
		default:
		}
	}
}

// NewPool makes a pool of Credits empty batches.
func NewPool() Pool {
	p := make(Pool, Credits)
	p.refill()
	return p
}
