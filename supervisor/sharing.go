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
	Look      time.Duration // between two looks at who is there and who owns what
	Clock     clockwork.Clock
	Observer  *observe.Observer
	Fault     actors.Fault
}

// sharing is the actor that spreads the feeds over the daemons that have them in common. It tells the others that this daemon is there, looks who else is and
// who owns what, and tells each feed after every look what becomes of it. Taking and giving up is the feeds' own business.
type sharing struct {
	actors.Beside
	cfg   sharingConfig
	feeds map[string]*actor.PID

	task  *actors.Task // questions to the store
	due   clockwork.Timer
	abort context.CancelFunc // ends the look that is under way, nil while there is none

	seen    map[string]time.Time // by node ID: since when it has been there
	orphans map[string]time.Time // by stream: since when it has had no owner
	names   string               // of who is there, as last told
	asker   *actor.PID           // who waits for the stop
}

// The sharing's messages to itself.
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

// Receive is the actor's.
func (s *sharing) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		s.task = s.Begin(ctx)
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

// ask asks the store beside the actor.
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
			// A daemon that dies is off the list before its leases are over, so that they do not go to it.
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

// streams are those that any daemon may own, and ours, sorted.
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

// tell decides on what was seen and tells the feeds. While the store is away nothing changes but their reason to wait.
func (s *sharing) tell(ctx actor.Context, m *looked) {
	if m.err != nil {
		away := &messages.LeaseAway{Reason: actors.StoreReason(m.err)}
		for _, pid := range s.feeds {
			ctx.Send(pid, away)
		}
		return
	}
	now := s.cfg.Clock.Now()
	s.note(now, m.nodes)
	view := shareView{Nodes: m.nodes, Owners: m.owners, Settled: make(map[string]bool, len(m.nodes))}
	for id, since := range s.seen {
		// One that has only just come may go again, as one does that crashes at each start: feeds are not to go to and fro with it.
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

// note keeps account of who is there.
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

// neglected says whether a stream has had no owner for so long that whoever was to take it does not: then any daemon may.
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
		s.abort() // its end goes on here: it may be announcing us
		return
	}
	s.withdraw()
}

// withdraw takes this daemon off the list, so that what it gives up now does not come back to it.
func (s *sharing) withdraw() {
	s.ask("sharing.withdraw", func(ctx context.Context) any {
		if s.cfg.Candidate {
			_ = s.cfg.Store.Withdraw(ctx, s.cfg.Node.ID) // a store that cannot be told will forget it
		}
		return &withdrawn{}
	})
}

func (s *sharing) end() {
	if s.due != nil {
		s.due.Stop()
	}
}
