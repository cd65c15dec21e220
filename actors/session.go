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

// session is one websocket from dial to end. It runs as a task of the connection.
type session struct {
	cfg    ConnectionConfig
	epoch  messages.Epoch
	dial   *Connect
	task   *Task
	cancel context.CancelCauseFunc // the task's
	send   func(*actor.PID, any)
	feed   *actor.PID

	filters chan jetstream.Filter // the newest filter that the upstream does not know yet

	commits    atomic.Uint64 // commits handed over
	lastCommit atomic.Int64  // Unix ns of the last hand-over of a commit, 0 for none
	commitUS   atomic.Int64  // the greatest upstream time of the commits, Unix µs

	// Set when the websocket opens.
	spoken jetstream.Protocol
	fresh  bool // as in jetstream.Plan, by the clock that the host has told

	clockMu   sync.Mutex // held for a moment, once a batch and once a heartbeat
	hostClock jetstream.HostClock

	// Unix µs that the host's clock had surely reached when the last answered ping was sent, 0 for
	// unknown.
	tip  atomic.Int64
	pong atomic.Int64 // Unix ns when the last answered ping was sent, 0 for none
	// Unix ns when the session was last seen waiting for the writer, 0 for never.
	blocked atomic.Int64
}

// sessionEnded is the message of a session's goroutine to its actor.
type sessionEnded struct{ ended *Ended }

// The causes of a cancelled session, besides *forced.
var (
	errStopReading = errors.New("told to stop reading")
	errSeqReset    = errors.New("the upstream's sequence numbers began anew")
	errOver        = errors.New("the websocket ended")
	errTooOld      = errors.New("the socket does not go back so far")
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

// run dials, reads to the end, and returns why the session ended.
func (s *session) run(ctx context.Context) *Ended {
	up, err := s.cfg.open(ctx, s.dial)
	if err != nil {
		return s.ended(ctx, nil, 0, err)
	}
	open := s.cfg.Clock.Now()
	s.opened(up, open)
	s.task.EndsWith(up.CloseNow)
	s.start("connection.close", s.closeWhenDone, up)
	s.start("connection.heartbeat", s.heartbeat, up)
	if s.dial.Archive == nil { // an archive's requests have timeouts of their own
		s.start("connection.ping", s.ping, up)
	}
	s.start("connection.filter", s.tellFilters, up)

	k := &sink{session: s, up: up, plan: s.dial.Plan, done: ctx.Done()}
	k.plan.Fresh = k.plan.Fresh || s.fresh
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

// start runs do in a goroutine until the session ends.
func (s *session) start(point string, do func(context.Context, Upstream), up Upstream) {
	s.task.Start(point, func(ctx context.Context) any { do(ctx, up); return nil })
}

// opened reports the open websocket. The writer learns of it before any batch. If the host's
// protocol or clock leads to another plan, the session ends, and the next one follows that plan.
func (s *session) opened(up Upstream, at time.Time) {
	wire := up.Wire()
	s.spoken = wire.Protocol
	host := s.dial.Request.Endpoint.Host()
	present := messages.UpstreamTime{US: at.UnixMicro()} // by our clock
	var known messages.UpstreamTime
	if date, ok := up.ServerDate(); ok {
		s.hostClock.SawDate(date, s.cfg.Monotonic())
		present = messages.UpstreamTime{Host: host, US: jetstream.RefineDate(date, at).UnixMicro()}
		known = present
		s.fresh = s.dial.Plan.FreshAt(s.dial.Resume, known)
	}
	s.send(s.feed, &Connected{Epoch: s.epoch, At: at, Wire: wire, Present: present})
	if s.dial.Archive == nil && !s.dial.Plan.Stands(s.dial.Resume, wire.Protocol, known) {
		s.task.Cancel(&forced{messages.CauseClock})
		return
	}
	s.send(s.cfg.Writer, &messages.EpochOpened{Epoch: s.epoch, Present: present})
}

// sawEvent learns from the time of an event that was just read.
func (s *session) sawEvent(us int64) {
	at := s.cfg.Monotonic()
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	s.hostClock.SawEvent(us, at)
}

// hostTime asks the host's clock for a time at this moment, Unix µs; 0 where nothing is known.
func (s *session) hostTime(ask func(c *jetstream.HostClock, at time.Duration) (int64, bool)) int64 {
	at := s.cfg.Monotonic()
	s.clockMu.Lock()
	defer s.clockMu.Unlock()
	if us, ok := ask(&s.hostClock, at); ok {
		return us
	}
	return 0
}

// ended says why the session ended. A cancellation of our own comes first, because it makes the
// socket fail with other errors. up is nil if no websocket was open.
func (s *session) ended(ctx context.Context, up Upstream, lived time.Duration, err error) *Ended {
	e := &Ended{Epoch: s.epoch, Lived: lived}
	partial := false
	if up != nil {
		a := up.Activity()
		e.Frames, e.NewestUS, partial = a.Frames, a.NewestUS, a.Partial
		e.PresentUS = s.hostTime((*jetstream.HostClock).Earliest)
		if sweeper, ok := up.(Sweeper); ok {
			p := sweeper.Progress()
			e.Sweep = &p
		}
	}
	var force *forced
	if cause := context.Cause(ctx); cause != nil {
		e.Reason = cause.Error()
		e.SeqReset, e.TooOld = cause == errSeqReset, cause == errTooOld
		if errors.As(cause, &force) {
			e.Forced = force.cause
			e.Poison = e.Stale() && partial // the connection hangs within a message
		}
		return e
	}
	ending := jetstream.Classify(err)
	e.Reason, e.Clean = ending.Reason, ending.Clean
	switch ending.Cause {
	case jetstream.CauseTooBig, jetstream.CauseProtocol, jetstream.CauseCompression, jetstream.CauseMidFrame:
		e.Poison = up != nil
	}
	e.SeqReset = jetstream.ResumeByTime(err) || ending.Cause == jetstream.CauseReplaced
	e.TooOld, e.Swept = jetstream.CursorTooOld(err), ending.Cause == jetstream.CauseSwept
	if refused, ok := errors.AsType[*jetstream.RefusedError](err); ok {
		e.Permanent, e.RetryAfter, e.Passing = refused.Permanent, refused.RetryAfter, refused.Passing
	}
	return e
}

// closeWhenDone ends the websocket when the session is cancelled: after a StopReading with a close
// frame, otherwise at once.
func (s *session) closeWhenDone(ctx context.Context, up Upstream) {
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errStopReading) {
		_ = up.Close(jetstream.CloseNormal, "") // the connection is over either way
	}
	up.CloseNow()
}

// updateFilter hands a filter to the session, which tells it to the upstream. It replaces one that
// still waits.
func (s *session) updateFilter(f jetstream.Filter) {
	select {
	case <-s.filters:
	default:
	}
	s.filters <- f // there is room, because only this actor fills the channel
}

// tellFilters tells the upstream of changed filters. If an update fails, the session ends, and the
// next one dials with the new filter.
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

// heartbeatPeriod is the time between two heartbeats of a connection.
const heartbeatPeriod = time.Second

func (s *session) heartbeat(ctx context.Context, up Upstream) {
	every(ctx, s.cfg.Clock, heartbeatPeriod, func() {
		s.cfg.Fault.At("connection.heartbeat")
		now, a := s.cfg.Clock.Now(), up.Activity()
		m := &messages.Heartbeat{Epoch: s.epoch, At: now, Frames: a.Frames, LastFrame: a.LastFrame, NewestUS: a.NewestUS, LatestUS: a.LatestUS,
			Commits: s.commits.Load(), LastCommit: unixTime(s.lastCommit.Load()), CommitUS: s.commitUS.Load(),
			Pong: unixTime(s.pong.Load()), TipUS: s.tip.Load(), PresentUS: s.hostTime((*jetstream.HostClock).Earliest)}
		if sweeper, ok := up.(Sweeper); ok {
			p := sweeper.Progress()
			m.Sweep = &p
		}
		if a.Blocked {
			m.Blocked = max(now.Sub(a.BlockedSince), 1)
			s.blocked.Store(now.UnixNano())
		}
		s.send(s.cfg.Watchdog, m)
		s.send(s.feed, m)
	})
}

// unixTime is the time that an atomic holds as Unix nanoseconds. 0 is the zero time.
func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// ping asks the server for a sign of life. A pong is read only while the socket is read, and after
// everything that was sent before it. So a missing pong says nothing while the session waits for
// the writer or frames still come.
func (s *session) ping(ctx context.Context, up Upstream) {
	every(ctx, s.cfg.Clock, s.cfg.PingInterval, func() {
		s.cfg.Fault.At("connection.ping")
		if up.Activity().Blocked {
			return
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
		case a.Blocked || s.blocked.Load() >= sent.UnixNano() || a.LastFrame.After(sent):
		default:
			s.send(s.cfg.Watchdog, &messages.PingFailed{Epoch: s.epoch})
		}
	})
}
