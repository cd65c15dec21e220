package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/supervisor"
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
		c.hole = time.Now().Add(handover)
		c.whole = len(u.events)
	}
	if !u.deafToCursors {
		_, seq, bySeq := req.Cursor.Sequence()
		us, byTime := req.Cursor.TimeUS()
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
		c.mu.Lock()
		if c.stall {
			events = nil
		}
		c.mu.Unlock()
		for _, e := range events[:min(len(events), lim.Events-len(b.Events))] {
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
				begun = true
				sink.First(scanned)
			}
			if n := c.up.oversized; n > 0 && scanned.Seq%int64(n) == 0 {
				b.Oversized = append(b.Oversized, messages.OversizedEvent{After: len(b.Events), Size: 2 << 20, TimeUS: scanned.TimeUS, Seq: scanned.Seq, Kind: scanned.Kind, Fingerprint: scanned.Fingerprint})
				b.Frames++
				b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
				c.next++
				c.note(func(a *jetstream.Activity) { a.Frames++; a.LastFrame = time.Now(); a.NewestUS = e.timeUS })
				continue
			}
			if c.up.localFilter && scanned.Kind != messages.KindCommit {
				b.Frames++
				b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
				c.next++
				c.note(func(a *jetstream.Activity) { a.Frames++; a.LastFrame = time.Now(); a.NewestUS = e.timeUS })
				continue
			}
			b.Buf = append(b.Buf, e.json...)
			b.Events = append(b.Events, scanned)
			b.Frames++
			b.Seq, b.TimeUS = scanned.Seq, scanned.TimeUS
			c.next++
			c.note(func(a *jetstream.Activity) { a.Frames++; a.LastFrame = time.Now(); a.NewestUS = e.timeUS })
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

// store is a store of one stream in memory. It fails when a test tells it to.
type store struct {
	persistence.Store // nil: the tests use none of its other methods
	mu                sync.Mutex
	blocks            []block
	cp                *messages.Checkpoint
	saved             *messages.Checkpoint
	last              messages.EntryID
	entries           int
	fail              func() error     // called before each append
	pace              time.Duration    // the time that an append takes
	frozen            chan struct{}    // appends wait until it is closed; nil lets them through
	refusing          map[string]error // the answers to calls, by name
	closedAt          *time.Time
	closedReason      string
	lost              *persistence.Truncation // until the next append
	slow              chan struct{}           // the next Checkpoint returns when it is closed
}

type block struct {
	appended persistence.Appended
	events   [][]byte
	prints   []uint64
}

func (s *store) OpenStream(context.Context, string, persistence.StreamOptions) (persistence.Stream, error) {
	return memStream{s: s}, nil
}
func (s *store) Stream(context.Context, string) (persistence.Stream, error) {
	return memStream{s: s}, nil
}
func (s *store) Health() error { return nil }

func (s *store) SaveCheckpoint(_ context.Context, _ string, cp messages.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusing["SaveCheckpoint"]; err != nil {
		return err
	}
	s.saved = &cp
	return nil
}

func (s *store) LoadCheckpoint(context.Context, string) (messages.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusing["LoadCheckpoint"]; err != nil {
		return messages.Checkpoint{}, err
	}
	if s.saved == nil {
		return messages.Checkpoint{}, persistence.ErrNoCheckpoint
	}
	return *s.saved, nil
}

// all returns every stored event, in order.
func (s *store) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all [][]byte
	for _, b := range s.blocks {
		all = append(all, b.events...)
	}
	return all
}

// set changes the store's behaviour while it is in use.
func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// refuse makes every call of a name fail with err; nil lets the calls through again.
func (s *store) refuse(call string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing == nil {
		s.refusing = map[string]error{}
	}
	s.refusing[call] = err
}

// freeze makes appends wait until thaw is called.
func (s *store) freeze() (thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frozen := make(chan struct{})
	s.frozen = frozen
	return func() { close(frozen) }
}

// loseAll removes everything, as when a store's files are gone. known says whether the store still
// knows its oldest entry.
func (s *store) loseAll(known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = &persistence.Truncation{Stream: feedName, Expected: s.last}
	if known {
		s.lost.Oldest = s.blocks[0].appended.First
	}
	s.blocks, s.cp, s.saved, s.entries, s.last = nil, nil, nil, 0, messages.EntryID{}
}

// lose removes block i, as damage does.
func (s *store) lose(i int) persistence.Appended {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blocks[i]
	s.blocks = append(s.blocks[:i:i], s.blocks[i+1:]...)
	return b.appended
}

func (s *store) failWith(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

type memStream struct {
	persistence.Stream
	s *store
}

func (m memStream) Name() string { return feedName }

func (m memStream) Append(ctx context.Context, b *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	s := m.s
	s.mu.Lock()
	frozen, pace := s.frozen, s.pace
	s.mu.Unlock()
	time.Sleep(pace)
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return persistence.Appended{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return persistence.Appended{}, err
		}
	}
	if err := s.refusing["Append of events"]; err != nil && len(b.Events) > 0 {
		return persistence.Appended{}, err
	}
	if err := s.refusing["Append"]; err != nil {
		return persistence.Appended{}, err
	}
	if s.closedAt != nil {
		return persistence.Appended{}, persistence.ErrStreamClosed
	}
	var blk block
	for i, e := range b.Events {
		if e.Drop {
			continue
		}
		s.last = messages.DeriveID(e.TimeUS, s.last)
		if len(blk.events) == 0 {
			blk.appended.First = s.last
		}
		blk.appended.Last = s.last
		blk.events = append(blk.events, bytes.Clone(b.Bytes(i)))
		blk.prints = append(blk.prints, e.Fingerprint)
	}
	blk.appended.Entries = len(blk.events)
	if len(blk.events) > 0 {
		s.blocks = append(s.blocks, blk)
		s.entries += len(blk.events)
	}
	cp.LastID = s.last
	s.cp, s.lost = &cp, nil
	// An append that is stored may still answer with an error.
	return blk.appended, s.refusing["Appended"]
}

func (m memStream) Checkpoint(context.Context) (messages.Checkpoint, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.refusing["Checkpoint"]; err != nil {
		return messages.Checkpoint{}, err
	}
	if m.s.cp == nil {
		return messages.Checkpoint{}, persistence.ErrNoCheckpoint
	}
	cp := *m.s.cp
	if slow := m.s.slow; slow != nil {
		m.s.slow = nil
		m.s.mu.Unlock()
		<-slow
		m.s.mu.Lock()
	}
	return cp, nil
}

func (m memStream) Info(context.Context) (persistence.StreamInfo, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.refusing["Info"]; err != nil {
		return persistence.StreamInfo{}, err
	}
	info := persistence.StreamInfo{Name: feedName, Entries: int64(m.s.entries), ClosedAt: m.s.closedAt, ClosedReason: m.s.closedReason, Lost: m.s.lost}
	if len(m.s.blocks) > 0 {
		oldest, newest := m.s.blocks[0].appended.First, m.s.last
		info.Oldest, info.Newest = &oldest, &newest
	}
	return info, nil
}

func (m memStream) Close(_ context.Context, reason string) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.closedAt == nil {
		now := time.Now()
		m.s.closedAt, m.s.closedReason = &now, reason
	}
	return nil
}

func (m memStream) Fingerprints(_ context.Context, h persistence.Horizon, yield func(persistence.FingerprintBlock) bool) error {
	m.s.mu.Lock()
	blocks, err := m.s.blocks, m.s.refusing["Fingerprints"]
	m.s.mu.Unlock()
	if err != nil {
		return err
	}
	for i, n := len(blocks)-1, 0; i >= 0 && (h.Entries == 0 || n < h.Entries); i-- {
		b := blocks[i]
		n += len(b.prints)
		if !yield(persistence.FingerprintBlock{First: b.appended.First, Last: b.appended.Last, Fingerprints: b.prints}) {
			return nil
		}
	}
	return nil
}

func (m memStream) Entry(_ context.Context, last messages.EntryID, i int) ([]byte, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	n, found := slices.BinarySearchFunc(m.s.blocks, last, func(b block, id messages.EntryID) int { return b.appended.Last.Compare(id) })
	if !found {
		return nil, persistence.ErrNotFound
	}
	return m.s.blocks[n].events[i], nil
}

// rig is a daemon of one feed between an upstream and a store in memory, in virtual time.
type rig struct {
	t      *testing.T
	up     *upstream
	store  *store
	obs    *observe.Observer
	log    *logBuffer
	cfg    *config.Config
	daemon *supervisor.Daemon
	clock  clockwork.Clock      // nil: the real clock, which is virtual here
	mono   func() time.Duration // nil: clock
	leases *leaseStore          // the shared store of several daemons, nil for none
	node   messages.Node        // this daemon, among those
	dial   actors.Dialer        // nil: the upstream's
	fault  actors.Fault
}

const feedName = "bluesky"

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// week is a simulated week, or a day with the race detector, which would make a week long.
func week() time.Duration {
	if raceEnabled {
		return 24 * time.Hour
	}
	return 7 * 24 * time.Hour
}

// newRig starts a daemon. Call it within a synctest bubble. The daemon is stopped at the end of the
// test unless the test stopped it.
func newRig(t *testing.T, change func(*rig)) *rig {
	// A bubble's time begins in the year 2000, when a time cursor would be taken for a sequence
	// number.
	time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
	r := &rig{t: t, up: newUpstream(), store: &store{}, log: &logBuffer{}}
	r.obs = observe.New(slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})), observe.NewMetrics())
	r.cfg = &config.Config{Feeds: []config.Feed{{
		Name: feedName, Endpoints: []string{"ws://127.0.0.1:6008/subscribe"},
		Protocol: "auto", Compress: "auto", Backoff: schedule, ReplayWindow: 12 * time.Hour, Rewind: 10 * time.Second, Dedupe: "overlap",
		DedupeHorizon:      config.DedupeHorizon{Entries: 1_000_000, Age: 48 * time.Hour},
		CheckpointInterval: 5 * time.Second, PingInterval: 15 * time.Second, MaxMessageSize: 1 << 20,
		BatchEvents: 256, BatchBytes: 1 << 20, BatchDelay: 25 * time.Millisecond,
	}}}
	if change != nil {
		change(r)
	}
	r.start()
	t.Cleanup(func() {
		r.stop()
		// The actor library's throttle of dead letters ends a second after the first of them.
		time.Sleep(2 * time.Second)
	})
	return r
}

func (r *rig) start() {
	var streams persistence.Store = r.store
	if r.leases != nil {
		streams = r.leases
	}
	dial := r.up.dial
	if r.dial != nil {
		dial = r.dial
	}
	clock := r.clock
	if clock == nil {
		clock = clockwork.NewRealClock()
	}
	d, err := supervisor.Start(r.t.Context(), supervisor.Options{
		Config: r.cfg, Store: streams, Node: r.node, Observer: r.obs, Clock: clock, Monotonic: r.mono,
		Rand: rand.New(rand.NewPCG(1, 2)), Dial: dial, Fault: r.fault,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.daemon = d
	synctest.Wait()
}

func (r *rig) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := r.daemon.Stop(ctx, "test")
	synctest.Wait()
	return err
}

// after lets virtual time pass, and waits until all goroutines are idle.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) status() messages.FeedStatus {
	s, err := r.daemon.Feed(context.Background(), feedName)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// events is how often a log event was emitted.
func (r *rig) events(e observe.Event) int {
	return int(testutil.ToFloat64(r.obs.Metrics().Events.WithLabelValues(string(e), feedName)))
}

// wantExactlyPublished fails unless the stream holds the published events from index first on (from
// 0), in order and once. Gap entries do not count.
func (r *rig) wantExactlyPublished(first int) {
	r.t.Helper()
	var want []upstreamEvent
	r.up.set(func() { want = r.up.events[first:] })
	var got [][]byte
	for _, e := range r.store.all() {
		if !bytes.Contains(e, []byte(`"kind":"gap"`)) {
			got = append(got, e)
		}
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i].json) {
			r.t.Fatalf("entry %d is %s, want %s", i, got[i], want[i].json)
		}
	}
	if len(got) != len(want) {
		r.t.Fatalf("%d entries, want %d", len(got), len(want))
	}
}

var errLost = errors.New("connection reset by peer")
