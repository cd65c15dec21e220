package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// WatchdogConfig is what a watchdog needs.
type WatchdogConfig struct {
	Feed       string
	StaleAfter time.Duration // 0: no fixed limit, the adaptive detector alone
	// BlindAfter is the same limit for commits while other frames flow. Negative: the feed wants no
	// commits.
	BlindAfter time.Duration
	// Interval is the mean interval of the events that were stored earlier, 0 where it is not
	// known. With it the watchdog also notices an upstream that is silent from the start.
	Interval time.Duration
	// Monotonic reads the monotonic clock, which stands still while the machine sleeps.
	Monotonic func() time.Duration
	Clock     clockwork.Clock
	Observer  *observe.Observer
	Fault     Fault
}

// NewWatchdog makes the props of the actor that notices a dead feed whose socket looks open.
//
// Three signals lead to one ForceReconnect: a silence longer than StaleAfter, the adaptive
// detector, and an unanswered ping or a machine that slept. A fourth signal is for a blind host:
// its frames flow, but no commits come, although the feed's own history predicts some. Silence of
// our own making (backpressure, pause, backoff) never counts: the watchdog watches only while a
// connection is open, and the heartbeat says when the connection waits for the writer.
func NewWatchdog(cfg WatchdogConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor {
		return &watchdog{cfg: cfg, commits: Detector{Least: leastBlind}}
	})
}

// watchdogPeriod is how often the watchdog checks the connection.
const watchdogPeriod = time.Second

type checkDue struct{}

type watchdog struct {
	cfg      WatchdogConfig
	detector Detector // of frames
	commits  Detector // of commits
	sleep    SleepDetector
	timer    clockwork.Timer

	watched *actor.PID
	epoch   messages.Epoch
	armed   bool // it watches epoch, and has not yet fired in it
	blocked bool

	frames      uint64 // at the last heartbeat
	seenCommits uint64 // commits at the last heartbeat
	otherFrames uint64 // frames since the last commit
}

const (
	// leastBlind is the shortest silence of commits that is ever suspect.
	leastBlind = 30 * time.Second
	// noiseFrames is how many other frames must have come since the last commit before a host
	// counts as blind. With fewer it may be quiet.
	noiseFrames = 10
)

// Receive implements actor.Actor.
func (w *watchdog) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		if w.cfg.Interval > 0 {
			w.detector.Seed(w.cfg.Clock.Now(), w.cfg.Interval)
		}
		w.timer = Later(ctx, w.cfg.Clock, watchdogPeriod, &checkDue{})
	case *actor.Restarting, *actor.Stopping:
		if w.timer != nil { // nil where the actor failed at its start
			w.timer.Stop()
		}
	case *Watch:
		w.watched, w.epoch, w.armed, w.blocked = m.Connection, m.Epoch, true, false
		w.detector.Connected(m.At, m.Host)
		w.commits.Connected(m.At, m.Host)
		w.frames, w.seenCommits, w.otherFrames = 0, 0, 0
	case *messages.Unwatch:
		w.armed = false
	case *messages.Heartbeat:
		w.heartbeat(m)
	case *messages.PingFailed:
		if m.Epoch == w.epoch && !w.blocked {
			w.fire(ctx, messages.CauseHalfOpen)
		}
	case *checkDue:
		w.check(ctx)
		w.timer.Reset(watchdogPeriod)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

func (w *watchdog) heartbeat(m *messages.Heartbeat) {
	if m.Epoch != w.epoch || !w.armed {
		return
	}
	w.detector.Observe(m.At, m.Frames, m.LastFrame, m.NewestUS, m.PresentUS)
	w.otherFrames += m.Frames - w.frames
	w.frames = m.Frames
	if m.Commits != w.seenCommits {
		w.seenCommits, w.otherFrames = m.Commits, 0
	}
	w.commits.Observe(m.At, m.Commits, m.LastCommit, m.CommitUS, m.PresentUS)
	w.blocked = m.Blocked > 0
	if w.blocked {
		w.detector.Excuse(m.At)
		w.commits.Excuse(m.At)
	}
}

func (w *watchdog) check(ctx actor.Context) {
	now := w.cfg.Clock.Now()
	slept := w.sleep.Observe(now, w.cfg.Monotonic())
	if !w.armed || w.blocked {
		return
	}
	phi := w.detector.Phi(now)
	w.cfg.Observer.Metrics().Suspicion.WithLabelValues(w.cfg.Feed).Set(phi)
	ctx.Send(ctx.Parent(), &messages.Suspicion{Epoch: w.epoch, Phi: phi})
	switch {
	case slept > 0:
		w.fire(ctx, messages.CauseSleep)
	case w.cfg.StaleAfter > 0 && w.detector.Silence(now) >= w.cfg.StaleAfter:
		w.fire(ctx, messages.CauseSilence)
	case w.detector.Suspect(now):
		w.fire(ctx, messages.CauseAdaptive)
	case w.blind(now):
		w.fire(ctx, messages.CauseBlind)
	}
}

// blind says whether the host sends frames but none of the commits that the feed wants.
func (w *watchdog) blind(now time.Time) bool {
	if w.cfg.BlindAfter < 0 || w.otherFrames < noiseFrames {
		return false
	}
	return w.commits.Suspect(now) || w.cfg.BlindAfter > 0 && w.commits.Silence(now) >= w.cfg.BlindAfter
}

// fire tells the connection to reconnect, once in an epoch.
func (w *watchdog) fire(ctx actor.Context, cause messages.ReconnectCause) {
	if !w.armed {
		return
	}
	w.armed = false
	now := w.cfg.Clock.Now()
	detector := &w.detector
	if cause == messages.CauseBlind {
		detector = &w.commits
	}
	silence := detector.Silence(now)
	w.cfg.Observer.Emit(observe.WatchdogStalled, w.cfg.Feed, "epoch", uint64(w.epoch), "cause", string(cause),
		"silence", silence.Round(time.Millisecond).String(), "suspicion", detector.Phi(now))
	if cause == messages.CauseAdaptive || cause == messages.CauseBlind {
		detector.Suspected()
	}
	ctx.Send(ctx.Parent(), &messages.Stalled{Epoch: w.epoch})
	ctx.Send(w.watched, &messages.ForceReconnect{Epoch: w.epoch, Cause: cause})
}
