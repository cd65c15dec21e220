package oracle

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
	"tempestd/persistence/embedded/disk/memdisk"
)

// fault is one kind of faults: when it fits a setup, how its parameters are drawn, what it does, and
// what ends it after Step.For.
type fault struct {
	ofServer bool
	ofNode   bool
	fits     func(*Setup) bool
	draw     func(*rand.Rand, *Step)
	do       func(*world, Step)
	undo     func(*world, Step)
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []Kind { return slices.Sorted(maps.Keys(faults)) }

func always(*Setup) bool { return true }

// known fits worlds in which every clock that is set was known before: a feed that has no event yet
// cannot tell how far behind an undated host's clock is.
func known(f fault) fault {
	f.fits = func(s *Setup) bool {
		return !s.Early || !slices.ContainsFunc(s.Servers, func(o Server) bool { return o.Undated })
	}
	return f
}

func ownStore(s *Setup) bool    { return s.Nodes == 0 }
func sharedStore(s *Setup) bool { return s.Nodes > 0 }
func modelStore(s *Setup) bool  { return !s.Valkey }

// lasting draws how long a fault lasts.
func lasting(least, most time.Duration) func(*rand.Rand, *Step) {
	return func(rnd *rand.Rand, s *Step) { s.For = between(rnd, least, most) }
}

// counted draws how often a fault happens.
func counted(most int) func(*rand.Rand, *Step) {
	return func(rnd *rand.Rand, s *Step) { s.N = 1 + rnd.IntN(most) }
}

// ofServer is a fault of the simulated server.
func ofServer(name string, draw func(*rand.Rand, *Step)) fault {
	return fault{ofServer: true, fits: always, draw: draw, do: func(w *world, s Step) {
		if err := w.fleet.Members()[s.Server].Inject(jetsim.Fault{Name: name, For: s.For}); err != nil {
			panic(err)
		}
	}}
}

var faults map[Kind]fault

func init() {
	faults = map[Kind]fault{
		"close":       ofServer(jetsim.FaultClose, nil),
		"eof":         ofServer(jetsim.FaultEOF, nil),
		"reset":       ofServer(jetsim.FaultReset, nil),
		"too-slow":    ofServer(jetsim.FaultTooSlow, nil),
		"garbage":     ofServer(jetsim.FaultGarbage, nil),
		"migrate":     ofServer(jetsim.FaultMigrate, nil),
		"half-open":   ofServer(jetsim.FaultHalfOpen, lasting(time.Second, 3*time.Minute)),
		"stall":       ofServer(jetsim.FaultStall, lasting(time.Second, 3*time.Minute)),
		"slow":        ofServer(jetsim.FaultSlow, lasting(time.Second, time.Minute)),
		"refuse":      ofServer(jetsim.FaultRefuse, lasting(time.Second, 3*time.Minute)),
		"crash":       ofServer(jetsim.FaultCrash, lasting(100*time.Millisecond, 3*time.Minute)),
		"stale":       ofServer(jetsim.FaultStale, lasting(time.Second, 3*time.Minute)),
		"clock-ahead": known(ofServer(jetsim.FaultClockAhead, lasting(time.Second, 20*time.Minute))),
		"clock-back":  known(ofServer(jetsim.FaultClockBack, lasting(time.Second, 20*time.Minute))),

		// A server of the older generation gives an event a time in the future, and no other event but
		// those that come with it.
		"future-event": {ofServer: true, fits: always, draw: counted(30 * 60), do: func(w *world, s Step) {
			sim, lag := w.fleet.Members()[s.Server], w.Servers[s.Server].Lag+time.Millisecond
			if w.Servers[s.Server].Newer {
				return
			}
			quiet := w.setQuiet(true)
			w.wait(lag)
			ahead := time.Duration(s.N) * time.Second
			if w.Servers[s.Server].Undated {
				ahead += tolerated
			}
			sim.StepClock(ahead)
			w.positions.future += w.fleet.Produce(1)
			w.wait(lag)
			sim.StepClock(-ahead)
			w.setQuiet(quiet)
		}},

		// The server drops the older half of what it has.
		"forget": {ofServer: true, fits: func(s *Setup) bool { return !s.Early }, do: func(w *world, s Step) {
			w.stats.Forgotten++
			if err := w.fleet.Members()[s.Server].Inject(jetsim.Fault{Name: jetsim.FaultForget}); err != nil {
				panic(err)
			}
		}},
		// The same while nobody can connect, so that something may be missed.
		"forget-away": {ofServer: true, fits: func(s *Setup) bool { return !s.Early }, draw: lasting(10*time.Second, 4*time.Minute),
			do: func(w *world, s Step) { w.net.cutOff(host(s.Server)) },
			undo: func(w *world, s Step) {
				w.stats.Forgotten++
				w.fleet.Members()[s.Server].Forget(1 << 30)
				w.net.bringBack(host(s.Server))
			}},

		"partition": {ofServer: true, fits: always, draw: lasting(time.Second, 3*time.Minute),
			do:   func(w *world, s Step) { w.net.cutOff(host(s.Server)) },
			undo: func(w *world, s Step) { w.net.bringBack(host(s.Server)) }},

		// Nobody posts for a while.
		"quiet": {fits: always, draw: lasting(10*time.Second, 5*time.Minute),
			do:   func(w *world, _ Step) { w.setQuiet(true) },
			undo: func(w *world, _ Step) { w.setQuiet(false) }},
		// Everybody posts at once.
		"burst": {fits: always, draw: counted(200), do: func(w *world, s Step) { w.fleet.Produce(int64(s.N)) }},

		"our-clock": {fits: always, draw: func(rnd *rand.Rand, s *Step) {
			s.For, s.N = between(rnd, time.Second, 3*time.Minute), rnd.IntN(2*20*3600)-20*3600
		}, do: func(w *world, s Step) { w.wall.set(time.Duration(s.N) * time.Second) },
			undo: func(w *world, _ Step) { w.wall.set(0) }},

		"stop": {ofNode: true, fits: always, draw: lasting(0, 2*time.Minute),
			do: func(w *world, s Step) { w.stop(w.nodes[s.Node]) }, undo: func(w *world, s Step) { w.revive(w.nodes[s.Node]) }},
		"kill": {ofNode: true, fits: always, draw: lasting(0, 2*time.Minute),
			do: func(w *world, s Step) { w.kill(w.nodes[s.Node], memdisk.Kept) }, undo: func(w *world, s Step) { w.revive(w.nodes[s.Node]) }},
		"power-cut": {fits: ownStore, draw: lasting(0, 2*time.Minute),
			do: func(w *world, _ Step) { w.kill(w.nodes[0], w.fate()) }, undo: func(w *world, _ Step) { w.revive(w.nodes[0]) }},
		// The machine stops for a while: its calls of the store go out later.
		"node-frozen": {ofNode: true, fits: sharedStore, draw: lasting(time.Second, time.Minute),
			do: func(w *world, s Step) { w.freeze(w.nodes[s.Node]) }, undo: func(w *world, s Step) { w.thaw(w.nodes[s.Node]) }},
		"node-cut": {ofNode: true, fits: sharedStore, draw: lasting(time.Second, time.Minute),
			do: func(w *world, s Step) { w.setCut(w.nodes[s.Node], true) }, undo: func(w *world, s Step) { w.setCut(w.nodes[s.Node], false) }},
		"panic": {fits: always, draw: func(rnd *rand.Rand, s *Step) {
			s.Point, s.N = points[rnd.IntN(len(points))], 1+rnd.IntN(6)
			if s.Point != "" {
				s.Point = feedName + "/" + s.Point
			}
		}, do: func(w *world, s Step) { w.panics.arm(s.Point, s.N) }},

		"reply-lost": {fits: modelStore, draw: counted(3), do: func(w *world, s Step) { w.disk.replies.set(func() { w.disk.replies.lost += s.N }) }},
		"append-fails": {fits: modelStore, draw: counted(5), do: func(w *world, s Step) {
			w.disk.replies.set(func() { w.disk.replies.failed += s.N })
		}},
		"append-late": {fits: modelStore, draw: func(rnd *rand.Rand, s *Step) {
			s.For, s.N = between(rnd, time.Second, time.Minute), 10+rnd.IntN(5000)
		}, do: func(w *world, s Step) {
			w.disk.replies.set(func() { w.disk.replies.late = time.Duration(s.N) * time.Millisecond })
		}, undo: func(w *world, _ Step) { w.disk.replies.set(func() { w.disk.replies.late = 0 }) }},
		"store-frozen": {fits: modelStore, draw: lasting(time.Second, 3*time.Minute),
			do: func(w *world, _ Step) { w.disk.replies.freeze() }, undo: func(w *world, _ Step) { w.disk.replies.thaw() }},
		"write-fails": {fits: ownStore, draw: counted(3), do: func(w *world, s Step) { w.disk.fail(memdisk.WriteAt, s.N) }},
		"sync-fails":  {fits: ownStore, draw: counted(3), do: func(w *world, s Step) { w.disk.fail(memdisk.Sync, s.N) }},
		"read-fails":  {fits: ownStore, draw: counted(3), do: func(w *world, s Step) { w.disk.fail(memdisk.ReadAt, s.N) }},

		"reconnect": {fits: always, do: func(w *world, _ Step) { w.reconnect() }},
		// Another filter that wants the same. After a change of the filter no event proves a replay by
		// time.
		"reload": {fits: always, draw: counted(1 << 20), do: func(w *world, s Step) { w.useFilter(s.N%2 == 0) }},
		// Wishes that come faster than they can be met: changes of the filter; by the number also with
		// pauses and reconnects between them, and while the store takes nothing.
		"wishes": {fits: always, draw: counted(60), do: func(w *world, s Step) {
			pauses, frozen := s.N%2 == 0, s.N%4 > 1 && !w.Valkey
			if frozen {
				w.disk.replies.freeze()
			}
			for i := range s.N {
				if pauses {
					w.command([]messages.Command{messages.CommandPause, messages.CommandResume}[i%2])
				}
				w.useFilter(i%2 == 0)
				if pauses {
					w.reconnect()
				}
				w.wait(50 * time.Millisecond)
			}
			if frozen {
				w.disk.replies.thaw()
			}
			w.command(messages.CommandResume)
		}},
		"pause": {fits: always, draw: lasting(0, 2*time.Minute),
			do:   func(w *world, _ Step) { w.command(messages.CommandPause) },
			undo: func(w *world, _ Step) { w.command(messages.CommandResume) }},
	}
	maps.Copy(faults, readerFaults())
	maps.Copy(faults, valkeyFaults())
	maps.Copy(faults, diskFaults())
}

// tolerated is how far in the future an event may be where nothing tells the host's clock.
const tolerated = 5 * time.Minute

// setQuiet says whether nobody posts, and returns what it was before.
func (w *world) setQuiet(quiet bool) (before bool) {
	w.production.Lock()
	defer w.production.Unlock()
	before, w.production.quiet = w.production.quiet, quiet
	return before
}

// useFilter changes the filter to one that wants the same as before: everything by name, or no
// collection.
func (w *world) useFilter(byName bool) {
	w.feed.Collections = nil
	if byName {
		w.feed.Collections = everything
	}
	for _, run := range w.running() {
		if err := run.daemon.UpdateFilter(context.Background(), w.feed); err != nil {
			w.log.add("reload: %v", err)
		}
	}
}

func (w *world) reconnect() {
	for _, run := range w.running() {
		_ = run.daemon.Reconnect(context.Background(), feedName) // refused while it makes no sense
	}
}

func (w *world) command(c messages.Command) {
	for _, run := range w.running() {
		order := run.daemon.Pause
		if c == messages.CommandResume {
			order = run.daemon.Resume
		}
		if err := order(context.Background(), feedName); err != nil && !errors.Is(err, messages.ErrNotNow) {
			w.log.add("%s: %v", c, err)
		}
	}
}

// action is what the driver does at a time: it begins or ends a fault.
type action struct {
	at   time.Duration
	step Step
	end  bool
}

// actions are all that a schedule does, in order.
func (s Schedule) actions() (all []action) {
	for _, step := range s.Steps {
		all = append(all, action{at: step.At, step: step})
		if faults[step.Kind].undo != nil {
			all = append(all, action{at: step.At + step.For, step: step, end: true})
		}
	}
	slices.SortStableFunc(all, func(a, b action) int { return int(a.at - b.at) })
	return all
}

// act does one action.
func (w *world) act(a action) {
	if a.end {
		w.log.add("-- end of %s", a.step)
		faults[a.step.Kind].undo(w, a.step)
		return
	}
	w.log.add("-- %s", a.step)
	w.stats.Faults[a.step.Kind]++
	faults[a.step.Kind].do(w, a.step)
}

// heal ends every fault that is left.
func (w *world) heal() {
	w.log.add("-- everything is healed")
	for i := range w.Servers {
		w.net.bringBack(host(i))
	}
	w.setQuiet(false)
	w.wall.set(0)
	w.panics.arm("", 0)
	w.disk.heal()
	w.healValkey()
	for _, n := range w.nodes {
		w.thaw(n)
		w.setCut(n, false)
		w.revive(n)
	}
	w.command(messages.CommandResume)
	w.gate.open()
	w.healed.Store(true)
}

// everything is a filter that wants every commit of the simulated network.
var everything = []string{"app.bsky.feed.like", "app.bsky.feed.repost", "app.bsky.feed.post", "app.bsky.graph.follow", "app.bsky.graph.block",
	"app.bsky.graph.listitem", "app.bsky.actor.profile", "app.bsky.actor.status", "fm.teal.alpha.actor.status", "place.stream.broadcast.origin",
	"com.example.variety"}
