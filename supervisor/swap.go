package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/messages"
)

// feedChange asks the root to end some feeds and to begin others. A feed of both lists begins anew.
// The root answers with a feedsChanged when the feeds have ended and the others have begun.
type feedChange struct {
	end      []string
	begin    []feedConfig
	streams  []string      // that this daemon may own, where feeds are shared
	patience time.Duration // for the end in good order of the feeds
}

// feedsChanged is the root's answer. With an error nothing was changed, or the daemon stops.
type feedsChanged struct{ err error }

// swap is a change of the feeds that is under way: the root waits for the end of the former ones.
type swap struct {
	ending map[string]*child     // by actor ID: the feeds that have not ended
	begin  map[string]feedConfig // by name: the feeds that begin when their former ones have ended
	asker  *actor.PID
	timer  clockwork.Timer
}

// swapLate is the root's message to itself that the patience of a swap is over.
type swapLate struct{ swap *swap }

// isEnding says whether the feed is one that the swap ends. A nil swap ends none.
func (s *swap) isEnding(pid *actor.PID) bool { return s != nil && s.ending[pid.Id] != nil }

var errStopping = fmt.Errorf("%w: the daemon is stopping", messages.ErrNotNow)

// change begins a change of the feeds. The feeds that end do so in good order: they store what they
// have read and save their checkpoints. All others are left alone.
func (r *root) change(ctx actor.Context, m *feedChange) {
	switch {
	case r.stopping || r.gaveUp:
		ctx.Respond(&feedsChanged{errStopping})
		return
	case r.swap != nil:
		ctx.Respond(&feedsChanged{fmt.Errorf("%w: another change of the feeds is under way", messages.ErrNotNow)})
		return
	}
	s := &swap{ending: make(map[string]*child), begin: make(map[string]feedConfig), asker: ctx.Sender()}
	r.swap = s
	if r.balancing != nil {
		r.balancing.Node.Streams = m.streams
	}
	r.children = slices.DeleteFunc(r.children, func(c *child) bool {
		if !slices.Contains(m.end, c.name) {
			return false
		}
		s.ending[c.pid.Id] = c
		delete(r.troubles, c.pid.Id)
		r.health.excuse(ctx, c.pid)
		if pending := r.restarts[c.pid.Id]; pending != nil { // it has failed, and has no actors
			pending.cancel()
			delete(r.restarts, c.pid.Id)
			ctx.Stop(c.pid)
			return true
		}
		ctx.Request(c.pid, &messages.Stop{Reason: "the configuration has changed"})
		return true
	})
	for _, cfg := range m.begin {
		if slices.Contains(m.end, cfg.Name) {
			s.begin[cfg.Name] = cfg
			continue
		}
		r.begin(ctx, cfg, newFeedStatus(cfg.Name, filterOf(cfg.Feed), r.clock, r.observer))
	}
	s.timer = actors.Later(ctx, r.clock, m.patience, &swapLate{s})
	r.endSwap(ctx)
}

// hurry ends the feeds of a swap that have not ended in time. What they have not stored is read
// again by the next connection.
func (r *root) hurry(ctx actor.Context, s *swap) {
	if r.swap != s {
		return
	}
	for _, c := range s.ending {
		ctx.Stop(c.pid)
	}
}

// ended notes the end of a feed, and begins the one that is to follow it.
func (r *root) ended(ctx actor.Context, pid *actor.PID) {
	r.health.excuse(ctx, pid)
	if !r.swap.isEnding(pid) {
		return
	}
	c := r.swap.ending[pid.Id]
	delete(r.swap.ending, pid.Id)
	delete(r.troubles, pid.Id)
	cfg, follows := r.swap.begin[c.name]
	switch {
	case r.stopping:
		r.stopped(ctx, pid, nil)
		return
	case follows:
		c.status.changed(filterOf(cfg.Feed))
		r.begin(ctx, cfg, c.status)
	default:
		r.observer.Forget(c.name)
	}
	r.endSwap(ctx)
}

// endSwap answers when the former feeds have ended.
func (r *root) endSwap(ctx actor.Context) {
	s := r.swap
	if len(s.ending) > 0 {
		return
	}
	s.timer.Stop()
	r.swap = nil
	r.balance(ctx)
	ctx.Send(s.asker, &feedsChanged{})
}

// abandonSwap gives a swap up because the daemon stops: the feeds that end are waited for, and none
// begins.
func (r *root) abandonSwap(ctx actor.Context) {
	if r.swap == nil {
		return
	}
	r.swap.timer.Stop()
	for id := range r.swap.ending {
		r.unstopped[id] = true
	}
	ctx.Send(r.swap.asker, &feedsChanged{errStopping})
}

// errNotRunning is matched by the error of a question to an actor that does not run.
var errNotRunning = errors.New("is not running")
