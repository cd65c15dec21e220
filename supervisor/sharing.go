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

// sharingConfig is what the sharing of feeds needs.
type sharingConfig struct {
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

// sharing is the actor that spreads the feeds over the daemons that share them. It announces this
// daemon to the others, looks at the other daemons and at the owners of the streams, and after
// every look tells each feed whether this daemon should own it. The feeds themselves take and give
// up their leases.
type sharing struct {
	actors.Tasks
	cfg   sharingConfig
	feeds map[string]*actor.PID

	task  *actors.Task // the questions to the store
	due   clockwork.Timer
	abort context.CancelFunc // ends the look that is under way, nil while there is none

	seen    map[string]time.Time // by node ID: since when the daemon has been there
	orphans map[string]time.Time // by stream: since when it has had no owner
	names   string               // of the daemons, as last reported
	asker   *actor.PID           // waits for the stop
}

// The sharing actor's messages to itself.
type (
	lookDue struct{}
	looked  struct {
		nodes  []messages.Node
		owners []messages.Owner
		err    error
	}
	withdrawn struct{}
)

func newSharing(cfg sharingConfig, feeds map[string]*actor.PID) *actor.Props {
	return actors.Guarded("", cfg.Observer, cfg.Fault, func() actor.Actor {
		return &sharing{cfg: cfg, feeds: feeds, seen: make(map[string]time.Time), orphans: make(map[string]time.Time)}
	})
}

// Receive implements actor.Actor.
func (s *sharing) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.task = s.NewTask(ctx)
		s.look()
	case *actor.Restarting, *actor.Stopping:
		s.end()
	case *lookDue:
		if s.asker == nil {
			s.look()
		}
	case *looked:
		s.abort = nil
		if s.asker != nil {
			s.withdraw()
			return
		}
		s.tell(ctx, m)
		s.due = actors.Later(ctx, s.cfg.Clock, s.cfg.Look, &lookDue{})
	case *messages.Stop:
		s.stop(ctx)
	case *withdrawn:
		ctx.Send(s.asker, &actors.Stopped{From: ctx.Self()})
	case *messages.HealthCheck:
		ctx.Respond(&actors.HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// ask asks the store in the actor's task.
func (s *sharing) ask(point string, question func(context.Context) any) context.CancelFunc {
	limited, cancel := clockwork.WithTimeout(s.task.Context(), s.cfg.Clock, s.cfg.TTL)
	s.task.Start(point, func(context.Context) any {
		defer cancel()
		return question(limited)
	})
	return cancel
}

func (s *sharing) look() {
	s.abort = s.ask("sharing.look", func(ctx context.Context) any {
		m := &looked{}
		if s.cfg.Candidate {
			// The announcement of a daemon that dies expires before its leases do, so that its
			// streams do not go back to it.
			if m.err = s.cfg.Store.Announce(ctx, s.cfg.Node, s.cfg.TTL-s.cfg.Renew); m.err != nil {
				return m
			}
		}
		if m.nodes, m.err = s.cfg.Store.Nodes(ctx); m.err != nil {
			return m
		}
		m.owners, m.err = s.cfg.Store.Owners(ctx, s.streams(m.nodes))
		return m
	})
}

// streams returns, sorted, the streams of this daemon and those that any daemon may own.
func (s *sharing) streams(nodes []messages.Node) []string {
	var streams []string
	for name := range s.feeds {
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
func (s *sharing) tell(ctx actor.Context, m *looked) {
	if m.err != nil {
		away := &messages.LeaseTrouble{Reason: actors.StoreReason(m.err)}
		for _, pid := range s.feeds {
			ctx.Send(pid, away)
		}
		return
	}
	now := s.cfg.Clock.Now()
	s.note(now, m.nodes)
	view := shareView{Nodes: m.nodes, Owners: m.owners, Settled: make(map[string]bool, len(m.nodes))}
	for id, since := range s.seen {
		// A daemon that has just come may go again, like one that crashes at each start. Feeds must
		// not move to and fro with it.
		view.Settled[id] = now.Sub(since) >= s.cfg.TTL
	}
	assigned := share(view)
	for _, o := range m.owners {
		pid := s.feeds[o.Stream]
		if pid == nil {
			continue
		}
		wanted := s.cfg.Candidate && (assigned[o.Stream] == s.cfg.Node.ID || s.neglected(now, o))
		ctx.Send(pid, &messages.Share{Wanted: wanted, Owner: o, Standbys: standbys(m.nodes, o)})
	}
}

// note remembers since when each daemon has been there.
func (s *sharing) note(now time.Time, nodes []messages.Node) {
	seen := make(map[string]time.Time, len(nodes))
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
		if seen[n.ID] = now; !s.seen[n.ID].IsZero() {
			seen[n.ID] = s.seen[n.ID]
		}
	}
	s.seen = seen
	slices.Sort(names)
	if told := strings.Join(names, ","); told != s.names {
		s.names = told
		s.cfg.Observer.Emit(observe.NodesChanged, "", "nodes", told)
	}
}

// neglected says whether a stream has had no owner for so long that the daemon that should take it
// does not. Then any daemon may take it.
func (s *sharing) neglected(now time.Time, o messages.Owner) bool {
	if o.Node != "" {
		delete(s.orphans, o.Stream)
		return false
	}
	since, known := s.orphans[o.Stream]
	if !known {
		s.orphans[o.Stream] = now
		return false
	}
	return now.Sub(since) >= s.cfg.TTL
}

// stop ends the looks.
func (s *sharing) stop(ctx actor.Context) {
	if s.asker != nil {
		return
	}
	s.asker = ctx.Sender()
	if s.abort != nil {
		// Receive goes on when the look has ended. The look may be announcing this daemon right
		// now.
		s.abort()
		return
	}
	s.withdraw()
}

// withdraw removes this daemon from the list, so that the streams that it now gives up do not come
// back to it.
func (s *sharing) withdraw() {
	s.ask("sharing.withdraw", func(ctx context.Context) any {
		if s.cfg.Candidate {
			// If the store cannot be reached, the announcement expires by itself.
			_ = s.cfg.Store.Withdraw(ctx, s.cfg.Node.ID)
		}
		return &withdrawn{}
	})
}

func (s *sharing) end() {
	if s.due != nil {
		s.due.Stop()
	}
}
