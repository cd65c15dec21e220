package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"tempestd/actors"
	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// stamped is one content with the number and the time of one host.
type stamped struct {
	content int
	seq     int64
	timeUS  int64
}

// host is one upstream with a random clock. It takes the contents of the network in an order of its
// own, stamps them by its own clock, and never drops any.
type host struct {
	net    *network
	name   string
	rnd    *rand.Rand
	legacy bool // no sequence numbers, and no two equal times
	reuses bool // a crash makes it give numbers again
	dated  bool // handshakes have a Date

	ahead   time.Duration // how far its clock is ahead, besides the drift
	drift   float64
	up      bool
	log     []stamped
	next    int // the next content that it takes
	nextSeq int64
	conns   map[*hostConn]bool
}

// network is the ground truth: the contents, numbered from 0, and the hosts that take them.
type network struct {
	mu      sync.Mutex
	began   time.Time
	wall    *wallClock // ours
	made    int
	changed chan struct{}
	hosts   map[string]*host
	dials   []time.Time
}

var errDown = errors.New("connection refused")

// now is the time on the host's clock.
func (h *host) now() time.Time {
	since := time.Since(h.net.began)
	return time.Now().Add(h.ahead + time.Duration(float64(since)*h.drift))
}

// take stamps the new contents of the network. The caller holds the network's lock.
func (h *host) take() {
	from := len(h.log)
	for ; h.next < h.net.made; h.next++ {
		h.log = append(h.log, stamped{content: h.next})
	}
	fresh := h.log[from:]
	h.shuffle(fresh)
	for i := range fresh {
		h.stamp(&fresh[i], from+i)
	}
}

// shuffle swaps some neighbours, which belong to different accounts.
func (h *host) shuffle(events []stamped) {
	for i := 1; i < len(events); i++ {
		if h.rnd.IntN(4) == 0 && events[i].content == events[i-1].content+1 {
			events[i], events[i-1] = events[i-1], events[i]
			i++
		}
	}
}

func (h *host) stamp(e *stamped, at int) {
	h.nextSeq++
	e.seq, e.timeUS = h.nextSeq, h.now().UnixMicro()
	if h.legacy && at > 0 {
		if last := h.log[at-1].timeUS; e.timeUS <= last && last-e.timeUS < 1_000_000 {
			e.timeUS = last + 1
		}
	}
}

// crash makes the host take its newest events again: in another order, with new times, and under
// the same numbers or new ones.
func (h *host) crash(n int) {
	n = min(n, len(h.log))
	again := slices.Clone(h.log[len(h.log)-n:])
	h.log = h.log[:len(h.log)-n]
	if h.reuses {
		h.nextSeq -= int64(n)
	} else {
		h.nextSeq += 4096
	}
	h.shuffle(again)
	for _, e := range again {
		h.log = append(h.log, e)
		h.stamp(&h.log[len(h.log)-1], len(h.log)-1)
	}
	h.cut()
}

// cut ends the host's connections.
func (h *host) cut() {
	for c := range h.conns {
		c.CloseNow()
	}
}

// frame is the event as the host sends it.
func (h *host) frame(e stamped) []byte {
	cursor := ""
	if !h.legacy {
		cursor = fmt.Sprintf(`"cursor":%d,`, e.seq)
	}
	return fmt.Appendf(nil, `{"did":"did:plc:%d","time_us":%d,%s"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"app.bsky.feed.post","rkey":"k%d"}}`,
		e.content%7, e.timeUS, cursor, e.content, e.content)
}

// contentOf is the number of the content in an event.
func contentOf(event []byte) int {
	_, after, _ := bytes.Cut(event, []byte(`"rkey":"k`))
	n, _, _ := bytes.Cut(after, []byte(`"`))
	content, err := strconv.Atoi(string(n))
	if err != nil {
		return -1
	}
	return content
}

func (n *network) produce(count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made += count
	n.wake()
}

// wake makes the hosts that are up take the new contents, and wakes their connections.
func (n *network) wake() {
	for _, h := range n.hosts {
		if h.up {
			h.take()
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) dial(_ context.Context, req jetstream.Request) (actors.Upstream, error) {
	return n.dialAt(req.Endpoint.Host(), req)
}

// dialAt connects to the host of that name, whichever name the request uses.
func (n *network) dialAt(name string, req jetstream.Request) (actors.Upstream, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, time.Now())
	h := n.hosts[name]
	if !h.up {
		return nil, errDown
	}
	c := &hostConn{host: h, done: make(chan struct{}), at: len(h.log), asked: req.Cursor}
	if us, ok := req.Cursor.TimeUS(); ok {
		c.from(func(e stamped) bool { return e.timeUS >= us })
	}
	if _, seq, ok := req.Cursor.Sequence(); ok {
		if h.legacy {
			return nil, jetstream.ErrLegacySeq
		}
		c.future = seq > h.nextSeq && !h.reuses
		c.from(func(e stamped) bool { return e.seq >= seq })
	}
	if h.dated {
		c.date = h.now().Truncate(time.Second)
	}
	h.conns[c] = true
	return c, nil
}

// hostConn is one subscription.
type hostConn struct {
	host   *host
	asked  jetstream.Cursor
	at     int
	future bool
	date   time.Time
	done   chan struct{}
	once   sync.Once

	mu       sync.Mutex
	activity jetstream.Activity
}

func (c *hostConn) from(is func(stamped) bool) {
	if i := slices.IndexFunc(c.host.log, is); i >= 0 {
		c.at = i
	}
}

func (c *hostConn) Run(b *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (*messages.Batch, error) {
	begun := false
	if c.future {
		sink.Info(atproto.FutureCursor, "")
	}
	for {
		c.host.net.mu.Lock()
		changed := c.host.net.changed
		var frames [][]byte
		for c.at < len(c.host.log) && len(b.Events)+len(frames) < lim.Events {
			frames = append(frames, c.host.frame(c.host.log[c.at]))
			c.at++
		}
		c.host.net.mu.Unlock()
		for _, frame := range frames {
			e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(frame))}
			if err := jetstream.Scan(frame, &e); err != nil {
				panic(err)
			}
			if !begun {
				begun = true
				sink.First(e)
			}
			b.Buf = append(b.Buf, frame...)
			b.Events = append(b.Events, e)
			b.Frames++
			b.Seq, b.TimeUS = e.Seq, e.TimeUS
			c.mu.Lock()
			c.activity.Frames++
			c.activity.LastFrame = c.host.net.wall.Now()
			c.activity.NewestUS, c.activity.LatestUS = max(c.activity.NewestUS, e.TimeUS), e.TimeUS
			c.mu.Unlock()
		}
		if len(b.Events) > 0 {
			if b = sink.Hand(b); b == nil {
				return nil, jetstream.ErrStopped
			}
		}
		if len(frames) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-c.done:
			return b, errLost
		}
	}
}

func (c *hostConn) Wire() jetstream.Wire {
	if c.host.legacy {
		return jetstream.Wire{Protocol: jetstream.ProtocolV1}
	}
	return jetstream.Wire{Protocol: jetstream.ProtocolV2}
}

func (c *hostConn) Activity() jetstream.Activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activity
}

func (c *hostConn) ServerDate() (time.Time, bool) { return c.date, !c.date.IsZero() }
func (c *hostConn) UpdateFilter(context.Context, jetstream.Filter) error {
	return jetstream.ErrNeedsReconnect
}
func (c *hostConn) Ping(context.Context) error { return nil }
func (c *hostConn) Close(int, string) error    { c.CloseNow(); return nil }
func (c *hostConn) CloseNow()                  { c.once.Do(func() { close(c.done) }) }
