package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// How many restarts of feeds the root allows within the window before it gives up.
const (
	rootMaxFaults   = 5
	rootFaultWindow = 10 * time.Minute
)

// root supervises the feeds, each apart from the others. It is its own supervision strategy.
type root struct {
	feeds     []feedConfig    // to start with
	balancing *balancerConfig // nil where feeds are not shared
	clock     clockwork.Clock
	observer  *observe.Observer
	failed    func(error) // called when the root gives up

	children []*child // the feeds, by name
	swap     *swap    // the change of the feeds that is under way, nil for none
	balancer *actor.PID
	faults   Intensity
	restarts map[string]*restart // the failed children, by actor ID
	health   healthRound
	troubles map[string]string // why feeds are not ready, by actor ID

	gaveUp    bool
	stopping  bool
	asker     *actor.PID
	unstopped map[string]bool
	stopErr   error
}

// child is a feed as the root knows it. Its status survives the incarnations of the feed's actor,
// and a change of its configuration.
type child struct {
	name   string
	pid    *actor.PID
	status *feedStatus
}

func newRoot(feeds []feedConfig, balancing *balancerConfig, clock clockwork.Clock, o *observe.Observer, fault actors.Fault, failed func(error)) *actor.Props {
	return actors.Guarded("", o, fault, func() actor.Actor {
		return &root{feeds: feeds, balancing: balancing, clock: clock, observer: o, failed: failed,
			faults: Intensity{Max: rootMaxFaults, Window: rootFaultWindow}, restarts: make(map[string]*restart), troubles: make(map[string]string)}
	})
}

// Receive implements actor.Actor.
func (r *root) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		r.spawn(ctx)
	case *actor.Restarting, *actor.Stopping:
		for _, pending := range r.restarts {
			pending.cancel()
		}
		clear(r.restarts)
	case *restartDue:
		r.restart(ctx, m.restart)
	case *actor.Terminated:
		r.ended(ctx, m.Who)
	case *feedChange:
		r.change(ctx, m)
	case *swapLate:
		r.hurry(ctx, m.swap)
	case *actors.FeedTrouble:
		r.troubles[m.Feed.Id] = m.Reason
	case *messages.ReadyQuery:
		ctx.Respond(r.ready())
	case *messages.HealthCheck:
		r.health.ask(ctx, m, r.answering())
	case *actors.HealthReply:
		r.health.reply(ctx, m)
	case *messages.Stop:
		r.stop(ctx, m)
	case *actors.Stopped:
		r.stopped(ctx, m.From, m.Err)
	}
}

func (r *root) spawn(ctx actor.Context) {
	for _, cfg := range r.feeds {
		r.begin(ctx, cfg, newFeedStatus(cfg.Name, filterOf(cfg.Feed), r.clock, r.observer))
	}
	r.feeds = nil
	r.balance(ctx)
}

// begin starts a feed.
func (r *root) begin(ctx actor.Context, cfg feedConfig, status *feedStatus) {
	pid := mustSpawn(ctx, cfg.Name, newFeed(cfg, status))
	r.children = append(r.children, &child{cfg.Name, pid, status})
	slices.SortFunc(r.children, func(a, b *child) int { return strings.Compare(a.name, b.name) })
}

// balance tells the balancer which feeds there are. It starts the balancer with the first feeds.
func (r *root) balance(ctx actor.Context) {
	if r.balancing == nil {
		return
	}
	byName := make(map[string]*actor.PID, len(r.children))
	for _, c := range r.children {
		byName[c.name] = c.pid
	}
	switch {
	case r.balancer != nil:
		ctx.Send(r.balancer, &balancedFeeds{byName, r.balancing.Node.Streams})
	case len(byName) > 0:
		// No feed's name begins with a "$".
		r.balancer = mustSpawn(ctx, "$balancer", newBalancer(*r.balancing, byName))
	}
}

// restart restarts a child whose time has come.
func (r *root) restart(ctx actor.Context, due *restart) {
	if r.restarts[due.pid.Id] != due || r.stopping {
		return
	}
	delete(r.restarts, due.pid.Id)
	asSupervisor(ctx).RestartChildren(due.pid)
	if due.pid.Equal(r.balancer) {
		r.balance(ctx) // its feeds may have changed since it was made
	}
}

// HandleFailure is the root's supervision strategy. The actor library calls it in the root's own
// turn.
func (r *root) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	ctx := s.(actor.Context)
	r.health.excuse(ctx, child)
	delete(r.troubles, child.Id) // the next incarnation reports its own
	if r.swap.isEnding(child) {
		ctx.Stop(child) // it was to end
		return
	}
	if r.stopping {
		r.stopped(ctx, child, fmt.Errorf("%s: %s", child.Id, bounded(reason)))
		return
	}
	now := r.clock.Now()
	if r.faults.Exceeded(now) {
		r.gaveUp = true
		text := bounded(reason)
		r.observer.Emit(observe.ActorGaveUp, "", "reason", text, "failures", r.faults.Count(), "window", rootFaultWindow.String())
		r.failed(fmt.Errorf("gave up after %d failures within %s: %s", r.faults.Count(), rootFaultWindow, text))
		return
	}
	delay := 10 * restartDelay(r.faults.Count())
	r.observer.Emit(observe.ActorRestarted, "", "actor", child.Id, "reason", bounded(reason), "delay", delay.String(), "failures", r.faults.Count())
	r.restarts[child.Id] = restartAfter(ctx, r.clock, delay, child)
}

func (r *root) ready() *messages.Readiness {
	ready := &messages.Readiness{}
	if r.gaveUp {
		ready.Reasons = append(ready.Reasons, "too many failures: the daemon gives up")
	}
	if r.stopping {
		ready.Reasons = append(ready.Reasons, "the daemon is stopping")
	}
	for _, c := range r.children {
		if r.restarts[c.pid.Id] != nil {
			ready.Reasons = append(ready.Reasons, fmt.Sprintf("feed %s is being restarted", c.name))
		} else if trouble := r.troubles[c.pid.Id]; trouble != "" {
			ready.Reasons = append(ready.Reasons, fmt.Sprintf("feed %s %s", c.name, trouble))
		}
	}
	ready.Ready = len(ready.Reasons) == 0
	return ready
}

// answering lists the children that do not wait for a restart.
func (r *root) answering() []*actor.PID {
	var pids []*actor.PID
	for _, c := range r.children {
		if r.restarts[c.pid.Id] == nil {
			pids = append(pids, c.pid)
		}
	}
	if r.balancer != nil && r.restarts[r.balancer.Id] == nil {
		pids = append(pids, r.balancer)
	}
	return pids
}

// stop passes the graceful stop on. The root answers when every child has answered.
func (r *root) stop(ctx actor.Context, m *messages.Stop) {
	if r.stopping {
		return
	}
	r.stopping, r.asker = true, ctx.Sender()
	r.unstopped = make(map[string]bool)
	for _, pid := range r.answering() {
		r.unstopped[pid.Id] = true
		ctx.Request(pid, m)
	}
	r.abandonSwap(ctx)
	r.answerStop(ctx)
}

func (r *root) stopped(ctx actor.Context, pid *actor.PID, err error) {
	if !r.stopping {
		if r.swap.isEnding(pid) {
			ctx.Stop(pid)
		}
		return
	}
	if r.stopErr == nil {
		r.stopErr = err
	}
	delete(r.unstopped, pid.Id)
	r.answerStop(ctx)
}

func (r *root) answerStop(ctx actor.Context) {
	if r.stopping && len(r.unstopped) == 0 && r.asker != nil {
		ctx.Send(r.asker, &actors.Stopped{From: ctx.Self(), Err: r.stopErr})
		r.asker = nil
	}
}

// guardian handles a failure of the root itself, which has only the process above it. A restart of
// the root would end every feed. So the guardian resumes the root with its state, without the
// message at which it failed.
type guardian struct {
	clock    clockwork.Clock
	observer *observe.Observer
	failed   func(error)
	faults   Intensity
}

func newGuardian(clock clockwork.Clock, o *observe.Observer, failed func(error)) *guardian {
	return &guardian{clock: clock, observer: o, failed: failed, faults: Intensity{Max: rootMaxFaults, Window: rootFaultWindow}}
}

// HandleFailure implements the actor library's supervision strategy. The library calls it in the
// root's turn.
func (g *guardian) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	if _, starting := message.(*actor.Started); starting || g.faults.Exceeded(g.clock.Now()) {
		g.failed(fmt.Errorf("%s failed: %s", child.Id, bounded(reason)))
		return
	}
	g.observer.Emit(observe.ActorRestarted, "", "actor", child.Id, "reason", bounded(reason), "delay", "0s", "failures", g.faults.Count())
	s.ResumeChildren(child)
}
