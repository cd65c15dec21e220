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

// Upstream is an open websocket; *jetstream.Conn is one.
type Upstream interface {
	Run(first *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (rest *messages.Batch, err error)
	Wire() jetstream.Wire
	UpdateFilter(ctx context.Context, f jetstream.Filter) error
	Ping(ctx context.Context) error
	Activity() jetstream.Activity
	Close(code int, reason string) error
	CloseNow()
}

// Dialer opens a websocket; it obeys its context.
type Dialer func(ctx context.Context, req jetstream.Request) (Upstream, error)

// ConnectionConfig is what a connection needs. Its parent, the feed, hears of everything; the writer gets the batches, the watchdog the heartbeats.
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
	Clock        clockwork.Clock
	Observer     *observe.Observer
}

// Connect tells the connection what to dial. The feed sends it in answer to a messages.ConnectionReady.
type Connect struct {
	Epoch   messages.Epoch
	Request jetstream.Request
	Resume  messages.Checkpoint // what the request's cursor comes from
}

// UpdateFilter tells the connection that the feed's filter is another. Where the upstream can be told, it is; else the connection ends, and the
// next one asks for it.
type UpdateFilter struct {
	Epoch  messages.Epoch
	Filter jetstream.Filter
}

// NewConnection makes the props of the actor that owns a feed's websocket. It dials when it is told to, and
// fails with an *Ended when the websocket ends, whatever ended it, unless it was told to stop reading.
func NewConnection(cfg ConnectionConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, func() actor.Actor { return &connection{cfg: cfg} })
}

type connection struct {
	cfg      ConnectionConfig
	session  *session // nil while there is no websocket and none is being dialled
	stopping bool     // told to stop reading: the session's end is an answer and not a failure
}

// Receive is the actor's.
func (c *connection) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Send(ctx.Parent(), &messages.ConnectionReady{})
	case *actor.Restarting, *actor.Stopping:
		c.end()
	case *Connect:
		if c.session == nil {
			c.stopping = false
			c.session = startSession(ctx, c.cfg, m)
		}
	case *sessionEnded:
		if c.session == nil || m.ended.Epoch != c.session.epoch {
			return
		}
		c.session.done.Wait()
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
		ctx.Respond(&messages.HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// end cancels the session and waits for its goroutines; it is quick, for the websocket is closed at once.
func (c *connection) end() {
	if c.session != nil {
		c.session.cancel(errActorStops)
		c.session.done.Wait()
		c.session = nil
	}
}
