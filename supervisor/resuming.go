package supervisor

import (
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// resuming is what a feed knows about how each of its connections continues the one before. It
// reads no clock: the caller passes the monotonic times.
type resuming struct {
	reach jetstream.Reach
	// epoch is the epoch of the connection that was planned last. Its commits may be reported after
	// the feed has begun the next epoch.
	epoch messages.Epoch
	proof jetstream.Proof // what the connection has to prove
	// skip says that the plan passes events over, which are lost as soon as something comes.
	skip     bool
	unproven bool // the proof has not come yet
	moved    bool // the connection has moved the position, or the replay on its way there
	tooLate  bool // it began too late; noted once
	// begun says that a connection of this tenure has opened. The backfills that it left open are
	// in memory.
	begun bool
	last  *actors.Ended // how it ended, nil before its end and after its judgement
	blind bool          // the last connection was ended because it showed no commits

	// The monotonic times at which the position was reached, and at which it was last known to
	// hold; 0 for unknown.
	reachedAt time.Duration
	aliveAt   time.Duration
	pace      pace  // of the connection's events
	presentUS int64 // the host's clock at presentAt, Unix µs; 0 for unknown
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

// settledAfter is how long a connection must have lived so that it does not count as one that ended
// where it began, even if nothing came.
const settledAfter = time.Minute

// connected notes what a handshake shows.
func (r *resuming) connected(host string, m *actors.Connected, mono time.Duration) {
	if r.hosts == nil {
		r.hosts = make(map[string]hostKnown)
	}
	known := r.hosts[host]
	known.protocol = m.Wire.Protocol
	if m.Present.Host != "" {
		known.dated, known.offsetUS = true, m.Present.US-mono.Microseconds()
	}
	r.hosts[host] = known
	r.begun = true
	r.blind = false
}

// begin notes what the next connection has to prove.
func (r *resuming) begin(epoch messages.Epoch, p jetstream.Plan) {
	r.epoch = epoch
	r.proof, r.unproven, r.skip = p.Proof, p.Proof != jetstream.ProofNone && !p.Accept, p.Skip != nil || p.Gap != nil
	r.moved, r.tooLate, r.last = false, false, nil
	r.presentUS, r.pace = 0, pace{}
}

// committed notes progress. Only a moved position or replay counts as progress.
func (r *resuming) committed(m *messages.Committed, mono time.Duration) {
	if m.Epoch == r.epoch && m.Moved {
		r.moved, r.skip = true, false
		r.reachedAt = max(mono, 1)
		r.alive(mono)
	}
}

// alive notes that nothing was missing at the monotonic time.
func (r *resuming) alive(mono time.Duration) { r.aliveAt = max(mono, 1) }

// proven notes that the replay begins where it should.
func (r *resuming) proven(m *messages.Proven) {
	if m.Epoch != r.epoch {
		return
	}
	r.unproven = false
	r.reach.Late = 0
	r.reach.Proven = m.Exact
	if !m.Exact {
		r.reach.ByTime = false // the next position will be one of this replay
	}
}

// doubtful says whether events that the connection should bring may be missing.
func (r *resuming) doubtful() bool { return r.unproven || r.skip }

// late notes that the replay began too late.
func (r *resuming) late(said bool) {
	if r.tooLate {
		return
	}
	r.tooLate = true
	r.reach.Late++
	if said {
		r.reach.Late = lateAtMost
	}
}

// lateAtMost is more than a rewind has steps.
const lateAtMost = 100

// ended notes how the connection to the host ended. It is judged when everything that it brought is
// committed.
func (r *resuming) ended(host string, e *actors.Ended, mono time.Duration) {
	if known := r.hosts[host]; e.PresentUS > 0 && !known.dated {
		known.offsetUS, known.seen = e.PresentUS-mono.Microseconds(), true
		r.hosts[host] = known
	}
	r.last = e
	r.blind = r.blind || e.Forced == messages.CauseBlind
	r.reach.ByTime = r.reach.ByTime || e.SeqReset
	if e.Forced == messages.CauseNoOverlap {
		r.late(false)
	}
}

// judge decides, from the connection that ended, whether to ask again in the same way. It says
// whether that connection moved the position.
func (r *resuming) judge() (moved bool) {
	e := r.last
	r.last = nil
	switch {
	// A dial that failed says nothing about the position.
	case e == nil || e.Lived == 0 && e.Frames == 0:
		return false
	case r.moved:
		r.reach = jetstream.Reach{}
		return true
	case r.tooLate || e.SeqReset || e.Clean || e.Ours():
		return false
	// Nothing may have come because there was nothing to send.
	case e.Stale() && !e.Poison && !r.unproven:
		return false
	case e.Lived >= settledAfter && !e.Poison:
		r.reach.Cut = 0
		return false
	}
	r.reach.Cut++
	r.reach.Poison = r.reach.Poison || e.Poison
	if r.reach.Exhausted() {
		r.reach = jetstream.Reach{}
	}
	return false
}

// stuck says whether connections end where they began.
func (r *resuming) stuck() bool { return r.reach.Cut > 1 }

// from is the checkpoint to resume from.
func (r *resuming) from(cp messages.Checkpoint) messages.Checkpoint {
	if r.blind && cp.CommitUS > 0 {
		// A host that showed no commits covers nothing after the last commit.
		cp.Position, cp.Replay, cp.AtTip = messages.Position{Host: cp.Host, TimeUS: cp.CommitUS}, messages.Position{}, 0
	}
	return cp
}

// plan is the input for the plan of the next connection, as far as it is known here.
func (r *resuming) plan(cp messages.Checkpoint, found bool, host string, mono time.Duration) jetstream.Resume {
	resume := jetstream.Resume{Checkpoint: cp, Found: found, Reach: r.reach}
	if r.aliveAt > 0 {
		resume.Awake = max(mono-r.aliveAt, 1)
	}
	if r.reachedAt > 0 {
		resume.Since = max(mono-r.reachedAt, 1)
	}
	there, here := r.hosts[host], r.hosts[cp.Host]
	if there.dated || there.seen {
		resume.Dated = there.dated
		resume.HostNow = messages.UpstreamTime{Host: host, US: there.offsetUS + mono.Microseconds()}
	}
	if there.dated && here.dated && host != cp.Host {
		resume.Ahead = time.Duration(there.offsetUS-here.offsetUS) * time.Microsecond
	}
	return resume
}

// pace tells a replay from live events without a clock of the host. newest is how far the newest
// event is ahead of our monotonic clock, agreed is the same for a time on which several events
// agree (both in µs), and since is when one of them last grew. In a replay both grow all the time,
// because its events are of the past and come faster than they were made.
type pace struct {
	newest, agreed int64
	since          time.Duration
}

const (
	// paceSlack is how much faster a live connection's fastest event may be than those before it. A
	// smaller growth does not count.
	paceSlack = 250 * time.Millisecond
	// paceStands is how long no replay ever keeps to the pace of the clock.
	paceStands = 3 * time.Second
)

// keepsPace says whether the present in the heartbeat is the host's real present, and not only the
// time that a replay has reached: either the host has told its clock, or the events have kept to
// the clock's pace for paceStands.
func (r *resuming) keepsPace(host string, m *messages.Heartbeat, mono time.Duration) bool {
	if r.hosts[host].dated {
		return true
	}
	newest, agreed := m.NewestUS-mono.Microseconds(), m.PresentUS-mono.Microseconds()
	if slack := paceSlack.Microseconds(); r.pace == (pace{}) || newest > r.pace.newest+slack || agreed > r.pace.agreed+slack {
		r.pace = pace{max(newest, r.pace.newest), max(agreed, r.pace.agreed), mono}
	}
	return mono-r.pace.since >= paceStands
}

// present is the connected host's clock at our time now, Unix µs. If that clock is not known, it is
// our own.
func (r *resuming) present(now time.Time) int64 {
	if r.presentUS == 0 {
		return now.UnixMicro()
	}
	there := time.UnixMicro(r.presentUS).Add(now.Sub(r.presentAt))
	return jetstream.RefineDate(there, now).UnixMicro()
}
