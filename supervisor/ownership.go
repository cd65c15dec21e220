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
// Between two tenures it has none.
type ownership struct {
	keeper *actor.PID
	wanted bool // this daemon should own the feed
	// lease is the lease of the running actors, zero when there are none or when it is lost.
	lease      messages.Lease
	clearing   bool           // the actors are being ended
	saveErr    error          // the error of the last save of a tenure that ends in good order
	complained messages.Owner // the owner of the last warning
	away       string         // why the store cannot be asked for the lease, "" when it can
}

func (f *feed) spawnKeeper(ctx actor.Context) {
	l := f.cfg.Lease
	f.keeper = mustSpawn(ctx, "lease_holder", actors.NewLeaseHolder(actors.LeaseHolderConfig{
		Feed: f.cfg.Name, Leases: l.Store, Node: l.Node, Open: l.Open, TTL: l.TTL, Renew: l.Renew, Retry: l.Look, Clock: f.cfg.Clock, Observer: f.cfg.Observer,
		Fault: f.cfg.Fault,
	}))
	f.wanted = !l.Shared
	f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(0)
	f.book.enter(messages.StateStandby, "started")
	f.claim(ctx)
}

// share takes over a decision of the sharing actor. A feed that an operator paused stays here,
// because another daemon would resume it.
func (f *feed) share(ctx actor.Context, m *messages.Share) {
	was := f.wanted
	if f.wanted = m.Wanted; !f.wanted {
		f.away = "" // the lease is not asked for, either
	}
	s := &f.book.status
	s.Standbys = m.Standbys
	if f.phase != absent {
		if !f.wanted && !f.leaving && !f.clearing && !f.paused && !f.ending {
			f.leave(ctx)
		}
		return
	}
	s.Owner, s.Fence = m.Owner.Name, max(s.Fence, m.Owner.Epoch)
	if f.wanted != was {
		f.claim(ctx)
	}
	if !f.wanted && !f.ending {
		f.book.enter(messages.StateStandby, ownedBy(m.Owner.Name))
	}
}

// claim asks for the lease of a feed that has no actors, or gives up the request.
func (f *feed) claim(ctx actor.Context) {
	if f.wanted && !f.ending {
		ctx.Send(f.keeper, &messages.ClaimLease{})
		return
	}
	ctx.Send(f.keeper, &messages.ReleaseLease{})
}

// granted begins a tenure.
func (f *feed) granted(ctx actor.Context, m *actors.LeaseGranted) {
	if f.phase != absent || f.clearing || f.ending || !f.wanted {
		return // the keeper has been told otherwise by now
	}
	f.lease, f.complained, f.away = m.Lease, messages.Owner{}, ""
	f.cfg.Stream, f.cfg.Interval = m.Stream, interval(m.Info)
	s := &f.book.status
	s.Owner, s.Fence = f.cfg.Lease.Node.Name, m.Lease.Epoch
	newest := ""
	if m.Info.Newest != nil {
		newest = m.Info.Newest.String()
	}
	f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(float64(m.Lease.Epoch))
	f.cfg.Observer.Emit(observe.LeaseGranted, f.cfg.Name, "fence", m.Lease.Epoch, "newest", newest)
	f.spawn(ctx)
}

// held notes that another daemon has the lease. Where feeds are not shared, it warns.
func (f *feed) held(o messages.Owner) {
	f.away = ""
	s := &f.book.status
	s.Owner, s.Fence = o.Name, o.Epoch
	f.book.enter(messages.StateStandby, ownedBy(o.Name))
	if o.Left = 0; f.cfg.Lease.Shared || o == f.complained {
		return
	}
	f.complained = o
	f.cfg.Observer.Emit(observe.LeaseHeld, f.cfg.Name, "fence", o.Epoch, "owner", o.Name)
}

func ownedBy(name string) string {
	if name == "" {
		return "nobody owns it yet"
	}
	return name + " owns it"
}

// lose ends a tenure whose lease is already lost. Of several messages that report the same loss
// only the first one gets here.
func (f *feed) lose(ctx actor.Context, reason, owner string) {
	f.cfg.Observer.Emit(observe.LeaseLost, f.cfg.Name, "fence", f.lease.Epoch, "reason", reason, "owner", owner)
	f.over(owner)
	f.book.enter(messages.StateStandby, "the lease is lost: "+reason)
	f.clear(ctx)
}

// over notes that this daemon does not own the feed any more.
func (f *feed) over(owner string) {
	f.lease = messages.Lease{}
	f.book.status.Owner = owner
	f.cfg.Observer.Metrics().Lease.WithLabelValues(f.cfg.Name).Set(0)
}

// released ends a tenure that ended in good order.
func (f *feed) released(ctx actor.Context) {
	reason := "the feed goes to another daemon"
	if f.ending {
		reason = "the daemon stops"
	}
	if f.leaving && !f.clearing {
		f.cfg.Observer.Emit(observe.LeaseReleased, f.cfg.Name, "fence", f.lease.Epoch, "reason", reason)
		f.over("")
		if !f.ending {
			f.book.enter(messages.StateStandby, reason)
			f.clear(ctx)
			return
		}
	}
	if f.ending && !f.clearing {
		f.stopped(ctx, f.saveErr)
	}
}

// moved handles a stream that does not end where this daemon left it. The stream is opened again,
// and events that it does not hold any more are read again.
func (f *feed) moved(ctx actor.Context, m *messages.StreamMoved) {
	if f.phase == absent || f.clearing {
		return
	}
	reason := "the stream holds what this writer did not know of: an append that was not answered came to be after all"
	if m.Found.Compare(m.Expected) < 0 {
		f.cfg.Observer.Emit(observe.StoreTruncated, f.cfg.Name, "expected", m.Expected.String(), "found", m.Found.String())
		reason = "the store came back with older data"
	}
	if f.cfg.Lease != nil {
		f.over(f.cfg.Lease.Node.Name)
		f.book.enter(messages.StateStandby, reason)
	}
	f.clear(ctx)
}

// keeperRestarted goes on with a new keeper, which holds no lease.
func (f *feed) keeperRestarted(ctx actor.Context) {
	switch {
	case f.clearing:
	case f.phase == absent:
		f.claim(ctx)
	default:
		f.lose(ctx, "its keeper failed", "")
	}
}

// notOurs refuses a command that only the feed's owner can carry out.
func (f *feed) notOurs() error {
	owner := f.book.status.Owner
	if owner == "" {
		return fmt.Errorf("%w: nobody owns the feed at the moment", messages.ErrNotNow)
	}
	return fmt.Errorf("%w: the feed is owned by %s: ask there", messages.ErrNotNow, owner)
}
