package jetstream

import (
	"time"

	"tempestd/messages"
)

// seqRewind is how far a sequence number is rewound after a connection that did not end in good order: an upstream that crashed numbers up to one
// block, 4 096 events, anew (PROTOCOL.md, 2.2), and a second one is the margin.
const seqRewind = 2 * 4096

// Resume is what PlanResume decides on.
type Resume struct {
	Checkpoint   messages.Checkpoint
	Found        bool // whether there is a checkpoint
	Endpoint     Endpoint
	Now          time.Time
	ReplayWindow time.Duration // how far back the upstream can be asked to replay; 0 sets no bound
	Rewind       time.Duration // how far a time is rewound
	ByTime       bool          // the host's sequence numbers are no good: see VerifyFirst and ResumeByTime
}

// Plan is how to resume.
type Plan struct {
	Cursor  Cursor
	Overlap bool          // the upstream will send events again that the stream holds
	Gap     *messages.Gap // what is lost, ToUS still unknown; nil when nothing is
	Behind  time.Duration // from what is covered to now; 0 without a checkpoint
}

// PlanResume says where to resume, whichever protocol is spoken. Without a checkpoint that is the live tip. A checkpoint older than the replay window is given up: the live tip, and a
// gap. The exact sequence number is asked for after a clean end, a rewound one after any other, and only of the host it belongs to;
// whoever else is asked by time. What is asked for lies at or before the last stored event wherever the window allows, so that VerifyFirst can
// tell an upstream that replays from one that does not.
func PlanResume(r Resume) Plan {
	cp := r.Checkpoint
	now := r.Now.UnixMicro()
	covered := min(cp.CoveredUS(), now)
	if !r.Found || covered <= 0 {
		return Plan{}
	}
	behind := time.Duration(now-covered) * time.Microsecond
	if r.ReplayWindow > 0 && behind > r.ReplayWindow {
		gap := &messages.Gap{Host: r.Endpoint.Host(), FromUS: covered, Cause: messages.GapReplayWindow}
		return Plan{Gap: gap, Behind: behind}
	}
	plan := Plan{Overlap: true, Behind: behind}
	// A quiet feed's last event may lie before the window although everything since is covered: its sequence number, too, may be
	// older than anything the upstream still has.
	reachable := cp.TimeUS > 0 && (r.ReplayWindow <= 0 || now-cp.TimeUS <= r.ReplayWindow.Microseconds())
	if reachable && !r.ByTime && cp.Host == r.Endpoint.Host() {
		seq := cp.Seq
		if seq > 0 && !cp.Clean {
			seq = max(seq-seqRewind, 1)
		}
		if plan.Cursor = SequenceCursor(cp.Host, seq); !plan.Cursor.IsLive() {
			return plan
		}
	}
	from := covered
	if reachable {
		from = min(cp.TimeUS, now)
	}
	plan.Cursor = TimeCursor(from - r.Rewind.Microseconds())
	return plan
}

// FirstFrame is what the first event of a connection tells about its upstream.
type FirstFrame uint8

// The verdicts of VerifyFirst.
const (
	// FirstContinues: nothing speaks against what was asked for.
	FirstContinues FirstFrame = iota
	// FirstSequenceReset: the host's sequence numbers began anew, or are gone. What follows cannot be relied on: end the connection and resume with
	// Resume.ByTime. It is also what an upstream gives that did not know the number yet, and silently began at its live tip.
	FirstSequenceReset
	// FirstLate: the last stored event was asked for again and was not sent: the upstream cannot replay, or not that far back. It is a suspicion: an
	// upstream may have compacted the event away, and another host may have stamped it later; where the stream holds the first event, it is refuted.
	FirstLate
)

// VerifyFirst compares the first event of a connection, wanted or not, with the cursor that was asked for and the checkpoint it came from. outdated says
// that the upstream told us InfoOutdatedCursor before.
func VerifyFirst(asked Cursor, cp messages.Checkpoint, first messages.Event, outdated bool) FirstFrame {
	if _, seq, ok := asked.Sequence(); ok {
		switch {
		case first.Seq < seq:
			return FirstSequenceReset
		case first.Seq <= cp.Seq && first.TimeUS > cp.TimeUS: // the number was given to a later event
			return FirstSequenceReset
		case first.Seq > cp.Seq:
			return FirstLate
		}
		return FirstContinues
	}
	if us, ok := asked.TimeUS(); ok && first.TimeUS > cp.TimeUS && (us <= cp.TimeUS || outdated && first.TimeUS > us) {
		return FirstLate
	}
	return FirstContinues
}
