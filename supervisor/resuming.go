package supervisor

import (
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// resuming is what a feed knows about how its connections go on from one another. It reads no clock: monotonic moments are handed in.
type resuming struct {
	reach    jetstream.Reach
	epoch    messages.Epoch  // of the connection that was planned last: what it brought may be told when the next epoch has begun
	proof    jetstream.Proof // what the connection has to show
	skip     bool            // it passes something over, which is lost once something comes
	unproven bool            // it has not shown it yet
	moved    bool            // it has brought the position further, or the replay on its way there
	tooLate  bool            // it began too late; told once
	begun    bool            // a connection of this tenure has stood: what it left to be fetched is remembered
	last     *actors.Ended   // how it ended, nil while it has not, or was judged
	blind    bool            // the last connection was left because it showed no commits

	reachedAt time.Duration // the monotonic moment at which the position was reached, 0 for unknown
	aliveAt   time.Duration // the monotonic moment at which the position was last known to hold, 0 for unknown
	pace      pace          // of the connection's events
	presentUS int64         // what the host's clock showed at presentAt, Unix µs; 0 for unknown
	presentAt time.Time
	hosts     map[string]hostKnown
}

// hostKnown is what handshakes told of a host.
type hostKnown struct {
	protocol jetstream.Protocol
	dated    bool  // it sends a Date
	seen     bool  // events have told of its clock
	offsetUS int64 // its clock less our monotonic one, Unix µs; at least, where it sends no Date
}

// settledAfter is how long a connection must have stood to count as one that did not end where it began, though nothing came.
const settledAfter = time.Minute

// connected takes what a handshake told.
func (r *resuming) connected(host string, m *messages.Connected, mono time.Duration) {
	if r.hosts == nil {
		r.hosts = make(map[string]hostKnown)
	}
	known := r.hosts[host]
	known.protocol, _ = jetstream.ParseProtocol(m.Protocol)
	if m.Present.Host != "" {
		known.dated, known.offsetUS = true, m.Present.US-mono.Microseconds()
	}
	r.hosts[host] = known
	r.begun = true
	r.blind = false
}

// begin notes what the next connection is to show.
func (r *resuming) begin(epoch messages.Epoch, p jetstream.Plan) {
	r.epoch = epoch
	r.proof, r.unproven, r.skip = p.Proof, p.Proof != jetstream.ProofNone && !p.Accept, p.Skip != nil || p.Gap != nil
	r.moved, r.tooLate, r.last = false, false, nil
	r.presentUS, r.pace = 0, pace{}
}

// committed notes progress. Nothing else that a connection brings counts as one.
func (r *resuming) committed(m *messages.Committed, mono time.Duration) {
	if m.Epoch == r.epoch && m.Moved {
		r.moved, r.skip = true, false
		r.reachedAt = max(mono, 1)
		r.alive(mono)
	}
}

// alive notes that nothing was missing at the monotonic moment.
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
		r.reach.ByTime = false // the position will be one of this replay
	}
}

// doubtful says whether something may be missing of what the connection was to bring.
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

// lateAtMost is more than there are steps of a rewind.
const lateAtMost = 100

// ended notes how the connection to the host ended. It is judged when everything that it brought is committed.
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

// judge learns from the connection that ended: what it brought was worth asking for again in the same way, or not. It says whether the connection brought the
// position further.
func (r *resuming) judge() (moved bool) {
	e := r.last
	r.last = nil
	switch {
	case e == nil || e.Lived == 0 && e.Frames == 0: // a dial that failed says nothing about the position
		return false
	case r.moved:
		r.reach = jetstream.Reach{}
		return true
	case r.tooLate || e.SeqReset || e.Clean || e.Ours():
		return false
	case e.Stale() && !e.Poison && !r.unproven: // nothing may have come because there was nothing
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
		// What came after the last commit on a host that saw none covers nothing.
		cp.Position, cp.Replay, cp.AtTip = messages.Position{Host: cp.Host, TimeUS: cp.CommitUS}, messages.Position{}, 0
	}
	return cp
}

// plan is what is known for planning the next connection.
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

// pace is how far ahead of our monotonic clock the newest event is, and what several of them agree on, in µs, and since when they are that far. A replay gets ever further: its
// events are of the past, and come faster than they were made.
type pace struct {
	newest, agreed int64
	since          time.Duration
}

const (
	// paceSlack is by how much a live connection's fastest event may be faster than those before it.
	paceSlack = 250 * time.Millisecond
	// paceStands is how long no replay keeps to the clock's pace.
	paceStands = 3 * time.Second
)

// keepsPace says whether the host's present that the heartbeat tells is more than what a replay has come to: the host told it, or events have kept the clock's pace for a while.
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

// present is what the connected host's clock shows at our moment now, as far as it is known, Unix µs; else what ours does.
func (r *resuming) present(now time.Time) int64 {
	if r.presentUS == 0 {
		return now.UnixMicro()
	}
	there := time.UnixMicro(r.presentUS).Add(now.Sub(r.presentAt))
	return jetstream.RefineDate(there, now).UnixMicro()
}
