package supervisor

import (
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// continuity is what a life knows about how each of its connections continues the one before. It
// reads no clock: the caller passes the monotonic times.
type continuity struct {
	reach jetstream.Reach
	// epoch is the epoch of the connection that was planned last. Its commits may be reported after
	// the feed has begun the next epoch.
	epoch messages.Epoch
	// skip says that the plan passes events over, or may do so, which are lost as soon as something
	// comes.
	skip     bool
	unproven bool // the proof of the overlap has not come yet
	moved    bool // the connection has moved the position, or the replay on its way there
	tooLate  bool // it began too late; noted once
	// connected says that a connection of this life has opened. The backfills that it left open are
	// in memory.
	connected bool
	last      *actors.Ended // how it ended, nil before its end and after its judgement
	blind     bool          // the last connection was ended because it showed no commits

	// The monotonic times at which the position was reached, and at which it was last known to
	// hold; 0 for unknown.
	reachedAt time.Duration
	aliveAt   time.Duration
	live      liveDetector // of the connection
	presentUS int64        // the host's clock at presentAt, Unix µs; 0 for unknown
	presentAt time.Time
	hosts     map[string]hostKnown
}

// hostKnown is what connections have shown about a host.
type hostKnown struct {
	protocol jetstream.Protocol
	dated    bool // it sends a Date
	seen     bool // events have shown its clock
	// offsetUS is the host's clock less our monotonic clock, in Unix µs. If the host sends no Date,
	// it is a lower bound.
	offsetUS int64
}

// steadyAfter is how long a connection must have lived so that it does not count as one that ended
// where it began, even if nothing came.
const steadyAfter = time.Minute

// opened notes what a handshake shows.
func (c *continuity) opened(host string, m *actors.Connected, mono time.Duration) {
	if c.hosts == nil {
		c.hosts = make(map[string]hostKnown)
	}
	known := c.hosts[host]
	known.protocol = m.Wire.Protocol
	if m.Present.Host != "" {
		known.dated, known.offsetUS = true, m.Present.US-mono.Microseconds()
	}
	c.hosts[host] = known
	c.connected = true
	c.blind = false
}

// planned notes what the next connection has to prove.
func (c *continuity) planned(epoch messages.Epoch, p jetstream.Plan) {
	c.epoch = epoch
	c.unproven, c.skip = p.Proof != jetstream.ProofNone && !p.Accept, p.Skip != nil || p.Gap != nil || p.Accept
	c.moved, c.tooLate, c.last = false, false, nil
	c.presentUS, c.live = 0, liveDetector{}
}

// committed notes progress. Only a moved position or replay counts as progress.
func (c *continuity) committed(m *messages.Committed, mono time.Duration) {
	if m.Epoch == c.epoch && m.Moved {
		c.moved, c.skip = true, false
		// A store that hangs for minutes stores what was read before. The position is as old as that.
		at := mono - m.Age
		c.reachedAt = max(at, 1)
		c.alive(at)
	}
}

// alive notes that nothing was missing at the monotonic time.
func (c *continuity) alive(mono time.Duration) { c.aliveAt = max(c.aliveAt, mono, 1) }

// proven notes that the replay begins where it should.
func (c *continuity) proven(m *messages.Proven) {
	if m.Epoch != c.epoch {
		return
	}
	c.unproven = false
	c.reach.Late = 0
	c.reach.Proven = m.Exact
	if !m.Exact {
		c.reach.ByTime = false // the next position will be one of this replay
	}
}

// doubtful says whether events that the connection should bring may be missing.
func (c *continuity) doubtful() bool { return c.unproven || c.skip || c.tooLate }

// noOverlap notes the writer's report that the replay began too late. It returns false for a report
// about another connection.
func (c *continuity) noOverlap(m *messages.NoOverlap) bool {
	if m.Epoch != c.epoch {
		return false
	}
	c.late(m.Outdated)
	return true
}

// late notes that the replay began after the events that we hold: the next connection asks for
// more. This happens where the upstream's clock is behind the last upstream's. said is true if the
// upstream has said that it cannot go back further.
func (c *continuity) late(said bool) {
	c.unproven = false
	if c.tooLate {
		return
	}
	c.tooLate = true
	c.reach.Late++
	if said {
		c.reach.Late = lateAtMost
	}
}

// lateAtMost is more than a rewind has steps.
const lateAtMost = 100

// ended notes how the connection to the host ended. It is judged when everything that it brought is
// committed.
func (c *continuity) ended(host string, e *actors.Ended, mono time.Duration) {
	if known := c.hosts[host]; e.PresentUS > 0 && !known.dated {
		known.offsetUS, known.seen = e.PresentUS-mono.Microseconds(), true
		c.hosts[host] = known
	}
	c.last = e
	c.blind = c.blind || e.Forced == messages.CauseBlind
	c.reach.ByTime = c.reach.ByTime || e.SeqReset
	if e.Forced == messages.CauseNoOverlap {
		c.late(false)
	}
}

// judge decides, from the connection that ended, whether to ask again in the same way. It says
// whether that connection moved the position.
func (c *continuity) judge() (moved bool) {
	e := c.last
	c.last = nil
	switch {
	// A dial that failed says nothing about the position.
	case e == nil || e.Lived == 0 && e.Frames == 0:
		return false
	case c.moved:
		c.reach = jetstream.Reach{}
		return true
	case c.tooLate || e.SeqReset || e.Clean || e.Ours():
		return false
	// Nothing may have come because there was nothing to send.
	case e.Stale() && !e.Poison && !c.unproven:
		return false
	case e.Lived >= steadyAfter && !e.Poison:
		c.reach.Cut = 0
		return false
	}
	c.reach.Cut++
	c.reach.Poison = c.reach.Poison || e.Poison
	if c.reach.Exhausted() {
		c.reach = jetstream.Reach{}
	}
	return false
}

// stuck says whether connections end where they began.
func (c *continuity) stuck() bool { return c.reach.Cut > 1 }

// from is the checkpoint to resume from.
func (c *continuity) from(cp messages.Checkpoint) messages.Checkpoint {
	if c.blind && cp.CommitUS > 0 {
		// A host that showed no commits covers nothing after the last commit.
		cp.Position, cp.Replay, cp.AtTip = messages.Position{Host: cp.Host, TimeUS: cp.CommitUS}, messages.Position{}, 0
	}
	return cp
}

// resume is the input for the plan of the next connection, as far as it is known here.
func (c *continuity) resume(cp messages.Checkpoint, found bool, host string, mono time.Duration) jetstream.Resume {
	resume := jetstream.Resume{Checkpoint: cp, Found: found, Reach: c.reach}
	if c.aliveAt > 0 {
		resume.Awake = max(mono-c.aliveAt, 1)
	}
	if c.reachedAt > 0 {
		resume.Since = max(mono-c.reachedAt, 1)
	}
	there, here := c.hosts[host], c.hosts[cp.Host]
	if there.dated || there.seen {
		resume.Dated = there.dated
		resume.HostNow = messages.UpstreamTime{Host: host, US: there.offsetUS + mono.Microseconds()}
	}
	if there.dated && here.dated && host != cp.Host {
		resume.Ahead = time.Duration(there.offsetUS-here.offsetUS) * time.Microsecond
	}
	return resume
}

// liveDetector tells a replay from live events without a clock of the host. newest is how far the
// newest event is ahead of our monotonic clock, agreed is the same for a time on which several
// events agree (both in µs), and since is when one of them last grew. In a replay both grow all the
// time, because its events are of the past and come faster than they were made.
type liveDetector struct {
	newest, agreed int64
	since          time.Duration
}

const (
	// liveSlack is how much faster a live connection's fastest event may be than those before it. A
	// smaller growth does not count.
	liveSlack = 250 * time.Millisecond
	// liveAfter is how long no replay ever keeps to the pace of the clock.
	liveAfter = 3 * time.Second
)

// observe takes over a heartbeat, and says whether the events are live: they have kept to the
// clock's pace for liveAfter.
func (d *liveDetector) observe(m *messages.Heartbeat, mono time.Duration) bool {
	newest, agreed := m.NewestUS-mono.Microseconds(), m.PresentUS-mono.Microseconds()
	if slack := liveSlack.Microseconds(); *d == (liveDetector{}) || newest > d.newest+slack || agreed > d.agreed+slack {
		*d = liveDetector{max(newest, d.newest), max(agreed, d.agreed), mono}
	}
	return mono-d.since >= liveAfter
}

// knowsPresent says whether the present in the heartbeat is the host's real present, and not only
// the time that a replay has reached: the host has told its clock, or the events are live.
func (c *continuity) knowsPresent(host string, m *messages.Heartbeat, mono time.Duration) bool {
	return c.hosts[host].dated || c.live.observe(m, mono)
}

// present is the connected host's clock at our time now, Unix µs. If that clock is not known, it is
// our own.
func (c *continuity) present(now time.Time) int64 {
	if c.presentUS == 0 {
		return now.UnixMicro()
	}
	there := time.UnixMicro(c.presentUS).Add(now.Sub(c.presentAt))
	return jetstream.RefineDate(there, now).UnixMicro()
}
