package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// KeeperConfig is what a keeper needs. The keeper reports everything to its parent, the feed.
type KeeperConfig struct {
	Feed   string
	Leases persistence.LeaseStore
	Node   messages.Node
	// Open opens the stream for appends under the lease.
	Open     func(context.Context, messages.Lease) (persistence.Stream, error)
	TTL      time.Duration // how long a lease lasts without a renewal
	Renew    time.Duration // between two renewals
	Look     time.Duration // between two requests for a lease that another daemon holds
	Clock    clockwork.Clock
	Observer *observe.Observer
	Fault    Fault
}

// LeaseGranted says that the keeper holds the lease, and hands over the stream.
type LeaseGranted struct {
	Lease  messages.Lease
	Stream persistence.Stream
	Info   persistence.StreamInfo // of the stream at that time; zero where it could not be read
}

// NewKeeper makes the props of the actor that keeps a feed's lease. It acquires the lease, renews
// it and releases it, and reports when it is lost.
//
// A lease counts from the moment of the request, so that it ends here before it ends in the store,
// however long the answer took. If the keeper cannot renew it in time, it tells the feed to stop,
// because another daemon may begin. A daemon whose process is suspended does not notice the end of
// its lease. The store refuses its appends all the same.
func NewKeeper(cfg KeeperConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &keeper{cfg: cfg} })
}

type keeper struct {
	Beside
	cfg  KeeperConfig
	task *Task // its questions to the store

	wanted  bool           // the feed asked for the lease and does not have it
	leaving bool           // the feed waits for the release
	busy    bool           // a question to the store is under way
	lease   messages.Lease // zero while the keeper holds none
	until   time.Time      // the end of the lease unless it is renewed
	failed  error          // why the last renewal failed
	wait    time.Duration  // after a claim that failed with an unknown error

	due, expiry clockwork.Timer
}

// The keeper's messages to itself.
type (
	keeperDue    struct{}
	leaseExpired struct{ lease messages.Lease }
	claimed      struct {
		grant LeaseGranted
		asked time.Time
		err   error
	}
	renewed struct {
		lease messages.Lease
		asked time.Time
		err   error
	}
	gaveUp struct{}
)

// Receive implements actor.Actor.
func (k *keeper) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		k.task = k.Begin(ctx)
	case *actor.Restarting, *actor.Stopping:
		k.stop()
	case *messages.ClaimLease:
		k.wanted, k.leaving = true, false
		k.act(ctx)
	case *messages.ReleaseLease:
		k.wanted, k.leaving = false, true
		k.act(ctx)
	case *keeperDue:
		k.act(ctx)
	case *leaseExpired:
		k.expire(ctx, m.lease)
	case *claimed:
		k.claimed(ctx, m)
	case *renewed:
		k.renewed(ctx, m)
	case *gaveUp:
		k.busy, k.lease = false, messages.Lease{}
		k.act(ctx)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// act asks the store for the next thing to do. It does nothing while a question is under way,
// because the answer calls act again.
func (k *keeper) act(ctx actor.Context) {
	if k.busy {
		return
	}
	k.stopTimer(&k.due)
	switch {
	case k.leaving && k.lease.IsZero():
		k.leaving = false
		ctx.Send(ctx.Parent(), &messages.LeaseReleased{})
	case k.leaving:
		k.release()
	case k.wanted:
		k.claim()
	case !k.lease.IsZero():
		k.renew()
	}
}

// ask runs one question to the store in the keeper's task, for at most limit.
func (k *keeper) ask(point string, limit time.Duration, question func(context.Context) any) {
	k.busy = true
	k.task.Start(point, func(ctx context.Context) any {
		limited, cancel := clockwork.WithTimeout(ctx, k.cfg.Clock, limit)
		defer cancel()
		return question(limited)
	})
}

// claim asks for the lease. An answer that takes longer than the lease lasts is worthless.
func (k *keeper) claim() {
	k.lease = messages.Lease{} // the new lease fences out the one that is held
	asked := k.cfg.Clock.Now()
	k.ask("keeper.claim", k.cfg.TTL, func(ctx context.Context) any {
		m := &claimed{asked: asked}
		if m.grant.Lease, m.err = k.cfg.Leases.Acquire(ctx, k.cfg.Feed, k.cfg.Node, k.cfg.TTL); m.err != nil {
			return m
		}
		if m.grant.Stream, m.err = k.cfg.Open(ctx, m.grant.Lease); m.err == nil {
			// An error does not matter: the info only tells the watchdog the mean interval of the
			// feed's events.
			m.grant.Info, _ = m.grant.Stream.Info(ctx)
		}
		return m
	})
}

func (k *keeper) claimed(ctx actor.Context, m *claimed) {
	k.busy = false
	now := k.cfg.Clock.Now()
	until := m.asked.Add(k.cfg.TTL)
	held, isHeld := errors.AsType[*persistence.HeldError](m.err)
	switch {
	case m.err == nil && now.Before(until):
		k.lease, k.until, k.failed, k.wait = m.grant.Lease, until, nil, 0
		if k.leaving {
			k.act(ctx)
			return
		}
		k.wanted = false
		ctx.Send(ctx.Parent(), &m.grant)
		k.expireAt(ctx, until)
		k.actAt(ctx, m.asked.Add(k.cfg.Renew))
		return
	case !m.grant.Lease.IsZero():
		// This lease cannot be used now, but it must be released when the keeper leaves.
		k.lease = m.grant.Lease
	case isHeld && k.wanted:
		ctx.Send(ctx.Parent(), &messages.LeaseHeld{Owner: held.Owner})
	}
	if k.wait = nextWait(k.wait, m.err); m.err == nil || isHeld || persistence.Temporary(m.err) {
		k.wait = 0
	}
	if m.err != nil && !isHeld && k.wanted {
		ctx.Send(ctx.Parent(), &messages.LeaseAway{Reason: StoreReason(m.err)})
	}
	if k.leaving {
		k.act(ctx)
		return
	}
	k.actAt(ctx, now.Add(max(k.cfg.Look, k.wait)))
}

func (k *keeper) renew() {
	lease, asked := k.lease, k.cfg.Clock.Now()
	k.ask("keeper.renew", k.until.Sub(asked), func(ctx context.Context) any {
		return &renewed{lease, asked, k.cfg.Leases.Renew(ctx, lease, k.cfg.TTL)}
	})
}

func (k *keeper) renewed(ctx actor.Context, m *renewed) {
	k.busy = false
	fenced, isFenced := errors.AsType[*persistence.FencedError](m.err)
	switch {
	case m.lease != k.lease: // it expired meanwhile
	case isFenced:
		k.lose(ctx, "it was refused", fenced.Owner)
	case m.err != nil:
		k.failed = m.err
		k.actAt(ctx, k.cfg.Clock.Now().Add(min(k.cfg.Look, k.cfg.Renew)))
	default:
		k.until, k.failed = m.asked.Add(k.cfg.TTL), nil
		k.expireAt(ctx, k.until)
		k.actAt(ctx, m.asked.Add(k.cfg.Renew))
	}
	if k.leaving || k.wanted {
		k.act(ctx)
	}
}

// expire ends a lease that was not renewed in time.
func (k *keeper) expire(ctx actor.Context, lease messages.Lease) {
	if lease != k.lease || k.cfg.Clock.Now().Before(k.until) {
		return
	}
	reason := "it could not be renewed in time"
	if k.failed != nil {
		reason += ": " + StoreReason(k.failed)
	}
	k.lose(ctx, reason, "")
}

func (k *keeper) lose(ctx actor.Context, reason, owner string) {
	lost := k.lease
	k.lease = messages.Lease{}
	k.stopTimer(&k.due)
	k.stopTimer(&k.expiry)
	ctx.Send(ctx.Parent(), &messages.LeaseLost{Lease: lost, Reason: reason, Owner: owner})
}

// release gives up the lease. If the store cannot be reached, the lease expires there by itself.
func (k *keeper) release() {
	lease := k.lease
	k.stopTimer(&k.expiry)
	k.ask("keeper.release", k.cfg.TTL, func(ctx context.Context) any {
		_ = k.cfg.Leases.Release(ctx, lease)
		return &gaveUp{}
	})
}

func (k *keeper) actAt(ctx actor.Context, at time.Time) { k.tell(ctx, &k.due, at, &keeperDue{}) }

func (k *keeper) expireAt(ctx actor.Context, at time.Time) {
	k.tell(ctx, &k.expiry, at, &leaseExpired{k.lease})
}

// tell sends the keeper a message at a time. It replaces the message that the timer was going to
// send.
func (k *keeper) tell(ctx actor.Context, timer *clockwork.Timer, at time.Time, message any) {
	k.stopTimer(timer)
	*timer = Later(ctx, k.cfg.Clock, max(at.Sub(k.cfg.Clock.Now()), 0), message)
}

func (k *keeper) stopTimer(timer *clockwork.Timer) {
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
}

func (k *keeper) stop() {
	k.stopTimer(&k.due)
	k.stopTimer(&k.expiry)
}
