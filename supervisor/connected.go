package supervisor

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// dialled is the base of the phases in which the connection actor has been told to dial.
type dialled struct{ running }

func (p dialled) receive(ctx actor.Context) {
	m, again := ctx.Message().(*messages.ReadAgain)
	switch {
	case !again:
		p.running.receive(ctx)
	case m.Epoch == p.feed.epoch:
		p.force(ctx, messages.CauseWriter)
	}
}

func (p dialled) halt(ctx actor.Context) {
	p.running.halt(ctx)
	p.stopReading(ctx)
}

func (p dialled) force(ctx actor.Context, cause messages.ReconnectCause) {
	ctx.Send(p.connection, &messages.ForceReconnect{Epoch: p.feed.epoch, Cause: cause})
}

// connecting: the websocket is being opened.
type connecting struct{ dialled }

func (p *connecting) receive(ctx actor.Context) {
	m, open := ctx.Message().(*actors.Connected)
	switch {
	case !open:
		p.dialled.receive(ctx)
	case m.Epoch == p.feed.epoch:
		p.opened(ctx, m)
	}
}

func (p *connecting) opened(ctx actor.Context, m *actors.Connected) {
	f := p.feed
	if p.fill.sweeping {
		p.phase = &sweeping{dialled: p.dialled, at: m.At}
		f.endpoints.Live(m.At)
		f.status.Protocol, f.status.Compression = m.Wire.Protocol.String(), m.Wire.Compression.String()
		p.phase.show()
		f.showFill(m.At)
		return
	}
	live := &connected{dialled: p.dialled, at: m.At}
	p.phase = live
	p.continuity.opened(f.endpoints.Current().Host(), m, f.cfg.Monotonic())
	p.filters.opened(m.Present.US)
	p.saveFilters(ctx)
	p.startFetches(ctx)
	if len(p.backfills.queue) > 0 {
		p.scheduleBackfill(ctx, backfillDelay)
	}
	f.endpoints.Live(m.At)
	protocol, compression := m.Wire.Protocol.String(), m.Wire.Compression.String()
	f.status.Protocol, f.status.Compression = protocol, compression
	f.cfg.Observer.Emit(observe.FeedWire, f.cfg.Name, "epoch", uint64(f.epoch), "endpoint", f.endpoints.Current().String(),
		"protocol", protocol, "compression", compression, "fallback", m.Wire.Fallback)
	live.watch(ctx, m.At)
	live.show()
	if p.fill.replays {
		f.showFill(m.At)
	}
}

// connected: the websocket is open.
type connected struct {
	dialled
	at      time.Time // when it opened
	pong    time.Time // the last pong that led to an AtTip
	blocked time.Time // when it was last seen to wait for the writer
}

func (p *connected) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Heartbeat:
		if m.Epoch == p.feed.epoch {
			p.heartbeat(ctx, m)
		}
	case *messages.NoOverlap:
		if p.continuity.noOverlap(m) {
			p.force(ctx, messages.CauseNoOverlap)
		}
	case *backfillDue:
		if m.life == p.life {
			p.startBackfill(ctx)
		}
	default:
		p.dialled.receive(ctx)
	}
}

// show enters live, or the state that keeps a connected feed from being live.
func (p *connected) show() bool {
	if p.stalled != "" {
		p.feed.status.enter(messages.StateBackpressured, p.stalled)
	} else {
		p.feed.status.enter(messages.StateLive, "")
	}
	return true
}

// watch tells the watchdog to watch the connection as if it had opened at the given time.
func (p *connected) watch(ctx actor.Context, at time.Time) {
	f := p.feed
	ctx.Send(p.watchdog, &actors.Watch{Connection: p.connection, Host: f.endpoints.Current().Host(), Epoch: f.epoch, At: at})
}

func (p *connected) restarted(ctx actor.Context, pid *actor.PID) {
	if pid.Equal(p.watchdog) {
		p.watch(ctx, p.feed.cfg.Clock.Now())
		return
	}
	p.dialled.restarted(ctx, pid)
}

// useFilter changes the filter on the open connection. The connection actor ends a connection whose
// server cannot do that.
func (p *connected) useFilter(ctx actor.Context, filter jetstream.Filter) {
	f := p.feed
	since := p.continuity.present(f.cfg.Clock.Now())
	p.filters.change(filter, since)
	p.saveFilters(ctx)
	ctx.Send(p.writer, &messages.FilterChanged{Hash: hash(filter), SinceUS: since})
	ctx.Send(p.connection, &actors.UpdateFilter{Epoch: f.epoch, Filter: filter})
	p.startFetches(ctx)
}

const (
	// blockedFor is how long a connection may wait for the writer before the feed counts as
	// backpressured. A commit takes milliseconds.
	blockedFor = time.Second
	// tipAfter is the silence after which a connection counts as being at the tip.
	tipAfter = time.Minute
	// proofAfter is how long an upstream that was asked for an event that we hold may be silent. A
	// longer silence means that the replay began too late: the upstream's clock is behind, the
	// requested time lies in its future, and it began at its live tip without a word.
	proofAfter = 10 * time.Second
)

func (p *connected) heartbeat(ctx actor.Context, m *messages.Heartbeat) {
	f := p.feed
	f.status.heartbeat(m, p.at, f.cfg.PingInterval+maxPingTimeout)
	if m.Blocked > 0 {
		p.blocked = m.At // the silence after it is not the upstream's
	}
	switch {
	case m.Blocked >= blockedFor:
		if p.stalled == "" {
			f.status.enter(messages.StateBackpressured, "the store does not keep up")
		}
	case f.status.State == messages.StateBackpressured:
		p.show()
	}
	f.fillLive(m)
	if f.endpoints.WantsBack(m.At, m.At.Sub(p.at)) {
		p.force(ctx, messages.CausePreferred)
	}
	quietSince := newest(m.LastFrame, p.at, p.blocked)
	if p.continuity.unproven && m.Blocked == 0 && m.At.Sub(quietSince) >= proofAfter {
		p.continuity.late(false)
		p.force(ctx, messages.CauseNoOverlap)
	}
	p.noticeLive(ctx, m, p.at, quietSince)
	p.continuity.presentUS, p.continuity.presentAt = m.PresentUS, m.At
	if m.Blocked == 0 && m.Pong.After(p.pong) && m.Pong.Sub(quietSince) >= tipAfter && !p.continuity.doubtful() {
		p.pong = m.Pong
		p.continuity.alive(f.cfg.Monotonic())
		if m.TipUS > 0 {
			ctx.Send(p.cursor, &messages.AtTip{At: messages.UpstreamTime{Host: f.endpoints.Current().Host(), US: m.TipUS}})
		}
	}
}

// newest is the latest of the times.
func newest(at time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(at) {
			at = t
		}
	}
	return at
}
