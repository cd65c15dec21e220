package actors

import (
	"context"
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

// ConnectionConfig is what a connection needs. The connection reports everything to its parent, the
// feed. The writer gets the batches, and the watchdog the heartbeats.
type ConnectionConfig struct {
	Feed         string
	Dial         Dialer
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

// Connect tells the connection what to dial. The feed sends it as the answer to a
// messages.ConnectionReady.
type Connect struct {
	Epoch   messages.Epoch
	Request jetstream.Request
	Resume  jetstream.Resume // the input of the plan
	Plan    jetstream.Plan
}

// Connected says that a websocket is open.
type Connected struct {
	Epoch messages.Epoch
	At    time.Time
	Wire  jetstream.Wire // what is spoken on this connection
	// Present is what the host's clock shows. It has no host if it had to be taken from our own
	// clock.
	Present messages.UpstreamTime
}

// UpdateFilter tells the connection that the feed's filter has changed. The connection sends the
// filter to an upstream that accepts updates. Otherwise it ends, and the next connection asks for
// the new filter.
type UpdateFilter struct {
	Epoch  messages.Epoch
	Filter jetstream.Filter
}

// NewConnection makes the props of the actor that owns a feed's websocket. It dials on a Connect.
// It fails with an *Ended when the websocket ends, for any reason except a StopReading.
func NewConnection(cfg ConnectionConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &connection{cfg: cfg} })
}

type connection struct {
	Beside
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
		if c.session != nil {
			if m.Epoch <= c.session.epoch {
				return
			}
			// The session of an older epoch is still here: its Connect was sent to the incarnation
			// before this one.
			c.session.task.End(errOver)
		}
		c.stopping = false
		c.session = startSession(ctx, c.cfg, c.Begin(ctx), m)
	case *sessionEnded:
		c.session.task.End(errOver)
		c.session = nil
		if c.stopping {
			ctx.Send(ctx.Parent(), &messages.ReadingStopped{})
			return
		}
		panic(m.ended)
	case *messages.ForceReconnect:
		if c.session != nil && c.session.epoch == m.Epoch && !c.stopping {
			c.cfg.Observer.Emit(observe.ForceReconnect, c.cfg.Feed, "epoch", uint64(m.Epoch), "cause", string(m.Cause))
			c.session.cancel(&forced{m.Cause})
		}
	case *UpdateFilter:
		if c.session != nil && c.session.epoch == m.Epoch && !c.stopping {
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
