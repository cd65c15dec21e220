package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// leaseConfig is what a feed needs where several daemons share the store.
type leaseConfig struct {
	Store persistence.LeaseStore
	Node  messages.Node
	Open  func(context.Context, messages.Lease) (persistence.Stream, error)
	TTL   time.Duration
	Renew time.Duration
	Look  time.Duration // between two looks for the lease's owner
	// Shared says that Share messages tell whether this daemon owns the feed; otherwise it always
	// does.
	Shared bool
}

// ownership is a feed's part in the sharing of feeds. A feed's actors run while its lease is held.
type ownership struct {
	holder        *actor.PID     // the lease holder, nil where the store is not shared
	holderRestart *restart       // its pending restart, nil for none
	wanted        bool           // this daemon should own the feed
	saveErr       error          // of the last save of a life that ended in good order
	warned        messages.Owner // the owner of the last warning
	away          string         // why the store cannot be asked for the lease, "" when it can
}

// standby: the feed has no lease.
type standby struct {
	inert
	claimed bool // the lease holder was told to get the lease
}

// standBy begins to wait for the lease.
func (f *feed) standBy(ctx actor.Context) {
	if f.holder == nil {
		l := f.cfg.Lease
		f.holder = mustSpawn(ctx, "lease_holder", actors.NewLeaseHolder(actors.LeaseHolderConfig{
			Feed: f.cfg.Name, Leases: l.Store, Node: l.Node, Open: l.Open, TTL: l.TTL, Renew: l.Renew, Retry: l.Look, Clock: f.cfg.Clock,
			Observer: f.cfg.Observer, Fault: f.cfg.Fault,
		}))
	}
	p := &standby{inert: inert{f.life}}
	f.life.phase = p
	p.claim(ctx)
}

func (p *standby) receive(ctx actor.Context) {
	f := p.feed
	switch m := ctx.Message().(type) {
	case *messages.Share:
		if f.wanted != p.claimed {
			p.claim(ctx)
		}
		f.showOwner(m.Owner)
	case *actors.LeaseGranted:
		if f.wanted && !f.stopping { // otherwise the lease holder has been told so by now
			p.granted(ctx, m)
		}
	case *messages.LeaseHeld:
		f.leaseHeld(m.Owner)
	case *messages.LeaseTrouble:
		if !f.stopping {
			f.away = m.Reason
			f.status.enter(messages.StateStandby, m.Reason)
		}
	case *messages.LeaseReleased:
		if f.stopping {
			f.stopped(ctx, f.saveErr)
		}
	}
}

// claim asks for the lease, or gives up the request.
func (p *standby) claim(ctx actor.Context) {
	p.claimed = p.feed.wanted
	if p.feed.wanted && !p.feed.stopping {
		ctx.Send(p.feed.holder, &messages.ClaimLease{})
		return
	}
	ctx.Send(p.feed.holder, &messages.ReleaseLease{})
}

// leave gives up the request for the lease.
func (p *standby) leave(ctx actor.Context) { ctx.Send(p.feed.holder, &messages.ReleaseLease{}) }

func (p *standby) holderRestarted(ctx actor.Context) { p.claim(ctx) }

// granted starts the feed's actors.
func (p *standby) granted(ctx actor.Context, m *actors.LeaseGranted) {
	f := p.feed
	f.warned, f.away = messages.Owner{}, ""
	f.status.Owner, f.status.Fence = f.cfg.Lease.Node.Name, m.Lease.Epoch
	newest := ""
	if m.Info.Newest != nil {
		newest = m.Info.Newest.String()
	}
	f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(float64(m.Lease.Epoch))
	f.cfg.Observer.Emit(observe.LeaseGranted, f.cfg.Name, "fence", m.Lease.Epoch, "newest", newest)
	p.lease = m.Lease
	p.start(ctx, m.Stream, interval(m.Info))
}

// share takes over a decision of the balancer.
func (f *feed) share(m *messages.Share) {
	if f.wanted = m.Wanted; !f.wanted {
		f.away = "" // the lease is not asked for, either
	}
	f.status.Standbys = m.Standbys
}

// showOwner shows the owner of a feed that has no actors here.
func (f *feed) showOwner(o messages.Owner) {
	f.status.Owner, f.status.Fence = o.Name, max(f.status.Fence, o.Epoch)
	if !f.wanted && !f.stopping {
		f.status.enter(messages.StateStandby, ownedBy(o.Name))
	}
}

// leaseHeld notes that another daemon has the lease. Where feeds are not shared, it warns.
func (f *feed) leaseHeld(o messages.Owner) {
	f.away = ""
	f.status.Owner, f.status.Fence = o.Name, o.Epoch
	f.status.enter(messages.StateStandby, ownedBy(o.Name))
	if o.Left = 0; f.cfg.Lease.Shared || o == f.warned {
		return
	}
	f.warned = o
	f.cfg.Observer.Emit(observe.LeaseHeld, f.cfg.Name, "fence", o.Epoch, "owner", o.Name)
}

func ownedBy(name string) string {
	if name == "" {
		return "nobody owns it yet"
	}
	return name + " owns it"
}

// leaseLost handles the reports that the lease is lost: of the lease holder, or of the writer.
func (l *life) leaseLost(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.LeaseLost:
		if m.Lease == l.lease {
			l.lose(ctx, m.Reason, m.Owner)
		}
	case *messages.Fenced:
		if m.Epoch == l.lease.Epoch {
			l.lose(ctx, "an append was refused", m.Owner)
		}
	}
}

// lose ends a life whose lease is already lost.
func (l *life) lose(ctx actor.Context, reason, owner string) {
	f := l.feed
	f.cfg.Observer.Emit(observe.LeaseLost, f.cfg.Name, "fence", l.lease.Epoch, "reason", reason, "owner", owner)
	l.leaseOver(owner)
	f.status.enter(messages.StateStandby, "the lease is lost: "+reason)
	l.end(ctx)
}

// leaseReleased ends a life that ended in good order.
func (l *life) leaseReleased(ctx actor.Context) {
	f := l.feed
	reason := "the feed goes to another daemon"
	if f.stopping {
		reason = "the daemon stops"
	}
	f.cfg.Observer.Emit(observe.LeaseReleased, f.cfg.Name, "fence", l.lease.Epoch, "reason", reason)
	l.leaseOver("")
	if f.stopping {
		l.beginEnding()
		f.stopped(ctx, f.saveErr)
		return
	}
	f.status.enter(messages.StateStandby, reason)
	l.end(ctx)
}

// leaseOver notes that this daemon does not own the feed any more.
func (l *life) leaseOver(owner string) {
	f := l.feed
	l.lease = messages.Lease{}
	f.status.Owner = owner
	f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(0)
}

// notOurs refuses a command that only the feed's owner can carry out.
func (f *feed) notOurs() error {
	owner := f.status.Owner
	if owner == "" {
		return fmt.Errorf("%w: nobody owns the feed at the moment", messages.ErrNotNow)
	}
	return fmt.Errorf("%w: the feed is owned by %s: ask there", messages.ErrNotNow, owner)
}
