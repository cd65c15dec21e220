package oracle

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"tempestd/internal/valkeysim"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// Worlds whose shared store is that of package valkey, on a model of a server. Each daemon has its
// own store, and its own connections to the server. The readers without HTTP and the judge have a
// store of their own.

const (
	valkeyHost    = "127.0.0.1:6379"
	valkeyLatency = 500 * time.Microsecond // one way
	valkeyStream  = valkey.DefaultPrefix + "{" + feedName + "}"
)

// startValkey starts the server.
func (w *world) startValkey() error {
	w.sim = valkeysim.New()
	w.sim.OnAdd(func(key string, id messages.EntryID, fields []any) {
		if key == valkeyStream {
			w.ledger.add(persistence.Entry{ID: id, Event: []byte(fields[1].(string))})
		}
	})
	listener := w.net.listen(valkeyHost)
	go func() { _ = w.sim.Serve(listener) }() // until the listener ends
	store, err := w.valkeyStore("the judge", func() bool { return true })
	if err != nil {
		return err
	}
	shown := persistence.Store(store)
	w.shown.Store(&shown)
	return nil
}

// valkeyStore opens a store whose connections are somebody's.
func (w *world) valkeyStore(from any, alive func() bool) (*valkey.Store, error) {
	return valkey.Open(context.Background(), valkey.Options{
		Addresses: []string{valkeyHost}, Mode: valkey.ModeStandalone, Clock: w.wall,
		Dial: func(ctx context.Context, _, host string) (net.Conn, error) {
			if !alive() {
				return nil, errDead
			}
			return w.net.connect(ctx, from, host, valkeyLatency, 4<<20)
		},
		OnNotice: func(n persistence.Notice) {
			if alive() {
				w.log.add("    notice %T %+v", n, n)
			}
		},
	})
}

// endValkey ends the server.
func (w *world) endValkey() {
	if w.sim == nil {
		return
	}
	if shown := w.shown.Load(); shown != nil {
		_ = (*shown).Close()
	}
	w.net.close(valkeyHost)
	w.sim.Close()
}

func onValkey(s *Setup) bool { return s.Valkey }

// denied are commands that the user may lose the right to run.
var denied = []string{"XADD", "XTRIM", "XRANGE", "HSET", "HMGET", "SET", "XREAD"}

// valkeyFaults are the faults of the server.
func valkeyFaults() map[Kind]fault {
	next := func(change func(*valkeysim.Faults, int)) fault {
		return fault{fits: onValkey, draw: counted(3), do: func(w *world, s Step) {
			w.sim.Inject(func(f *valkeysim.Faults) { change(f, s.N) })
		}}
	}
	during := func(draw func(*rand.Rand, *Step), change func(f *valkeysim.Faults, s Step, on bool)) fault {
		return fault{fits: onValkey, draw: draw,
			do:   func(w *world, s Step) { w.sim.Inject(func(f *valkeysim.Faults) { change(f, s, true) }) },
			undo: func(w *world, s Step) { w.sim.Inject(func(f *valkeysim.Faults) { change(f, s, false) }) }}
	}
	return map[Kind]fault{
		"valkey-swallow":    next(func(f *valkeysim.Faults, n int) { f.Swallow += n }),
		"valkey-unanswered": next(func(f *valkeysim.Faults, n int) { f.Unanswered += n }),
		"valkey-unheard":    next(func(f *valkeysim.Faults, n int) { f.Unheard += n }),
		"valkey-late": during(func(rnd *rand.Rand, s *Step) {
			s.For, s.N = between(rnd, time.Second, time.Minute), 10+rnd.IntN(8000)
		}, func(f *valkeysim.Faults, s Step, on bool) {
			f.Late = 0
			if on {
				f.Late = time.Duration(s.N) * time.Millisecond
			}
		}),
		"valkey-full":    during(lasting(time.Second, time.Minute), func(f *valkeysim.Faults, _ Step, on bool) { f.Full = on }),
		"valkey-replica": during(lasting(time.Second, time.Minute), func(f *valkeysim.Faults, _ Step, on bool) { f.Replica = on }),
		"valkey-denied": during(func(rnd *rand.Rand, s *Step) {
			s.For, s.Point = between(rnd, time.Second, time.Minute), denied[rnd.IntN(len(denied))]
		}, func(f *valkeysim.Faults, s Step, on bool) {
			f.Denied = nil
			if on {
				f.Denied = []string{s.Point}
			}
		}),
		"valkey-frozen": {fits: onValkey, draw: lasting(time.Second, 2*time.Minute),
			do: func(w *world, _ Step) { w.sim.Freeze() }, undo: func(w *world, _ Step) { w.sim.Thaw() }},
		"valkey-hang":    {fits: onValkey, do: func(w *world, _ Step) { w.sim.Hang() }},
		"valkey-scripts": {fits: onValkey, do: func(w *world, _ Step) { w.sim.FlushScripts() }},
		// The server ends, and reads its file when it starts again. The file has everything.
		"valkey-restart": {fits: onValkey, draw: lasting(0, time.Minute),
			do: func(w *world, _ Step) {
				w.sim.Inject(func(f *valkeysim.Faults) { f.Down = true })
				w.sim.Restore(w.sim.Image())
			}, undo: func(w *world, _ Step) { w.sim.Inject(func(f *valkeysim.Faults) { f.Down = false }) }},
		// A replica gets nothing for a while, and then takes over.
		"valkey-failover": {fits: onValkey, draw: lasting(100*time.Millisecond, 20*time.Second),
			do:   func(w *world, s Step) { w.images[s] = w.sim.Image() },
			undo: func(w *world, s Step) { w.failOver(w.images[s]) }},
	}
}

// failOver makes the server go back to older data.
func (w *world) failOver(to valkeysim.Image) {
	if to != nil { // else everything was healed before
		w.stats.Failovers++
		w.ledger.back(w.sim.Restore(to).Newest(valkeyStream))
	}
}

// healValkey ends the faults of the server.
func (w *world) healValkey() {
	if w.sim != nil {
		w.sim.Inject(func(f *valkeysim.Faults) { *f = valkeysim.Faults{} })
		w.sim.Thaw()
		clear(w.images)
	}
}
