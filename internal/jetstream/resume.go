package jetstream

import (
	"cmp"
	"time"

	"tempestd/messages"
)

// seqRewind is how far a sequence number is rewound if the event at the position is another one
// than before. An upstream that crashed gives the numbers of up to one block, 4 096 events, to
// other events; a second block is the margin.
const seqRewind = 2 * 4096

// maxReach is the furthest that a time is rewound if there is no replay window to bound it. It is
// what public servers keep.
const maxReach = 36 * time.Hour

// Reach is what the connections so far have taught about resuming. After a replay that began too
// late the next one asks for more; after connections that end before they bring anything it asks
// for less. A feed begins with the zero Reach, and returns to it with every progress.
type Reach struct {
	Late   int  // replays in a row that did not begin with an event that the stream holds
	Cut    int  // connections in a row that ended where they began
	Proven bool // the last of them began with exactly the event at the position
	ByTime bool // the host's sequence numbers cannot be used
	// Poison says that one of them ended within a message, or because of one. So that message may
	// be what ends every connection.
	Poison bool
}

// The number of connections in a row that end where they began (Reach.Cut), after which another way
// is tried. The feed also tries the next endpoint and the other protocol.
const (
	cutNext = 2  // the event at the position is not asked for again
	cutSkip = 6  // with Poison: what comes next is passed over, more of it each time
	cutLive = 10 // with Poison: everything up to the live tip is passed over
	// The same without Poison. An upstream that accepts connections and sends nothing may only need
	// time.
	cutSilent = 30
)

// skips returns how often something was passed over so far without success, counting this time; 0
// if nothing is to be passed over yet.
func (r Reach) skips() int {
	if !r.Poison || r.Cut < cutSkip {
		return 0
	}
	return r.Cut - cutSkip + 1
}

// live says whether the live tip is the only way left.
func (r Reach) live() bool { return r.Cut >= cutSilent || r.Poison && r.Cut >= cutLive }

// Exhausted says whether every way was tried, the live tip twice. Then it is not the position that
// ends the connections.
func (r Reach) Exhausted() bool { return r.Cut >= cutSilent+2 || r.Poison && r.Cut >= cutLive+2 }

// Overlap says which part of a replay the stream may already hold.
type Overlap uint8

// Overlaps.
const (
	OverlapNone  Overlap = iota // nothing: everything that comes is new
	OverlapShort                // the event at the position, and recent repeats of an upstream
	OverlapFull                 // everything within the dedupe horizon
)

// Proof says what proves that a replay begins early enough.
type Proof uint8

// Proofs.
const (
	ProofNone Proof = iota // no proof is possible, or none is needed
	// ProofExact: its first event is exactly the one at the position, by number and time: see
	// VerifyFirst.
	ProofExact
	ProofHeld // its first event is one that the stream holds
)

// Resume is what PlanResume decides from.
type Resume struct {
	Checkpoint messages.Checkpoint
	Found      bool // there is a checkpoint
	Endpoint   Endpoint
	Now        time.Time             // our wall clock
	HostNow    messages.UpstreamTime // the endpoint's present, if its clock is known
	// Dated says that HostNow comes from the host itself. A HostNow that comes from the times of
	// its events may be ahead of the host, after its clock was set back.
	Dated bool
	// Since is how long ago the position was reached, by our monotonic clock; 0 if unknown.
	Since time.Duration
	// Awake is how long ago the position was known to be valid, by our monotonic clock; 0 if
	// unknown.
	Awake time.Duration
	// Ahead is the lead of the endpoint's clock over the clock of the position's host, if both are
	// known.
	Ahead time.Duration
	// ReplayWindow is how far back the upstream can be asked to replay; 0 sets no bound. With Auto
	// the bound applies only to an upstream that is silent when it cannot go back that far, which
	// means v1. Spoken is the protocol, ProtocolAuto while it is unknown.
	ReplayWindow time.Duration
	Auto         bool
	Spoken       Protocol
	// Rewind is how far a time is rewound on another host's clock, or if nothing can prove the
	// replay.
	Rewind time.Duration
	// BackfillRewind is how far a time is rewound on the same host, for events that an earlier
	// process may have left for a backfill.
	BackfillRewind time.Duration
	Reach          Reach
	// Begin is where a feed begins that has no position of an upstream yet. It takes precedence over
	// Checkpoint.
	Begin Begin
	// Swept says that the endpoint's archive has just given everything up to the position. So the
	// numbers are the host's, and what follows the position is on its socket.
	Swept bool
	// Unreachable says that the endpoint's socket has refused, again and again, to go back to the
	// position.
	Unreachable bool
	// NoProof says that the event at the position may no longer be wanted, as after a change of the
	// filter. Then neither the event nor its number proves anything.
	NoProof bool
}

// Begin is where a feed begins: at a time, with the oldest event of the socket, or, as the zero
// Begin, with the events from now on.
type Begin struct {
	US       int64 // Unix µs, 0 for none
	Earliest bool
}

// Plan is how to resume.
type Plan struct {
	Begin   Begin // of the Resume
	Cursor  Cursor
	From    messages.Position // the place that is asked for, or rewound from
	Overlap Overlap
	Proof   Proof
	// Accept says that it makes no sense to ask for more: a replay without proof is stored after a
	// gap entry.
	Accept bool
	// Fresh says that the feed began at From, a moment ago, and has stored nothing since. A server
	// drops nothing so soon: if it does not go back so far, it began later itself.
	Fresh bool
	Gap   *messages.Gap // what is lost, ToUS still unknown; nil if nothing is
	// IfTrimmed says that the proof is needed only if retention has dropped entries from the stream: then
	// a replay may bring what the stream once held.
	IfTrimmed bool
	Skip      *messages.Gap // what is passed over; lost as soon as an event comes
	Behind    time.Duration // from the last covered moment to now; 0 without a checkpoint
	// Covered is the covered moment on the endpoint's clock, or an earlier one: a gap begins there.
	Covered messages.UpstreamTime
	// Foreign is set if nothing relates the clock of the position to the endpoint's: then Covered may
	// be too late. It is how long ago the covered moment was.
	Foreign time.Duration
	// Since is how long ago the position was reached, or longer. A gap begins at most so long before an
	// event that comes before the covered moment by the same clock, which was then wrong.
	Since time.Duration
}

// PlanResume decides where to resume, in either protocol: see the package's "Resuming". It is a
// pure function, safe for concurrent use.
func PlanResume(r Resume) Plan {
	cp := r.Checkpoint
	switch {
	case r.Begin.Earliest:
		return Plan{Begin: r.Begin, Cursor: TimeCursor(0)}
	case r.Begin.US > 0:
		return Plan{Begin: r.Begin, Cursor: TimeCursor(r.Begin.US)}
	}
	covered := cp.Covered()
	if !r.Found || covered.US <= 0 {
		return Plan{}
	}
	host := r.Endpoint.Host()
	plan := Plan{From: cp.Position, Behind: r.behind(covered)}
	plan.Covered, plan.Foreign = r.coveredThere(covered)
	plan.Since = cmp.Or(r.Since, readLate)
	plan.Fresh = cp.Moment && cp.FirstUS == 0 && (cp.Host == host || cp.Host == "") && plan.Behind <= beginSlack
	if r.Swept && cp.Host == host && cp.Seq > 0 {
		plan.Cursor, plan.Overlap = SequenceCursor(host, cp.Seq), OverlapShort
		return plan
	}
	lost := &messages.Gap{Host: host, FromUS: plan.Covered.US, Cause: messages.GapReplayWindow}
	if r.Unreachable {
		lost.Cause = messages.GapServerMoved
		plan.Cursor, plan.Overlap, plan.Skip = TimeCursor(cp.TimeUS), OverlapFull, lost
		return plan
	}
	if r.tooOld(covered) {
		plan.Gap = lost
		return plan
	}
	if cp.Replay.Host == host && r.Reach.Late == 0 {
		plan.From = cp.Replay
	}
	if r.Reach.live() {
		plan.Skip = &messages.Gap{Host: host, FromUS: plan.Covered.US, Cause: messages.GapSkipped}
		plan.Overlap = OverlapFull // for what a server sends besides
		return plan
	}
	// The last event of a quiet feed may be older than the window although everything since then is
	// covered. Then the upstream may have neither its number nor its time any more.
	reachable := plan.From.TimeUS > 0 && !r.tooOld(plan.From.At())
	bySeq := reachable && plan.From.Host == host && plan.From.Seq > 0 && !r.Reach.ByTime && !r.NoProof
	if bySeq && r.bySequence(&plan) {
		return plan
	}
	r.byTime(&plan, covered, reachable, bySeq)
	return plan
}

// bySequence plans by sequence number. It asks for exactly the event at the position, which proves
// that the host's numbers are still valid, or for earlier numbers if that event was not there. It
// returns false if a number is of no use.
func (r *Resume) bySequence(plan *Plan) bool {
	seq := plan.From.Seq
	switch {
	case r.Reach.Late > 1:
		return false
	case r.Reach.Late == 1:
		plan.Overlap, plan.Proof = OverlapFull, ProofHeld
		seq = max(seq-seqRewind, 1)
	case r.Reach.skips() > 0:
		plan.Overlap = OverlapShort
		plan.Skip = &messages.Gap{Host: plan.From.Host, FromUS: plan.From.TimeUS, Cause: messages.GapSkipped}
		seq += 1 + 1<<(2*(r.Reach.skips()-1))
	case r.Reach.Cut >= cutNext && r.Reach.Proven:
		plan.Overlap = OverlapShort
		seq++
	default:
		plan.Overlap, plan.Proof = OverlapShort, ProofExact
	}
	plan.Cursor = SequenceCursor(plan.From.Host, seq)
	return !plan.Cursor.IsLive()
}

// byTime plans by time. It asks for the moment of the position, rewound. An upstream that is asked
// for a time beyond its present silently begins at the live tip, so such a time is replaced by the
// present before the rewind.
func (r *Resume) byTime(plan *Plan, covered messages.UpstreamTime, reachable, numbered bool) {
	plan.Overlap = OverlapFull
	from := covered.US
	if reachable {
		from = plan.From.TimeUS
	}
	host := r.Endpoint.Host()
	if plan.From.Host != host {
		there, _ := r.there(messages.UpstreamTime{Host: plan.From.Host, US: from})
		from = there.US
	} else if present := r.HostNow.US; r.HostNow.Host == host && present > 0 && from > present {
		since := r.Since
		if since == 0 && plan.From.Moment {
			since = readLate // no proof will show that the replay begins too late
		}
		from = present - since.Microseconds()
	}
	most := r.ReplayWindow
	if most <= 0 {
		most = maxReach
	}
	late := r.Reach.Late
	proves := reachable && !plan.From.Moment && plan.From.Host != "" && !r.NoProof
	sought := !proves && r.seeksHeld(plan.From, reachable)
	switch {
	case numbered:
		late -= 2 // the numbers were tried first
	case sought:
		late-- // as was a replay with a held event
	}
	rewind := r.Rewind
	if reachable && late <= 0 && plan.From.Host == host && !plan.From.Moment && !r.NoProof {
		// Ask for no more than the event at the position: to ask for more keeps a feed whose
		// connections are cut often from making progress.
		rewind = r.BackfillRewind
	}
	for range late {
		rewind = min(max(6*rewind, time.Minute), most)
	}
	if skips := r.Reach.skips(); skips > 0 && plan.From.Host == host && late <= 0 {
		plan.Skip = &messages.Gap{Host: host, FromUS: from, Cause: messages.GapSkipped}
		step := int64(1)
		for range skips - 1 {
			step *= 1000
		}
		plan.Cursor = TimeCursor(from + min(step, time.Minute.Microseconds()))
		return
	}
	switch {
	case proves:
		plan.Proof = ProofHeld
		plan.Accept = rewind >= most || late >= lateSameClock && r.showsMore(plan.From)
	case sought && r.Reach.Late == 0:
		plan.Proof, plan.IfTrimmed = ProofHeld, plan.From.Host == host
	}
	plan.Cursor = TimeCursor(from - rewind.Microseconds())
}

// seeksHeld says whether a replay is expected to reach an event that the stream holds, although the
// event at the position may not be among those that it sends: it comes from another host, or the
// filter has changed. Until it does, it may be sending what is from before the stream's beginning, or
// what retention has dropped. If it never does, the next one needs no proof.
func (r *Resume) seeksHeld(from messages.Position, reachable bool) bool {
	return reachable && r.Checkpoint.FirstUS > 0 && from.Host != "" && (r.NoProof || from.Host != r.Endpoint.Host())
}

// lateSameClock is how often a time is rewound on a host whose clock is the position's and is known
// to be past the position. On the same clock only an event with a wrong time can make a difference.
const lateSameClock = 2

// window returns the replay window that applies, 0 for none.
func (r *Resume) window() time.Duration {
	if r.Auto && r.Spoken != ProtocolV1 {
		return 0
	}
	return r.ReplayWindow
}

// Stands says whether the plan is still right once the connection tells which protocol is spoken
// and, if the host says so, what its clock shows. A host whose clock was set back may have been asked
// for a time that is still to come: it begins at its tip without a word, which shows only where the
// replay surely has to prove where it begins.
func (p Plan) Stands(r Resume, spoken Protocol, present messages.UpstreamTime) bool {
	r.Spoken = spoken
	if !present.IsZero() {
		r.HostNow = present
	}
	again := PlanResume(r)
	if us, byTime := p.Cursor.TimeUS(); byTime && (p.Proof == ProofNone || p.IfTrimmed) && !present.IsZero() && us > present.US && again.Cursor != p.Cursor {
		return false
	}
	return (again.Gap == nil) == (p.Gap == nil)
}

// FreshAt is Fresh once the connection tells what the host's clock shows.
func (p Plan) FreshAt(r Resume, present messages.UpstreamTime) bool {
	r.HostNow = present
	return PlanResume(r).Fresh
}

// FirstFrame is what the first event of a connection tells about its upstream.
type FirstFrame uint8

// Results of VerifyFirst.
const (
	// FirstContinues: nothing contradicts the request.
	FirstContinues FirstFrame = iota
	// FirstExact: it is exactly the event at the position. The host's numbers are valid and
	// everything that follows is new.
	FirstExact
	// FirstSequenceReset: the host's sequence numbers began again, or they belong to another
	// instance. What follows cannot be relied on: end the connection and resume with Reach.ByTime.
	// An upstream that did not have the number yet, and silently began at its live tip, gives the
	// same result.
	FirstSequenceReset
	// FirstLate: the upstream did not send what was asked for: it no longer has it, or it
	// renumbered its events.
	FirstLate
)

// Said is what an upstream said about a cursor before its first event.
type Said struct {
	Outdated bool // atproto.OutdatedCursor
	Future   bool // atproto.FutureCursor
	Silent   bool // it says nothing of a cursor that it moved (v1)
}

// beginSlack is how long after the time that a feed begins at the first event of a silent upstream
// may come. A later one suggests that the upstream has nothing older.
const beginSlack = 10 * time.Minute

// VerifyFirst compares the first event of a connection, wanted or not, with the request. It is a
// pure function, safe for concurrent use.
func VerifyFirst(p Plan, seq, timeUS int64, said Said) FirstFrame {
	if _, asked, ok := p.Cursor.Sequence(); ok {
		switch {
		case said.Future, seq < asked:
			return FirstSequenceReset
		case p.Proof != ProofExact:
			return FirstContinues
		case p.From.IsOf(seq, timeUS):
			return FirstExact
		}
		return FirstLate
	}
	us, byTime := p.Cursor.TimeUS()
	switch {
	case !byTime || p.Begin.Earliest || p.Fresh:
	case said.Outdated && timeUS > us, said.Silent && p.Begin.US > 0 && timeUS > us+beginSlack.Microseconds():
		return FirstLate
	}
	return FirstContinues
}
