package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/crashpoint"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// LeaseHolderConfig is what a lease holder needs. The lease holder reports everything to its
// parent, the feed.
type LeaseHolderConfig struct {
	Feed   string
	Leases persistence.LeaseStore
	Node   messages.Node
	// Open opens the stream for appends under the lease.
	Open     func(context.Context, messages.Lease) (persistence.Stream, error)
	TTL      time.Duration // how long a lease lasts without a renewal
	Renew    time.Duration // between two renewals
	Retry    time.Duration // between two requests for a lease that another daemon holds
	Clock    clockwork.Clock
	Observer *observe.Observer
	Fault    Fault
}

// NewLeaseHolder makes the props of the actor that keeps a feed's lease. It acquires the lease,
// renews it and releases it, and reports when it is lost.
//
// A lease counts from the moment of the request, so that it ends here before it ends in the store,
// however long the answer took. If the lease holder cannot renew it in time, it tells the feed to
// stop, because another daemon may begin. A daemon whose process is suspended does not notice the
// end of its lease. The store refuses its appends all the same.
func NewLeaseHolder(cfg LeaseHolderConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &leaseHolder{cfg: cfg} })
}

type leaseHolder struct {
	Tasks
	cfg  LeaseHolderConfig
	task *Task // its requests to the store

	wanted    bool           // the feed asked for the lease and does not have it
	releasing bool           // the feed waits for the release
	busy      bool           // a request to the store is under way
	lease     messages.Lease // zero while the lease holder holds none
	until     time.Time      // the end of the lease unless it is renewed
	failed    error          // why the last renewal failed
	wait      time.Duration  // after a claim that failed with an unknown error

	due, expiry clockwork.Timer
}

// The lease holder's messages to itself.
type (
	actDue       struct{}
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
	releaseDone struct{}
)

// Receive implements actor.Actor.
func (h *leaseHolder) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		h.task = h.NewTask(ctx)
	case *actor.Restarting, *actor.Stopping:
		h.stop()
	case *messages.ClaimLease:
		h.wanted, h.releasing = true, false
		h.act(ctx)
	case *messages.ReleaseLease:
		h.wanted, h.releasing = false, true
		h.act(ctx)
	case *actDue:
		h.act(ctx)
	case *leaseExpired:
		h.expire(ctx, m.lease)
	case *claimed:
		h.claimed(ctx, m)
	case *renewed:
		h.renewed(ctx, m)
	case *releaseDone:
		h.busy, h.lease = false, messages.Lease{}
		h.act(ctx)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// act asks the store for the next thing to do. It does nothing while a request is under way,
// because the answer calls act again.
func (h *leaseHolder) act(ctx actor.Context) {
	if h.busy {
		return
	}
	h.stopTimer(&h.due)
	switch {
	case h.releasing && h.lease.IsZero():
		h.releasing = false
		ctx.Send(ctx.Parent(), &messages.LeaseReleased{})
	case h.releasing:
		h.release()
	case h.wanted:
		h.claim()
	case !h.lease.IsZero():
		h.renew()
	}
}

// ask runs one request to the store in the lease holder's task, for at most limit.
func (h *leaseHolder) ask(point string, limit time.Duration, request func(context.Context) any) {
	h.busy = true
	h.task.Start(point, func(ctx context.Context) any {
		limited, cancel := clockwork.WithTimeout(ctx, h.cfg.Clock, limit)
		defer cancel()
		return request(limited)
	})
}

// claim asks for the lease. An answer that takes longer than the lease lasts is worthless.
func (h *leaseHolder) claim() {
	h.lease = messages.Lease{} // the new lease fences out the one that is held
	asked := h.cfg.Clock.Now()
	h.ask("lease_holder.claim", h.cfg.TTL, func(ctx context.Context) any {
		m := &claimed{asked: asked}
		if m.grant.Lease, m.err = h.cfg.Leases.Acquire(ctx, h.cfg.Feed, h.cfg.Node, h.cfg.TTL); m.err != nil {
			return m
		}
		crashpoint.Pass(crashpoint.LeaseAcquired)
		if m.grant.Stream, m.err = h.cfg.Open(ctx, m.grant.Lease); m.err == nil {
			// An error does not matter: the info only tells the watchdog the mean interval of the
			// feed's events.
			m.grant.Info, _ = m.grant.Stream.Info(ctx)
		}
		return m
	})
}

func (h *leaseHolder) claimed(ctx actor.Context, m *claimed) {
	h.busy = false
	now := h.cfg.Clock.Now()
	until := m.asked.Add(h.cfg.TTL)
	held, isHeld := errors.AsType[*persistence.HeldError](m.err)
	switch {
	case m.err == nil && now.Before(until):
		h.lease, h.until, h.failed, h.wait = m.grant.Lease, until, nil, 0
		if h.releasing {
			h.act(ctx)
			return
		}
		h.wanted = false
		ctx.Send(ctx.Parent(), &m.grant)
		h.expireAt(ctx, until)
		h.actAt(ctx, m.asked.Add(h.cfg.Renew))
		return
	case !m.grant.Lease.IsZero():
		// This lease cannot be used now, but it must be released when the feed asks for that.
		h.lease = m.grant.Lease
	case isHeld && h.wanted:
		ctx.Send(ctx.Parent(), &messages.LeaseHeld{Owner: held.Owner})
	}
	if h.wait = nextWait(h.wait, m.err); m.err == nil || isHeld || persistence.Temporary(m.err) {
		h.wait = 0
	}
	if m.err != nil && !isHeld && h.wanted {
		ctx.Send(ctx.Parent(), &messages.LeaseTrouble{Reason: StoreReason(m.err)})
	}
	if h.releasing {
		h.act(ctx)
		return
	}
	h.actAt(ctx, now.Add(max(h.cfg.Retry, h.wait)))
}

func (h *leaseHolder) renew() {
	lease, asked := h.lease, h.cfg.Clock.Now()
	h.ask("lease_holder.renew", h.until.Sub(asked), func(ctx context.Context) any {
		err := h.cfg.Leases.Renew(ctx, lease, h.cfg.TTL)
		crashpoint.Pass(crashpoint.LeaseRenewed)
		return &renewed{lease, asked, err}
	})
}

func (h *leaseHolder) renewed(ctx actor.Context, m *renewed) {
	h.busy = false
	fenced, isFenced := errors.AsType[*persistence.FencedError](m.err)
	switch {
	case m.lease != h.lease: // it expired meanwhile
	case isFenced:
		h.lose(ctx, "it was refused", fenced.Owner)
	case m.err != nil:
		h.failed = m.err
		h.actAt(ctx, h.cfg.Clock.Now().Add(min(h.cfg.Retry, h.cfg.Renew)))
	default:
		h.until, h.failed = m.asked.Add(h.cfg.TTL), nil
		h.expireAt(ctx, h.until)
		h.actAt(ctx, m.asked.Add(h.cfg.Renew))
	}
	if h.releasing || h.wanted {
		h.act(ctx)
	}
}

// expire ends a lease that was not renewed in time.
func (h *leaseHolder) expire(ctx actor.Context, lease messages.Lease) {
	if lease != h.lease || h.cfg.Clock.Now().Before(h.until) {
		return
	}
	reason := "it could not be renewed in time"
	if h.failed != nil {
		reason += ": " + StoreReason(h.failed)
	}
	h.lose(ctx, reason, "")
}

func (h *leaseHolder) lose(ctx actor.Context, reason, owner string) {
	lost := h.lease
	h.lease = messages.Lease{}
	h.stopTimer(&h.due)
	h.stopTimer(&h.expiry)
	ctx.Send(ctx.Parent(), &messages.LeaseLost{Lease: lost, Reason: reason, Owner: owner})
}

// release gives up the lease. If the store cannot be reached, the lease expires there by itself.
func (h *leaseHolder) release() {
	lease := h.lease
	h.stopTimer(&h.expiry)
	h.ask("lease_holder.release", h.cfg.TTL, func(ctx context.Context) any {
		crashpoint.Pass(crashpoint.LeaseRelease)
		_ = h.cfg.Leases.Release(ctx, lease)
		crashpoint.Pass(crashpoint.LeaseReleased)
		return &releaseDone{}
	})
}

func (h *leaseHolder) actAt(ctx actor.Context, at time.Time) { h.sendAt(ctx, &h.due, at, &actDue{}) }

func (h *leaseHolder) expireAt(ctx actor.Context, at time.Time) {
	h.sendAt(ctx, &h.expiry, at, &leaseExpired{h.lease})
}

// sendAt sends the lease holder a message at a time. It replaces the message that the timer was
// going to send.
func (h *leaseHolder) sendAt(ctx actor.Context, timer *clockwork.Timer, at time.Time, message any) {
	h.stopTimer(timer)
	*timer = Later(ctx, h.cfg.Clock, max(at.Sub(h.cfg.Clock.Now()), 0), message)
}

func (h *leaseHolder) stopTimer(timer *clockwork.Timer) {
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
}

func (h *leaseHolder) stop() {
	h.stopTimer(&h.due)
	h.stopTimer(&h.expiry)
}
