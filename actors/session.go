package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// session is one websocket, from dial to end, in goroutines of its own.
type session struct {
	cfg    ConnectionConfig
	epoch  messages.Epoch
	dial   *Connect
	cancel context.CancelCauseFunc
	done   sync.WaitGroup // every goroutine of the session
	send   func(*actor.PID, any)
	feed   *actor.PID

	filters chan jetstream.Filter // the newest filter that the upstream was not told yet

	commits    atomic.Uint64 // commits handed over
	lastCommit atomic.Int64  // Unix ns at which the last of them was, 0 for none
	commitUS   atomic.Int64  // greatest upstream time of theirs

	pong    atomic.Int64 // Unix ns at which the last answered ping was sent, 0 for none
	blocked atomic.Int64 // Unix ns at which the session was last seen waiting for the writer, 0 for never
}

// sessionEnded is how a session's goroutine tells its actor.
type sessionEnded struct{ ended *Ended }

// Why a session is cancelled, besides *forced.
var (
	errStopReading = errors.New("told to stop reading")
	errActorStops  = errors.New("the connection actor stops")
	errSeqReset    = errors.New("the upstream's sequence numbers began anew")
	errOver        = errors.New("the websocket ended")
)

// forced is the cause of a session that was told to reconnect.
type forced struct{ cause messages.ReconnectCause }

func (f *forced) Error() string { return "told to reconnect: " + string(f.cause) }

func startSession(ctx actor.Context, cfg ConnectionConfig, m *Connect) *session {
	run, cancel := context.WithCancelCause(context.Background())
	s := &session{cfg: cfg, epoch: m.Epoch, dial: m, cancel: cancel, send: ctx.ActorSystem().Root.Send, feed: ctx.Parent(),
		filters: make(chan jetstream.Filter, 1)}
	self := ctx.Self()
	s.done.Go(func() {
		ended := s.run(run)
		cancel(errOver)
		s.send(self, &sessionEnded{ended})
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
		return s.ended(ctx, 0, err)
	}
	open := s.cfg.Clock.Now()
	wire := up.Wire()
	s.send(s.feed, &messages.Connected{Epoch: s.epoch, At: open, Took: open.Sub(start),
		Protocol: wire.Protocol.String(), Compression: wire.Compression.String(), Fallback: wire.Fallback})
	s.done.Go(func() { s.closeWhenDone(ctx, up) })
	s.done.Go(func() { s.heartbeat(ctx, up) })
	s.done.Go(func() { s.ping(ctx, up) })
	s.done.Go(func() { s.tellFilters(ctx, up) })

	k := &sink{session: s, done: ctx.Done()}
	var rest *messages.Batch
	if first := k.take(); first != nil {
		rest, err = up.Run(first, k, s.cfg.Limits)
	}
	if rest != nil {
		k.hand(rest)
	}
	return s.ended(ctx, s.cfg.Clock.Since(open), err)
}

// ended says why. What we did ourselves comes first: it makes the socket fail in ways of its own.
func (s *session) ended(ctx context.Context, lived time.Duration, err error) *Ended {
	e := &Ended{Epoch: s.epoch, Lived: lived}
	var force *forced
	if cause := context.Cause(ctx); cause != nil {
		e.Reason = cause.Error()
		e.SeqReset = cause == errSeqReset
		if errors.As(cause, &force) {
			e.Forced = force.cause
		}
		return e
	}
	ending := jetstream.Classify(err)
	e.Reason, e.Clean = ending.Reason, ending.Clean
	e.SeqReset = jetstream.ResumeByTime(err)
	if refused, ok := errors.AsType[*jetstream.RefusedError](err); ok {
		e.Permanent, e.RetryAfter = refused.Permanent, refused.RetryAfter
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
		now, a := s.cfg.Clock.Now(), up.Activity()
		m := &messages.Heartbeat{Epoch: s.epoch, At: now, Frames: a.Frames, LastFrame: a.LastFrame, NewestUS: a.NewestUS,
			Commits: s.commits.Load(), LastCommit: unixTime(s.lastCommit.Load()), CommitUS: s.commitUS.Load(), Pong: unixTime(s.pong.Load())}
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
		if up.Activity().Blocked {
			continue
		}
		sent := s.cfg.Clock.Now()
		pingCtx, cancel := clockwork.WithTimeout(ctx, s.cfg.Clock, s.cfg.PingTimeout)
		err := up.Ping(pingCtx)
		cancel()
		a := up.Activity()
		switch {
		case err == nil:
			s.pong.Store(sent.UnixNano())
		case ctx.Err() != nil:
			return
		case a.Blocked || s.blocked.Load() >= sent.UnixNano() || a.LastFrame.After(sent):
		default:
			s.send(s.cfg.Watchdog, &messages.PingFailed{Epoch: s.epoch, Timeout: s.cfg.PingTimeout})
		}
	}
}

// sink numbers the session's batches and sends them to the writer. It is what the connection fills; only its read loop calls it.
type sink struct {
	session  *session
	done     <-chan struct{}
	number   uint64
	outdated bool // the upstream said that it cannot go back as far as it was asked to
	rejected bool // nothing of this connection can be used

	bad   int // frames since the last that was told
	badAt time.Time
}

// TryHand is jetstream.Sink's.
func (k *sink) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	select {
	case next := <-k.session.cfg.Pool:
		k.hand(b)
		return next, true
	default:
		return b, false
	}
}

// Hand is jetstream.Sink's.
func (k *sink) Hand(b *messages.Batch) *messages.Batch {
	k.hand(b)
	return k.take()
}

// take waits for a free batch; nil when the session is to end.
func (k *sink) take() *messages.Batch {
	select {
	case next := <-k.session.cfg.Pool:
		return next
	case <-k.done:
		return nil
	}
}

func (k *sink) hand(b *messages.Batch) {
	s := k.session
	if k.rejected || b.Frames == 0 {
		b.Reset()
		s.cfg.Pool <- b
		return
	}
	k.countCommits(b)
	k.number++
	b.Epoch, b.Number = s.epoch, k.number
	s.send(s.cfg.Writer, &messages.AppendBatch{Batch: b, Release: s.cfg.Pool})
}

// countCommits notes what the batch brings of what the feed is there for.
func (k *sink) countCommits(b *messages.Batch) {
	n, newest := uint64(0), k.session.commitUS.Load()
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == messages.KindCommit {
			n++
			newest = max(newest, e.TimeUS)
		}
	}
	if n > 0 {
		k.session.commitUS.Store(newest)
		k.session.lastCommit.Store(k.session.cfg.Clock.Now().UnixNano())
		k.session.commits.Add(n)
	}
}

// Info is jetstream.Sink's.
func (k *sink) Info(name, _ string) {
	k.outdated = k.outdated || name == jetstream.InfoOutdatedCursor
}

// First is jetstream.Sink's: it compares the connection's first event with what was asked for.
func (k *sink) First(first messages.Event) {
	s := k.session
	asked, cp := s.dial.Request.Cursor, s.dial.Resume
	if cp.Host == "" {
		return // the position is no event that could be sent again
	}
	switch jetstream.VerifyFirst(asked, cp, first, k.outdated) {
	case jetstream.FirstSequenceReset:
		k.rejected = true
		s.cancel(errSeqReset)
	case jetstream.FirstLate:
		s.send(s.cfg.Writer, &messages.SuspectGap{Epoch: s.epoch, Said: k.outdated, Gap: messages.Gap{
			Host: s.dial.Request.Endpoint.Host(), FromUS: cp.CoveredUS(), ToUS: first.TimeUS, Cause: messages.GapServerMoved}})
	}
}

// Bounds of what is logged about bad frames: one record a second, with the frame's beginning.
const (
	badPeriod  = time.Second
	badExcerpt = 120
)

// Bad is jetstream.Sink's.
func (k *sink) Bad(frame []byte, err error) {
	k.bad++
	s := k.session
	now := s.cfg.Clock.Now()
	if !k.badAt.IsZero() && now.Sub(k.badAt) < badPeriod {
		return
	}
	s.cfg.Observer.Emit(observe.FrameBad, s.cfg.Feed, "epoch", uint64(s.epoch), "error", err.Error(),
		"frame", fmt.Sprintf("%.*q", badExcerpt, frame[:min(len(frame), badExcerpt)]), "count", k.bad)
	k.bad, k.badAt = 0, now
}
