package supervisor

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// balancerConfig is what a balancer needs.
type balancerConfig struct {
	Store     persistence.LeaseStore
	Node      messages.Node
	Candidate bool // this daemon may own feeds
	TTL       time.Duration
	Renew     time.Duration
	Look      time.Duration // between two looks at the daemons and the owners
	Clock     clockwork.Clock
	Observer  *observe.Observer
	Fault     actors.Fault
}

// balancer is the actor that spreads the feeds over the daemons that share them. It announces this
// daemon to the others, looks at the other daemons and at the owners of the streams, and after
// every look tells each feed whether this daemon should own it. The feeds themselves take and give
// up their leases.
type balancer struct {
	actors.Tasks
	cfg   balancerConfig
	feeds map[string]*actor.PID

	task  *actors.Task // the questions to the store
	due   clockwork.Timer
	abort context.CancelFunc // ends the look that is under way, nil while there is none

	seen    map[string]time.Time // by node ID: since when the daemon has been there
	orphans map[string]time.Time // by stream: since when it has had no owner
	names   string               // of the daemons, as last reported
	asker   *actor.PID           // waits for the stop
}

// The balancer's messages to itself.
type (
	lookDue struct{}
	looked  struct {
		nodes  []messages.Node
		owners []messages.Owner
		err    error
	}
	withdrawn struct{}
)

// balancedFeeds tells the balancer which feeds this daemon has now, and which streams it may own.
type balancedFeeds struct {
	feeds   map[string]*actor.PID
	streams []string
}

func newBalancer(cfg balancerConfig, feeds map[string]*actor.PID) *actor.Props {
	return actors.Guarded("", cfg.Observer, cfg.Fault, func() actor.Actor {
		return &balancer{cfg: cfg, feeds: feeds, seen: make(map[string]time.Time), orphans: make(map[string]time.Time)}
	})
}

// Receive implements actor.Actor.
func (b *balancer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		b.task = b.NewTask(ctx)
		b.look()
	case *actor.Restarting, *actor.Stopping:
		b.end()
	case *lookDue:
		if b.asker == nil {
			b.look()
		}
	case *looked:
		b.abort = nil
		if b.asker != nil {
			b.withdraw()
			return
		}
		b.tell(ctx, m)
		b.due = actors.Later(ctx, b.cfg.Clock, b.cfg.Look, &lookDue{})
	case *balancedFeeds:
		b.feeds, b.cfg.Node.Streams = m.feeds, m.streams
	case *messages.Stop:
		b.stop(ctx)
	case *withdrawn:
		ctx.Send(b.asker, &actors.Stopped{From: ctx.Self()})
	case *messages.HealthCheck:
		ctx.Respond(&actors.HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// ask asks the store in the actor's task.
func (b *balancer) ask(point string, question func(context.Context) any) context.CancelFunc {
	limited, cancel := clockwork.WithTimeout(b.task.Context(), b.cfg.Clock, b.cfg.TTL)
	b.task.Start(point, func(context.Context) any {
		defer cancel()
		return question(limited)
	})
	return cancel
}

func (b *balancer) look() {
	// The feeds may change while the store is asked.
	node, feeds := b.cfg.Node, b.feeds
	b.abort = b.ask("balancer.look", func(ctx context.Context) any {
		m := &looked{}
		if b.cfg.Candidate {
			// The announcement of a daemon that dies expires before its leases do, so that its
			// streams do not go back to it.
			if m.err = b.cfg.Store.Announce(ctx, node, b.cfg.TTL-b.cfg.Renew); m.err != nil {
				return m
			}
		}
		if m.nodes, m.err = b.cfg.Store.Nodes(ctx); m.err != nil {
			return m
		}
		m.owners, m.err = b.cfg.Store.Owners(ctx, streamsOf(feeds, m.nodes))
		return m
	})
}

// streamsOf returns, sorted, the streams of this daemon's feeds and those that any daemon may own.
func streamsOf(feeds map[string]*actor.PID, nodes []messages.Node) []string {
	var streams []string
	for name := range feeds {
		streams = append(streams, name)
	}
	for i := range nodes {
		streams = append(streams, nodes[i].Streams...)
	}
	slices.Sort(streams)
	return slices.Compact(streams)
}

// tell decides on the view and tells the feeds. While the store is unavailable, only the reason of
// the feeds' wait changes.
func (b *balancer) tell(ctx actor.Context, m *looked) {
	if m.err != nil {
		trouble := &messages.LeaseTrouble{Reason: actors.StoreReason(m.err)}
		for _, pid := range b.feeds {
			ctx.Send(pid, trouble)
		}
		return
	}
	now := b.cfg.Clock.Now()
	b.note(now, m.nodes)
	v := view{Nodes: m.nodes, Owners: m.owners, Settled: make(map[string]bool, len(m.nodes))}
	for id, since := range b.seen {
		// A daemon that has just come may go again, like one that crashes at each start. Feeds must
		// not move to and fro with it.
		v.Settled[id] = now.Sub(since) >= b.cfg.TTL
	}
	assigned := balance(v)
	for _, o := range m.owners {
		pid := b.feeds[o.Stream]
		if pid == nil {
			continue
		}
		wanted := b.cfg.Candidate && (assigned[o.Stream] == b.cfg.Node.ID || b.neglected(now, o))
		ctx.Send(pid, &messages.Share{Wanted: wanted, Owner: o, Standbys: standbys(m.nodes, o)})
	}
}

// note remembers since when each daemon has been there.
func (b *balancer) note(now time.Time, nodes []messages.Node) {
	seen := make(map[string]time.Time, len(nodes))
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
		if seen[n.ID] = now; !b.seen[n.ID].IsZero() {
			seen[n.ID] = b.seen[n.ID]
		}
	}
	b.seen = seen
	slices.Sort(names)
	if told := strings.Join(names, ","); told != b.names {
		b.names = told
		b.cfg.Observer.Emit(observe.NodesChanged, "", "nodes", told)
	}
}

// neglected says whether a stream has had no owner for so long that the daemon that should take it
// does not. Then any daemon may take it.
func (b *balancer) neglected(now time.Time, o messages.Owner) bool {
	if o.Node != "" {
		delete(b.orphans, o.Stream)
		return false
	}
	since, known := b.orphans[o.Stream]
	if !known {
		b.orphans[o.Stream] = now
		return false
	}
	return now.Sub(since) >= b.cfg.TTL
}

// stop ends the looks.
func (b *balancer) stop(ctx actor.Context) {
	if b.asker != nil {
		return
	}
	b.asker = ctx.Sender()
	if b.abort != nil {
		// Receive goes on when the look has ended. The look may be announcing this daemon right
		// now.
		b.abort()
		return
	}
	b.withdraw()
}

// withdraw removes this daemon from the list, so that the streams that it now gives up do not come
// back to it.
func (b *balancer) withdraw() {
	b.ask("balancer.withdraw", func(ctx context.Context) any {
		if b.cfg.Candidate {
			// If the store cannot be reached, the announcement expires by itself.
			_ = b.cfg.Store.Withdraw(ctx, b.cfg.Node.ID)
		}
		return &withdrawn{}
	})
}

func (b *balancer) end() {
	if b.due != nil {
		b.due.Stop()
	}
}
