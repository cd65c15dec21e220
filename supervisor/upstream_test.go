package supervisor_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"tempestd/actors"
	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// upstream is a Jetstream server in memory. It keeps its published events and replays them by
// cursor.
type upstream struct {
	mu      sync.Mutex
	events  []upstreamEvent
	made    int // events published ever
	changed chan struct{}
	dials   []dialed
	refuse  func(n int) error // the result of the n-th dial (from 1); nil accepts
	conns   []*upstreamConn

	deafToCursors bool // every connection begins at the live tip
	// legacy sends no sequence numbers, and leaves out events that are published while a replay
	// changes to live.
	legacy      bool
	tells       bool          // a connection is told that the upstream does not go back as far as it asked
	fixedFilter bool          // filters cannot be changed on an open connection
	localFilter bool          // only commits are handed on; all else is read and left out
	undated     bool          // handshakes have no Date
	pace        time.Duration // the time of a legacy server for each event of a replay
	// oversized makes each event oversized whose number is a multiple of it; 0 for none.
	oversized int
	// cutAfter cuts a connection after that many events, within the next one; 0 for never.
	cutAfter int
	offset   time.Duration            // how far the clock of every host is off from now on
	skew     map[string]time.Duration // how far a host's clock is off
}

// handover is how long a legacy server's change from replay to live takes.
const handover = 80 * time.Millisecond

// as is the event as a host sends it.
func (u *upstream) as(host string, e upstreamEvent) upstreamEvent {
	if u.legacy {
		e.json = bytes.Replace(e.json, fmt.Appendf(nil, `"cursor":%d,`, e.seq), nil, 1)
		e.seq = 0
	}
	if skew := u.skew[host]; skew != 0 {
		us := e.timeUS + skew.Microseconds()
		e.json = bytes.Replace(e.json, fmt.Appendf(nil, `"time_us":%d`, e.timeUS), fmt.Appendf(nil, `"time_us":%d`, us), 1)
		e.timeUS = us
	}
	return e
}

type upstreamEvent struct {
	json   []byte
	seq    int64
	timeUS int64
}

type dialed struct {
	at     time.Time
	host   string
	cursor jetstream.Cursor
}

// eventKind is the event's kind, as the event itself names it.
func eventKind(event []byte) []byte {
	_, after, _ := bytes.Cut(event, []byte(`"kind":"`))
	kind, _, _ := bytes.Cut(after, []byte(`"`))
	return kind
}

// set changes the upstream's behaviour while it is in use.
func (u *upstream) set(change func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change()
}

// firstIsAway refuses every dial of the first host.
func (u *upstream) firstIsAway(int) error {
	if u.dials[len(u.dials)-1].host == "127.0.0.1:6008" {
		return errLost
	}
	return nil
}

func newUpstream() *upstream { return &upstream{changed: make(chan struct{})} }

// publish adds n events of the present time.
func (u *upstream) publish(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := time.Now().Add(u.offset)
	for range n {
		u.made++
		// A legacy server gives no two events the same time, except after its clock is set back.
		if u.legacy && len(u.events) > 0 {
			if last := time.UnixMicro(u.events[len(u.events)-1].timeUS); !at.After(last) && last.Sub(at) < time.Second {
				at = last.Add(time.Microsecond)
			}
		}
		u.events = append(u.events, eventAt(u.made, int64(len(u.events)+1), at))
	}
	close(u.changed)
	u.changed = make(chan struct{})
}

// newUpstreamEvent is event number n, of the present time, with a sequence number.
func newUpstreamEvent(n int, seq int64) upstreamEvent {
	return eventAt(n, seq, time.Now())
}

// eventAt is event number n as a server stamps it whose clock shows at.
func eventAt(n int, seq int64, at time.Time) upstreamEvent {
	us := at.UnixMicro()
	return upstreamEvent{seq: seq, timeUS: us, json: fmt.Appendf(nil,
		`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"app.bsky.feed.post","rkey":"k%d"}}`,
		us, seq, n, n)}
}

// publishIdentity adds an identity event. Identity events pass every filter of collections.
func (u *upstream) publishIdentity() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.made++
	us, seq := time.Now().UnixMicro(), int64(len(u.events)+1)
	u.events = append(u.events, upstreamEvent{seq: seq, timeUS: us, json: fmt.Appendf(nil,
		`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"identity","identity":{"did":"did:plc:a","seq":%d,"time":"2026-08-01T12:00:00Z"}}`, us, seq, u.made)})
	close(u.changed)
	u.changed = make(chan struct{})
}

// renumber imitates a server that lost its data and read its own upstream again: only the newest
// events are there, with new times and with sequence numbers from 1 on.
func (u *upstream) renumber(keep int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.events = nil
	for n := u.made - keep + 1; n <= u.made; n++ {
		u.events = append(u.events, newUpstreamEvent(n, int64(len(u.events)+1)))
	}
}

// every publishes an event each interval until ctx ends.
func (u *upstream) every(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			u.publish(1)
		}
	}
}

func (u *upstream) dial(_ context.Context, req jetstream.Request) (actors.Upstream, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dials = append(u.dials, dialed{time.Now(), req.Endpoint.Host(), req.Cursor})
	if u.refuse != nil {
		if err := u.refuse(len(u.dials)); err != nil {
			return nil, err
		}
	}
	host := req.Endpoint.Host()
	c := &upstreamConn{up: u, host: host, filter: req.Filter, next: len(u.events), fault: make(chan error, 1), done: make(chan struct{})}
	if u.legacy && !req.Cursor.IsLive() {
		c.hole = time.Now().Add(u.offset + handover)
		c.whole = len(u.events)
	}
	if !u.deafToCursors {
		_, seq, bySeq := req.Cursor.Sequence()
		us, byTime := req.Cursor.TimeUS()
		c.outdated = u.tells && byTime && len(u.events) > 0 && u.events[0].timeUS > us
		for i, e := range u.events {
			if bySeq && !u.legacy && e.seq >= seq || byTime && e.timeUS+u.skew[host].Microseconds() >= us {
				c.next = i
				break
			}
		}
	}
	u.conns = append(u.conns, c)
	return c, nil
}

// last is the newest connection.
func (u *upstream) last() *upstreamConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conns[len(u.conns)-1]
}

func (u *upstream) dialCount() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.dials)
}

// upstreamConn is one subscription.
type upstreamConn struct {
	up   *upstream
	host string
	next int
	// A legacy server leaves out the events from index whole on that are published before hole.
	whole  int
	hole   time.Time
	fault  chan error
	done   chan struct{}
	closed sync.Once
	sent   int // events sent
	// outdated: it was asked for a time before its oldest event.
	outdated bool

	mu       sync.Mutex
	activity jetstream.Activity
	deaf     bool // pings are not answered
	stall    bool // nothing is delivered
	blind    bool // commits are left out
	filter   jetstream.Filter
}

func (c *upstreamConn) Run(b *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (*messages.Batch, error) {
	begun := false
	for {
		c.up.mu.Lock()
		events, changed := c.up.events[c.next:], c.up.changed
		c.up.mu.Unlock()
		for _, e := range events[:min(len(events), lim.Events-len(b.Events))] {
			if c.paused() {
				break
			}
			if c.hides(e) || c.next >= c.whole && time.UnixMicro(e.timeUS).Before(c.hole) {
				c.next++
				continue
			}
			c.up.mu.Lock()
			cut := c.up.cutAfter > 0 && c.sent >= c.up.cutAfter
			c.up.mu.Unlock()
			if c.next < c.whole {
				time.Sleep(c.up.pace)
			}
			if cut {
				return b, &jetstream.EndError{Ending: jetstream.Ending{Cause: jetstream.CauseMidFrame, Reason: "the stream ended within a message"}}
			}
			c.sent++
			e = c.up.as(c.host, e)
			scanned := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(e.json))}
			if err := jetstream.Scan(e.json, &scanned); err != nil {
				panic(err)
			}
			if !begun {
				if begun = true; c.outdated {
					sink.Info(atproto.OutdatedCursor, "")
				}
				sink.First(scanned)
			}
			if n := c.up.oversized; n > 0 && scanned.Seq%int64(n) == 0 {
				b.Oversized = append(b.Oversized, messages.OversizedEvent{After: len(b.Events), Size: 2 << 20, TimeUS: scanned.TimeUS, Seq: scanned.Seq, Kind: scanned.Kind, Fingerprint: scanned.Fingerprint})
				b.Frames++
				b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
				c.next++
				c.note(func(a *jetstream.Activity) {
					a.Frames++
					a.LastFrame = time.Now()
					a.NewestUS, a.LatestUS = max(a.NewestUS, e.timeUS), e.timeUS
				})
				continue
			}
			if c.up.localFilter && scanned.Kind != messages.KindCommit {
				b.Frames++
				b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
				c.next++
				c.note(func(a *jetstream.Activity) {
					a.Frames++
					a.LastFrame = time.Now()
					a.NewestUS, a.LatestUS = max(a.NewestUS, e.timeUS), e.timeUS
				})
				continue
			}
			b.Buf = append(b.Buf, e.json...)
			b.Events = append(b.Events, scanned)
			b.Frames++
			b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
			c.next++
			c.note(func(a *jetstream.Activity) {
				a.Frames++
				a.LastFrame = time.Now()
				a.NewestUS, a.LatestUS = max(a.NewestUS, e.timeUS), e.timeUS
			})
		}
		if len(b.Events) >= lim.Events {
			c.note(func(a *jetstream.Activity) { a.Blocked, a.BlockedSince = true, time.Now() })
			if b = sink.Hand(b); b == nil {
				return nil, jetstream.ErrStopped
			}
			c.note(func(a *jetstream.Activity) { a.Blocked = false })
			continue
		}
		var linger <-chan time.Time
		if b.Frames > 0 {
			if next, ok := sink.TryHand(b); ok {
				b = next
			} else {
				linger = time.After(lim.Delay)
			}
		}
		select {
		case <-changed:
		case <-linger:
		case err := <-c.fault:
			return b, err
		case <-c.done:
			return b, jetstream.ErrClosed
		}
	}
}

func (c *upstreamConn) hides(e upstreamEvent) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blind && bytes.Contains(e.json, []byte(`"kind":"commit"`))
}

// pause makes the connection deliver nothing until it is undone.
func (c *upstreamConn) pause(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stall = on
}

func (c *upstreamConn) paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stall
}

func (c *upstreamConn) note(f func(*jetstream.Activity)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.activity)
}

func (c *upstreamConn) Activity() jetstream.Activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activity
}

// ServerDate is the time on the host's clock, to the second.
func (c *upstreamConn) ServerDate() (time.Time, bool) {
	c.up.mu.Lock()
	defer c.up.mu.Unlock()
	return time.Now().Add(c.up.skew[c.host] + c.up.offset).Truncate(time.Second), !c.up.undated
}

func (c *upstreamConn) Wire() jetstream.Wire { return jetstream.Wire{Protocol: jetstream.ProtocolV1} }

func (c *upstreamConn) UpdateFilter(_ context.Context, f jetstream.Filter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up.fixedFilter {
		return jetstream.ErrNeedsReconnect
	}
	c.filter = f
	return nil
}

func (c *upstreamConn) Ping(ctx context.Context) error {
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if !deaf {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c *upstreamConn) set(stall, deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stall, c.deaf = stall, deaf
}

func (c *upstreamConn) Close(int, string) error { c.CloseNow(); return nil }
func (c *upstreamConn) CloseNow()               { c.closed.Do(func() { close(c.done) }) }
