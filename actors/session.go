package actors

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// session is one websocket, from dial to end, as a task of the connection.
type session struct {
	cfg    ConnectionConfig
	epoch  messages.Epoch
	dial   *Connect
	task   *Task
	cancel context.CancelCauseFunc // the task's
	send   func(*actor.PID, any)
	feed   *actor.PID

	filters chan jetstream.Filter // the newest filter that the upstream was not told yet

	commits    atomic.Uint64 // commits handed over
	lastCommit atomic.Int64  // Unix ns at which the last of them was, 0 for none
	commitUS   atomic.Int64  // greatest upstream time of theirs

	spoken jetstream.Protocol // once the websocket is open

	clockMu   sync.Mutex // held for a moment once a batch and a heartbeat
	hostClock jetstream.HostClock

	tip     atomic.Int64 // Unix µs that the host's clock had surely reached when the last answered ping was sent, 0 for unknown
	pong    atomic.Int64 // Unix ns at which the last answered ping was sent, 0 for none
	blocked atomic.Int64 // Unix ns at which the session was last seen waiting for the writer, 0 for never
}

// sessionEnded is how a session's goroutine tells its actor.
type sessionEnded struct{ ended *Ended }

// Why a session is cancelled, besides *forced.
var (
	errStopReading = errors.New("told to stop reading")
	errSeqReset    = errors.New("the upstream's sequence numbers began anew")
	errOver        = errors.New("the websocket ended")
)

// forced is the cause of a session that was told to reconnect.
type forced struct{ cause messages.ReconnectCause }

func (f *forced) Error() string { return "told to reconnect: " + string(f.cause) }

func startSession(ctx actor.Context, cfg ConnectionConfig, task *Task, m *Connect) *session {
	s := &session{cfg: cfg, epoch: m.Epoch, dial: m, task: task, cancel: task.Cancel, send: ctx.ActorSystem().Root.Send, feed: ctx.Parent(),
		filters: make(chan jetstream.Filter, 1)}
	task.Start("connection.read", func(ctx context.Context) any {
		ended := s.run(ctx)
		task.Cancel(errOver)
		return &sessionEnded{ended}
	})
	return s
}

// run dials, reads to the end and says how it ended.
func (s *session) run(ctx context.Context) *Ended {
	start := s.cfg.Clock.Now()
	dialCtx, cancel := clockwork.WithTimeout(ctx, s.cfg.Clock, s.cfg.DialTimeout)
	up, err := s.cfg.Dial(dialCtx, s.dial.Request)
	cancel()
	if err != nil {
		return s.ended(ctx, nil, 0, err)
	}
	open := s.cfg.Clock.Now()
	s.opened(up, open, open.Sub(start))
	s.task.EndsWith(up.CloseNow)
	s.beside("connection.close", s.closeWhenDone, up)
	s.beside("connection.heartbeat", s.heartbeat, up)
	s.beside("connection.ping", s.ping, up)
	s.beside("connection.filter", s.tellFilters, up)

	k := &sink{session: s, plan: s.dial.Plan, done: ctx.Done()}
	defer k.giveBack()
	var rest *messages.Batch
	if first := k.take(); first != nil {
		rest, err = up.Run(first, k, s.cfg.Limits)
	}
	if rest != nil {
		k.hand(rest)
	}
	return s.ended(ctx, up, s.cfg.Clock.Since(open), err)
}

// beside does something for the session until it ends.
func (s *session) beside(point string, do func(context.Context, Upstream), up Upstream) {
	s.task.Start(point, func(ctx context.Context) any { do(ctx, up); return nil })
}

// opened tells what is known once the websocket stands: the writer hears of it before any batch. Where the host's protocol or clock makes
// another plan of it, the session ends, and the next one goes by that.
func (s *session) opened(up Upstream, at time.Time, took time.Duration) {
	wire := up.Wire()
	s.spoken = wire.Protocol
	host := s.dial.Request.Endpoint.Host()
	present := messages.UpstreamTime{US: at.UnixMicro()} // by our clock
	var known messages.UpstreamTime
	if date, ok := up.ServerDate(); ok {
		s.hostClock.SawDate(date, s.cfg.Monotonic())
		present = messages.UpstreamTime{Host: host, US: jetstream.RefineDate(date, at).UnixMicro()}
		known = present
	}
	s.send(s.feed, &messages.Connected{Epoch: s.epoch, At: at, Took: took, Present: present,
		Protocol: wire.Protocol.String(), Compression: wire.Compression.String(), Fallback: wire.Fallback})
	if !s.dial.Plan.Stands(s.dial.Resume, wire.Protocol, known) {
		s.task.Cancel(&forced{messages.CauseClock})
		return
	}
	s.send(s.cfg.Writer, &messages.Opened{Epoch: s.epoch, Present: present})
}

// sawEvent learns from the time of an event that was read just now.
func (s *session) sawEvent(us int64) {
	at := s.cfg.Monotonic()
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	s.hostClock.SawEvent(us, at)
}

// hostTime asks what is known of the host's clock at this moment, Unix µs; 0 for nothing.
func (s *session) hostTime(ask func(c *jetstream.HostClock, at time.Duration) (int64, bool)) int64 {
	at := s.cfg.Monotonic()
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	if us, ok := ask(&s.hostClock, at); ok {
		return us
	}
	return 0
}

// ended says why. What we did ourselves comes first: it makes the socket fail in ways of its own. up is nil where there was none.
func (s *session) ended(ctx context.Context, up Upstream, lived time.Duration, err error) *Ended {
	e := &Ended{Epoch: s.epoch, Lived: lived}
	partial := false
	if up != nil {
		a := up.Activity()
		e.Frames, e.NewestUS, partial = a.Frames, a.NewestUS, a.Partial
		e.PresentUS = s.hostTime((*jetstream.HostClock).Earliest)
	}
	var force *forced
	if cause := context.Cause(ctx); cause != nil {
		e.Reason = cause.Error()
		e.SeqReset = cause == errSeqReset
		if errors.As(cause, &force) {
			e.Forced = force.cause
			e.Poison = e.Stale() && partial // it hangs within a message
		}
		return e
	}
	ending := jetstream.Classify(err)
	e.Reason, e.Clean = ending.Reason, ending.Clean
	switch ending.Cause {
	case jetstream.CauseTooBig, jetstream.CauseProtocol, jetstream.CauseCompression, jetstream.CauseMidFrame:
		e.Poison = up != nil
	}
	e.SeqReset = jetstream.ResumeByTime(err)
	if refused, ok := errors.AsType[*jetstream.RefusedError](err); ok {
		e.Permanent, e.RetryAfter, e.Passing = refused.Permanent, refused.RetryAfter, refused.Passing
	}
	return e
}

// closeWhenDone ends the websocket when the session is cancelled: politely when we were told to stop, else at once.
func (s *session) closeWhenDone(ctx context.Context, up Upstream) {
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errStopReading) {
		_ = up.Close(jetstream.CloseNormal, "") // it is over either way
	}
	up.CloseNow()
}

// updateFilter leaves a filter for the session to tell the upstream, in place of one that it has not told yet.
func (s *session) updateFilter(f jetstream.Filter) {
	select {
	case <-s.filters:
	default:
	}
	s.filters <- f // there is room: nobody else fills it
}

// tellFilters tells the upstream of changed filters. One that cannot be told ends the session: the next one asks for it when it dials.
func (s *session) tellFilters(ctx context.Context, up Upstream) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.filters:
			s.cfg.Fault.At("connection.filter")
			if err := up.UpdateFilter(ctx, f); err != nil {
				s.cancel(&forced{messages.CauseFilter})
				return
			}
		}
	}
}

// heartbeatPeriod is how often a connection tells of itself.
const heartbeatPeriod = time.Second

func (s *session) heartbeat(ctx context.Context, up Upstream) {
	tick := s.cfg.Clock.NewTicker(heartbeatPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
		}
		s.cfg.Fault.At("connection.heartbeat")
		now, a := s.cfg.Clock.Now(), up.Activity()
		m := &messages.Heartbeat{Epoch: s.epoch, At: now, Frames: a.Frames, LastFrame: a.LastFrame, NewestUS: a.NewestUS,
			Commits: s.commits.Load(), LastCommit: unixTime(s.lastCommit.Load()), CommitUS: s.commitUS.Load(),
			Pong: unixTime(s.pong.Load()), TipUS: s.tip.Load(), PresentUS: s.hostTime((*jetstream.HostClock).Earliest)}
		if a.Blocked {
			m.Blocked = max(now.Sub(a.BlockedSince), 1)
			s.blocked.Store(now.UnixNano())
		}
		s.send(s.cfg.Watchdog, m)
		s.send(s.feed, m)
	}
}

// unixTime is a time that an atomic holds as Unix nanoseconds, 0 for none.
func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// ping asks the server for a sign of life. A pong can only be read while the socket is, and behind everything that was sent before it: while we wait for
// the writer, or frames still come, a missing pong says nothing.
func (s *session) ping(ctx context.Context, up Upstream) {
	tick := s.cfg.Clock.NewTicker(s.cfg.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
		}
		s.cfg.Fault.At("connection.ping")
		if up.Activity().Blocked {
			continue
		}
		sent, tip := s.cfg.Clock.Now(), s.hostTime((*jetstream.HostClock).Earliest)
		pingCtx, cancel := clockwork.WithTimeout(ctx, s.cfg.Clock, s.cfg.PingTimeout)
		err := up.Ping(pingCtx)
		cancel()
		a := up.Activity()
		switch {
		case err == nil:
			s.tip.Store(tip)
			s.pong.Store(sent.UnixNano())
		case ctx.Err() != nil:
			return
		case a.Blocked || s.blocked.Load() >= sent.UnixNano() || a.LastFrame.After(sent):
		default:
			s.send(s.cfg.Watchdog, &messages.PingFailed{Epoch: s.epoch, Timeout: s.cfg.PingTimeout})
		}
	}
}
