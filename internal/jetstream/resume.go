package jetstream

import (
	"time"

	"tempestd/messages"
)

// seqRewind is how far a sequence number is rewound where the event at the position is not what it was: an upstream that crashed
// numbers up to one block, 4 096 events, anew, and a second one is the margin.
const seqRewind = 2 * 4096

// maxReach is how far back a time is rewound at the most where no replay window bounds it: what public servers keep.
const maxReach = 36 * time.Hour

// Reach is what the connections so far have taught about resuming: ask for more where a replay began too late, for less where
// connections end before they bring anything. The zero Reach is how a feed begins, and begins again with every progress.
type Reach struct {
	Late   int  // replays in a row that began with nothing that the stream holds
	Cut    int  // connections in a row that ended where they began
	Proven bool // the last of them had begun with the very event at the position
	ByTime bool // the host's sequence numbers are no good
	// Poison says that one of them ended within a message, or because of one: it may be that message that nobody gets past.
	Poison bool
}

// Connections in a row that end where they began, after which another way is tried. The next endpoint and the other protocol are tried as well, by the feed.
const (
	cutNext   = 2  // the event at the position is not asked for again
	cutSkip   = 6  // with Poison: what comes next is passed over, more of it each time
	cutLive   = 10 // with Poison: all of it is
	cutSilent = 30 // likewise without: an upstream that takes connections and sends nothing may only need time
)

// skips is how often something was passed over without any success yet, from 1 on; 0 while nothing is to be.
func (r Reach) skips() int {
	if !r.Poison || r.Cut < cutSkip {
		return 0
	}
	return r.Cut - cutSkip + 1
}

// live says whether there is no other way left than the live tip.
func (r Reach) live() bool { return r.Cut >= cutSilent || r.Poison && r.Cut >= cutLive }

// Exhausted says whether every way was tried, the live tip twice: it is not the position that connections end at.
func (r Reach) Exhausted() bool { return r.Cut >= cutSilent+2 || r.Poison && r.Cut >= cutLive+2 }

// Overlap says what of a replay the stream may hold.
type Overlap uint8

// The overlaps.
const (
	OverlapNone  Overlap = iota // nothing: what comes is new
	OverlapShort                // the event at the position, and what an upstream repeats of late
	OverlapFull                 // whatever the dedupe horizon reaches
)

// Proof says what shows that a replay begins early enough.
type Proof uint8

// The proofs.
const (
	ProofNone  Proof = iota // nothing can, or nothing needs to
	ProofExact              // its first event is the very one at the position, by number and time: see VerifyFirst
	ProofHeld               // its first event is one that the stream holds
)

// Resume is what PlanResume decides on.
type Resume struct {
	Checkpoint messages.Checkpoint
	Found      bool // whether there is a checkpoint
	Endpoint   Endpoint
	Now        time.Time             // our wall clock
	HostNow    messages.UpstreamTime // the endpoint's present, where its clock is known
	Dated      bool                  // … from the host itself: what its events tell may be ahead of it, once its clock was set back
	Since      time.Duration         // how long ago the position was reached, by our monotonic clock; 0 where that is not known
	Awake      time.Duration         // how long ago the position was known to hold, by our monotonic clock; 0 where that is not known
	// Ahead is by how much the endpoint's clock is ahead of the clock of the position's host, where both are known.
	Ahead time.Duration
	// ReplayWindow is how far back the upstream can be asked to replay; 0 sets no bound. With Auto it is the bound of those alone that say nothing when
	// they cannot go back that far: of v1. Spoken is the protocol, ProtocolAuto while it is not known.
	ReplayWindow time.Duration
	Auto         bool
	Spoken       Protocol
	Rewind       time.Duration // how far a time is rewound on another host's clock, or where nothing can prove it
	Repair       time.Duration // how far a time is rewound on the same host, for what an earlier process may have left to be fetched
	Reach        Reach
	// NoProof says that the event at the position may not be wanted any more, as after a change of the filter: neither it nor its
	// number tells anything.
	NoProof bool
}

// Plan is how to resume.
type Plan struct {
	Cursor  Cursor
	From    messages.Position // the place that is asked for, or rewound from
	Overlap Overlap
	Proof   Proof
	Accept  bool          // a replay that proves nothing is as good as it gets: a gap is recorded, and it is stored
	Gap     *messages.Gap // what is lost, ToUS still unknown; nil when nothing is
	Skip    *messages.Gap // what is passed over, lost once something comes
	Behind  time.Duration // from what is covered to now; 0 without a checkpoint
}

// PlanResume says where to resume, whichever protocol is spoken: see the package's "Resuming".
func PlanResume(r Resume) Plan {
	cp := r.Checkpoint
	covered := cp.Covered()
	if !r.Found || covered.US <= 0 {
		return Plan{}
	}
	host := r.Endpoint.Host()
	plan := Plan{From: cp.Position, Behind: r.behind(covered)}
	lost := &messages.Gap{Host: cp.Host, FromUS: covered.US, Cause: messages.GapReplayWindow}
	if r.tooOld(covered) {
		plan.Gap = lost
		return plan
	}
	if cp.Replay.Host == host && r.Reach.Late == 0 {
		plan.From = cp.Replay
	}
	if r.Reach.live() {
		plan.Skip = &messages.Gap{Host: cp.Host, FromUS: covered.US, Cause: messages.GapSkipped}
		plan.Overlap = OverlapFull // of what a server sends besides
		return plan
	}
	// A quiet feed's last event may lie before the window although everything since is covered: neither its number nor its time may be
	// anything the upstream still has.
	reachable := plan.From.TimeUS > 0 && !r.tooOld(plan.From.At())
	bySeq := reachable && plan.From.Host == host && plan.From.Seq > 0 && !r.Reach.ByTime && !r.NoProof
	if bySeq && r.bySequence(&plan) {
		return plan
	}
	r.byTime(&plan, covered, reachable, bySeq)
	return plan
}

// bySequence asks for the very event at the position, which proves that the numbers stand; for the ones before it where it is not there.
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

// byTime asks for the moment of the position, rewound. Beyond its present an upstream begins at the live tip, without a word: there it is the present that is rewound.
func (r *Resume) byTime(plan *Plan, covered messages.UpstreamTime, reachable, numbered bool) {
	plan.Overlap = OverlapFull
	from := covered.US
	if reachable {
		from = plan.From.TimeUS
	}
	host := r.Endpoint.Host()
	if plan.From.Host != host {
		from += r.Ahead.Microseconds()
	}
	if present := r.HostNow.US; r.HostNow.Host == host && present > 0 {
		if plan.From.Host != host || from > present {
			from = min(from, present-r.Since.Microseconds()) // as long ago as the position was reached, by the host's own clock
		}
	}
	most := r.ReplayWindow
	if most <= 0 {
		most = maxReach
	}
	late := r.Reach.Late
	if numbered {
		late -= 2 // the numbers were tried first
	}
	rewind := r.Rewind
	if reachable && late <= 0 && plan.From.Host == host && !plan.From.Moment && !r.NoProof {
		rewind = r.Repair // the very event: to ask for more is what keeps a link that cuts from getting on
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
	if reachable && !plan.From.Moment && plan.From.Host != "" && !r.NoProof {
		plan.Proof = ProofHeld
		plan.Accept = rewind >= most || late >= lateSameClock && r.showsMore(plan.From)
	}
	plan.Cursor = TimeCursor(from - rewind.Microseconds())
}

// lateSameClock is how often a time is rewound on a host whose clock is known to be past the position: that clock is the one that the position is of, and
// only an event that was stamped wrongly makes any difference.
const lateSameClock = 2

// showsMore says whether the endpoint's clock is the position's and shows a later time, in the host's own words.
func (r *Resume) showsMore(p messages.Position) bool {
	d, ok := r.HostNow.Sub(p.At())
	return ok && r.Dated && d >= 0
}

// window is the replay window that holds, 0 for none.
func (r *Resume) window() time.Duration {
	if r.Auto && r.Spoken != ProtocolV1 {
		return 0
	}
	return r.ReplayWindow
}

// Stands says whether the plan is still what it would be, now that the connection tells which protocol is spoken and, where the host
// says so, what its clock shows.
func (p Plan) Stands(r Resume, spoken Protocol, present messages.UpstreamTime) bool {
	r.Spoken = spoken
	if !present.IsZero() {
		r.HostNow = present
	}
	return (PlanResume(r).Gap == nil) == (p.Gap == nil)
}

// behind is how long ago the moment was: by its host's own clock where that is known, else by ours.
func (r *Resume) behind(t messages.UpstreamTime) time.Duration {
	d, ok := r.HostNow.Sub(t)
	if !ok {
		d = r.Now.Sub(time.UnixMicro(t.US))
	}
	return max(d, 0)
}

// tooOld says whether the moment lies before the replay window: by every clock that can tell. Any of them may be wrong, and to ask
// for what an upstream does not have any more costs little; not to ask for what it has loses it.
func (r *Resume) tooOld(t messages.UpstreamTime) bool {
	w := r.window()
	if w <= 0 || r.Now.Sub(time.UnixMicro(t.US)) <= w {
		return false
	}
	if d, ok := r.HostNow.Sub(t); ok && d <= w {
		return false
	}
	return r.Awake <= 0 || r.Awake > w
}

// FirstFrame is what the first event of a connection tells about its upstream.
type FirstFrame uint8

// The verdicts of VerifyFirst.
const (
	// FirstContinues: nothing speaks against what was asked for.
	FirstContinues FirstFrame = iota
	// FirstExact: it is the very event at the position. The host's numbers stand: what follows is new.
	FirstExact
	// FirstSequenceReset: the host's sequence numbers began anew, or are another instance's. What follows cannot be relied on: end the
	// connection and resume with Reach.ByTime. It is also what an upstream gives that did not know the number yet, and silently began at its
	// live tip.
	FirstSequenceReset
	// FirstLate: what was asked for was not sent: the upstream has it no more, or numbered its events anew.
	FirstLate
)

// Said is what an upstream said of a cursor before its first event.
type Said struct {
	Outdated bool // InfoOutdatedCursor
	Future   bool // InfoFutureCursor
}

// VerifyFirst compares the first event of a connection, wanted or not, with what was asked for.
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
	if us, ok := p.Cursor.TimeUS(); ok && said.Outdated && timeUS > us {
		return FirstLate
	}
	return FirstContinues
}
