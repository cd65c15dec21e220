package supervisor_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
)

// wallClock is our own wall clock, which the test sets. Timers do not depend on it.
type wallClock struct {
	clockwork.Clock
	mu    sync.Mutex
	ahead time.Duration
}

func (c *wallClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Round(0).Add(c.ahead)
}

func (c *wallClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *wallClock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// outcome is the result of a schedule.
type outcome struct{ events, outages, lost, doubled, reversed, before, gaps, dials int }

// schedules is how many schedules the test draws.
func schedules(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("TEMPESTD_TEST_SCHEDULES")); err == nil {
		return n
	}
	if raceEnabled || testing.Short() {
		return 4
	}
	return 60
}

// The hosts' clocks are wrong by up to an hour, drift and are set. Our own clock jumps. Hosts and
// connections fail meanwhile. No event that an upstream can still send is lost or doubled, there is
// no gap where nothing is missing, and dials are few.
func TestI2_WhateverTheClocksShow(t *testing.T) {
	first := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("TEMPESTD_TEST_SEED"), 10, 64); err == nil {
		first = n
	}
	var sum, worst outcome
	for seed := first; seed < first+uint64(schedules(t)); seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := drawnClocks(t, seed)
				sum.events += o.events
				sum.outages += o.outages
				sum.lost += o.lost
				sum.doubled += o.doubled
				sum.reversed += o.reversed
				sum.before += o.before
				sum.gaps += o.gaps
				worst.dials = max(worst.dials, o.dials)
				if o.lost+o.doubled+o.reversed+o.before+o.gaps > 0 || o.dials > 360 {
					t.Errorf("%+v", o)
				}
			})
		})
		if !ok && os.Getenv("TEMPESTD_TEST_SCHEDULES") == "" {
			break
		}
	}
	t.Logf("%d schedules: %d events, %d outages; lost %d, doubled %d, behind newer ones of their account %d, from before the feed %d, needless gaps %d; at most %d dials in an hour",
		schedules(t), sum.events, sum.outages, sum.lost, sum.doubled, sum.reversed, sum.before, sum.gaps, worst.dials)
}

// drawnClocks runs one schedule.
func drawnClocks(t *testing.T, seed uint64) (o outcome) {
	rnd := rand.New(rand.NewPCG(seed, 77))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rnd.Int64N(int64(most-least)+1))
	}
	wall := &wallClock{Clock: clockwork.NewRealClock()}
	var n *network
	r := newRig(t, func(r *rig) {
		began := time.Now()
		n = &network{began: began, wall: wall, changed: make(chan struct{}), hosts: make(map[string]*host)}
		r.clock, r.mono, r.dial = wall, func() time.Duration { return time.Since(began) }, n.dial
		feed := &r.cfg.Feeds[0]
		feed.Dedupe, feed.ReplayWindowAuto, feed.Endpoints = "always", rnd.IntN(2) == 0, nil
		for i := range 1 + rnd.IntN(2) {
			name := fmt.Sprintf("127.0.0.%d:6008", i+1)
			h := &host{net: n, name: name, rnd: rand.New(rand.NewPCG(seed, uint64(i))), up: true, conns: make(map[*hostConn]bool),
				legacy: rnd.IntN(3) == 0, reuses: rnd.IntN(2) == 0, dated: rnd.IntN(2) == 0,
				ahead: between(-time.Hour, time.Hour), drift: (rnd.Float64() - 0.5) / 500, nextSeq: int64(i) * 1_000_000}
			if rnd.IntN(3) == 0 {
				h.ahead = 0
			}
			n.hosts[name] = h
			feed.Endpoints = append(feed.Endpoints, endpoints("ws://"+name)...)
		}
		n.produce(rnd.IntN(50)) // contents from before the feed
	})
	r.after(time.Second)
	from := n.made
	pace := between(200*time.Millisecond, 40*time.Second)
	live := func(d time.Duration) { // the network goes on
		for end := time.Now().Add(d); time.Now().Before(end); {
			r.after(between(pace/2, pace*3/2))
			n.produce(1 + rnd.IntN(3))
		}
	}
	any := func() *host { return n.hosts[fmt.Sprintf("127.0.0.%d:6008", 1+rnd.IntN(len(n.hosts)))] }
	locked := func(do func()) {
		n.mu.Lock()
		defer n.mu.Unlock()
		do()
		n.wake()
	}
	live(between(0, 5*time.Minute))
	for range 4 + rnd.IntN(8) {
		r.after(time.Millisecond) // every step takes some time
		h, pick := any(), rnd.IntN(9)
		switch pick {
		case 0: // an outage of one host
			locked(func() { h.up = false; h.cut() })
			o.outages++
			live(between(time.Second, 20*time.Minute))
			locked(func() { h.up = true })
		case 1: // an outage of all hosts
			locked(func() {
				for _, h := range n.hosts {
					h.up = false
					h.cut()
				}
			})
			o.outages++
			live(between(time.Second, time.Hour))
			locked(func() {
				for _, h := range n.hosts {
					h.up = true
				}
			})
		case 2:
			locked(func() { h.crash(1 + rnd.IntN(200)) })
		case 3: // the host's clock is set
			locked(func() { h.ahead = between(-time.Hour, time.Hour) })
		case 4: // the same while no connection is open
			locked(func() { h.ahead += between(-20*time.Minute, 20*time.Minute); h.cut() })
		case 5: // our clock is set
			wall.set(between(-20*time.Hour, 20*time.Hour))
			if rnd.IntN(2) == 0 {
				live(between(0, 2*time.Minute))
				wall.set(0)
			}
		case 6:
			locked(h.cut)
		case 7:
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			live(between(0, 30*time.Minute))
			r.start()
		case 8: // no events come for a while
			r.after(between(time.Minute, 2*time.Hour))
			locked(h.cut)
		}
		live(between(0, 10*time.Minute))
	}
	wall.set(0)
	live(2 * time.Minute)
	r.after(30 * time.Minute)
	n.produce(3)
	r.after(20 * time.Minute)

	seen, newest := make(map[int]int), make(map[int]int)
	for _, e := range r.store.all() {
		if string(eventKind(e)) == "gap" {
			o.gaps++
			continue
		}
		content := contentOf(e)
		seen[content]++
		if content < from {
			o.before++
		}
		if account := content % 7; content < newest[account] {
			o.reversed++
		} else {
			newest[account] = content
		}
	}
	var missing []int
	for content := from; content < n.made; content++ {
		switch seen[content] {
		case 0:
			o.lost++
			missing = append(missing, content)
		case 1:
		default:
			o.doubled++
		}
	}
	if o.lost > 0 {
		t.Logf("missing: %v of %d to %d", missing[:min(len(missing), 20)], from, n.made)
	}
	o.events = n.made - from
	for i := range n.dials {
		for j := i; j < len(n.dials) && n.dials[j].Sub(n.dials[i]) < time.Hour; j++ {
			o.dials = max(o.dials, j-i+1)
		}
	}
	return o
}
