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
	// Monotonic is the monotonic clock, which stands still while the machine sleeps.
	Monotonic func() time.Duration
	Clock     clockwork.Clock
	Observer  *observe.Observer
}

// NewWatchdog makes the props of the actor that notices a feed that is dead although its socket looks open.
//
// Three signals, one ForceReconnect: silence past StaleAfter, the adaptive detector, and an unanswered ping or a machine that slept. Silence of
// our own making (backpressure, pause, backoff) never counts: it is only told to watch while a connection stands, and a connection that waits for
// the writer says so in its heartbeat.
func NewWatchdog(cfg WatchdogConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, func() actor.Actor { return &watchdog{cfg: cfg} })
}

// watchdogPeriod is how often the watchdog looks.
const watchdogPeriod = time.Second

type look struct{}

type watchdog struct {
	cfg      WatchdogConfig
	detector Detector
	sleep    SleepDetector
	timer    clockwork.Timer

	watched *actor.PID
	epoch   messages.Epoch
	armed   bool // watching epoch, and not yet fired at it
	blocked bool
}

// Receive is the actor's.
func (w *watchdog) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		root, self := ctx.ActorSystem().Root, ctx.Self()
		w.timer = w.cfg.Clock.AfterFunc(watchdogPeriod, func() { root.Send(self, &look{}) })
	case *actor.Restarting, *actor.Stopping:
		w.timer.Stop()
	case *messages.Watch:
		w.watched, w.epoch, w.armed, w.blocked = m.Connection, m.Epoch, true, false
		w.detector.Connected(m.At)
	case *messages.Unwatch:
		w.armed = false
	case *messages.Heartbeat:
		w.heartbeat(m)
	case *messages.PingFailed:
		if m.Epoch == w.epoch && !w.blocked {
			w.fire(ctx, messages.CauseHalfOpen)
		}
	case *look:
		w.look(ctx)
		w.timer.Reset(watchdogPeriod)
	case *messages.HealthCheck:
		ctx.Respond(&messages.HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

func (w *watchdog) heartbeat(m *messages.Heartbeat) {
	if m.Epoch != w.epoch || !w.armed {
		return
	}
	w.detector.Observe(m.At, m.Frames, m.LastFrame, m.NewestUS)
	w.blocked = m.Blocked > 0
	if w.blocked {
		w.detector.Excuse(m.At)
	}
}

func (w *watchdog) look(ctx actor.Context) {
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
	}
}

// fire tells the connection to reconnect, once an epoch.
func (w *watchdog) fire(ctx actor.Context, cause messages.ReconnectCause) {
	if !w.armed {
		return
	}
	w.armed = false
	now := w.cfg.Clock.Now()
	silence := w.detector.Silence(now)
	w.cfg.Observer.Emit(observe.WatchdogStalled, w.cfg.Feed, "epoch", uint64(w.epoch), "cause", string(cause),
		"silence", silence.Round(time.Millisecond).String(), "suspicion", w.detector.Phi(now))
	if cause == messages.CauseAdaptive {
		w.detector.Suspected()
	}
	ctx.Send(ctx.Parent(), &messages.Stalled{Epoch: w.epoch, Cause: cause, Silence: silence})
	ctx.Send(w.watched, &messages.ForceReconnect{Epoch: w.epoch, Cause: cause})
}
