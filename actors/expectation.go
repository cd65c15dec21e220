package actors

import (
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// expects is what an epoch expects of its next batch.
type expects uint8

const (
	// Nothing has to be proven any more: what the stream lacks is new.
	expectsNew expects = iota

	// The same, and a gap comes before the next event.

	// The gap is certain. It ends when the connection opens, if the host tells its clock.
	expectsGap
	expectsSkip // events are passed over: they are lost as soon as one comes
	expectsLost // the store has lost its end: a gap, unless the next event is as old
	// The replay may begin too late, and to ask for more is useless: a gap, unless the stream holds
	// the next event.
	expectsDoubt

	// The replay must prove first that it begins early enough. Before that nothing is stored and
	// the position stays.

	// The first event must be exactly the one at the position. The connection compares it.
	expectsExact
	expectsExactThenLost
	expectsExactOutdated // it was another one, and the upstream said that it cannot go back further
	// The first event must be one that the stream holds. The comparison with the stream shows it.
	expectsHeld
	expectsHeldThenLost
	expectsHeldOutdated // the upstream said that it cannot go back further
)

// expectation is everything that an epoch expects of its next batch. Together with an observation
// it decides what becomes of the batch, and what is expected after it.
type expectation struct {
	kind expects
	gap  messages.Gap // the gap that comes before the next event, or may come
	// foreign is how long before its end the gap begins at the latest, if its beginning is a time of
	// another clock; else 0. See jetstream.Plan.
	foreign time.Duration
	// age is how long before its end it begins at the latest, if it would end before it begins: the
	// host's clock has shown a wrong time before.
	age time.Duration

	pending time.Duration // how long batches came that did not show where the replay begins
	// The pace of their events is measured from one of those batches on: its upstream time at its end,
	// Unix µs, and how long ago that was.
	sinceUS int64
	since   time.Duration
}

// expect is the expectation at the beginning of an epoch.
func expect(m *BeginEpoch) expectation {
	plan := m.Plan
	switch {
	case plan.Gap != nil:
		return expectation{kind: expectsGap, gap: *plan.Gap, foreign: plan.Foreign, age: plan.Since}
	case plan.Skip != nil:
		return expectation{kind: expectsSkip, gap: *plan.Skip, foreign: plan.Foreign, age: plan.Since}
	}
	held, exact := plan.Proof == jetstream.ProofHeld && !plan.Accept, plan.Proof == jetstream.ProofExact
	switch {
	case m.Lost != nil && held:
		return expectation{kind: expectsHeldThenLost, gap: *m.Lost}
	case m.Lost != nil && exact:
		return expectation{kind: expectsExactThenLost, gap: *m.Lost}
	case m.Lost != nil:
		return expectation{kind: expectsLost, gap: *m.Lost}
	case held:
		return expectation{kind: expectsHeld}
	case exact:
		return expectation{kind: expectsExact}
	case plan.Accept:
		return expectation{kind: expectsDoubt, gap: messages.Gap{Host: m.Host, FromUS: plan.Covered.US, Cause: messages.GapServerMoved}, foreign: plan.Foreign, age: plan.Since}
	}
	return expectation{}
}

// unproven says whether the replay has to prove first that it begins early enough.
func (e expectation) unproven() bool { return e.kind >= expectsExact }

// needsHeld says whether an event that the stream holds is that proof.
func (e expectation) needsHeld() bool { return e.kind >= expectsHeld }

// lost says whether what the store has lost is still to be recorded. An append of anything else would
// make the store forget it.
func (e expectation) lost() bool {
	return e.kind == expectsLost || e.kind == expectsExactThenLost || e.kind == expectsHeldThenLost
}

// outdated says whether the upstream said that it cannot go back further.
func (e expectation) outdated() bool {
	return e.kind == expectsExactOutdated || e.kind == expectsHeldOutdated
}

// proven is the expectation after the proof.
func (e expectation) proven() expectation {
	switch e.kind {
	case expectsExact, expectsHeld:
		e.kind = expectsNew
	case expectsExactThenLost, expectsHeldThenLost:
		e.kind = expectsLost
	case expectsExactOutdated, expectsHeldOutdated:
		e.kind = expectsDoubt
	}
	return e
}

// endingAt is the expected gap, as it ends at a moment of the endpoint's clock, Unix µs.
func (e expectation) endingAt(us int64) messages.Gap {
	g := e.gap
	if e.foreign > 0 {
		g.FromUS = min(g.FromUS, us-e.foreign.Microseconds())
	}
	g.ToUS = max(us, g.FromUS)
	if us < g.FromUS {
		g.FromUS = us - e.age.Microseconds()
	}
	return g
}

// suspect is the expectation after the news that the upstream began too late and cannot go back
// further. A gap that is known already covers that.
func (e expectation) suspect(gap messages.Gap) expectation {
	switch e.kind {
	case expectsNew:
		e.kind, e.gap = expectsDoubt, gap
	case expectsExact:
		e.kind, e.gap = expectsExactOutdated, gap
	case expectsHeld:
		e.kind, e.gap = expectsHeldOutdated, gap
	}
	return e
}

// observation is what a batch with events shows, after its comparison with the stream.
type observation struct {
	start     dedupe.Start // where in the stream the replay begins
	compared  bool         // the stream holds an event of it, or lacks one
	early     bool         // events of it are from before the stream's beginning
	firstHeld bool         // the stream holds its first event
	firstUS   int64        // upstream time of the first event that the stream lacks, or of the end
	endUS     int64        // upstream time of the batch's end
	waited    time.Duration
}

// observed makes the observation of a batch that was compared with the stream.
func observed(b *messages.Batch, m dedupe.Marked) observation {
	return observation{start: m.Start, compared: m.Duplicates+m.Misses > 0, early: m.Early > 0, firstHeld: m.FirstHeld,
		firstUS: firstUS(b), endUS: b.TimeUS, waited: b.Waited}
}

// verdict is what the committer does with a batch.
type verdict uint8

const (
	verdictStore  verdict = iota // append what the stream lacks
	verdictWait                  // append nothing of it: it does not show where the replay begins
	verdictRefuse                // append nothing of the epoch: the replay begins too late

	// The committer does the following, and judges the batch again by the next expectation.

	verdictProve  // tell the feed that the replay begins early enough
	verdictRecord // append the entry of the expected gap
	// Compare the batch again, so that everything that the stream does not hold is new: the replay
	// begins too late, but the upstream cannot go back further.
	verdictAccept
)

// judge decides what becomes of a batch, and what is expected after that.
func judge(e expectation, o observation) (verdict, expectation) {
	settled := e
	settled.kind = expectsNew
	switch e.kind {
	case expectsNew:
		return verdictStore, e
	case expectsGap, expectsSkip:
		return verdictRecord, settled
	case expectsLost:
		if o.firstUS > e.gap.FromUS {
			return verdictRecord, settled
		}
		return verdictStore, settled
	case expectsDoubt:
		if !o.firstHeld {
			return verdictRecord, settled
		}
		return verdictStore, settled
	}
	if o.start == dedupe.StartNone && !o.compared {
		return verdictWait, e
	}
	if !e.needsHeld() {
		return verdictRefuse, e // the proof would have come before the first event
	}
	switch o.start {
	case dedupe.StartHeld:
		if e.kind == expectsHeldOutdated {
			return verdictProve, settled // the upstream's oldest event is not newer than an event that we hold
		}
		return verdictProve, e.proven()
	case dedupe.StartPending:
		next, over := e.passTime(o)
		if !over {
			return verdictWait, next
		}
	case dedupe.StartLate:
		if e.kind == expectsHeldOutdated && !o.early {
			return verdictAccept, e.proven()
		}
	}
	return verdictRefuse, e
}

const (
	// tipPause is longer than a connection that replays ever needs for one batch.
	tipPause = time.Second
	// tipPace is how long the events must keep pace with the clock before they count as live and
	// not as a replay.
	tipPace = 3 * time.Second
	// paceJump is how far the events must run ahead of the clock before their pace is measured anew:
	// a replay does that again and again, live events only when their host's clock jumps.
	paceJump = 10 * time.Second
	// longPending is how long a replay may take to show where it begins. By then it has sent some
	// millions of events.
	longPending = 2 * time.Minute
)

// passTime counts the time of a batch that does not show where the replay begins. It says whether
// the replay is over, so that it has sent everything that the stream holds. It has to estimate,
// because we share no clock with the host. The host's present says nothing: a host whose clock was
// set back replays events from before that with later times.
func (e expectation) passTime(o observation) (next expectation, over bool) {
	if e.sinceUS == 0 {
		e.sinceUS = o.endUS
	} else {
		waited := max(o.waited, time.Millisecond)
		e.pending += waited
		e.since += waited
	}
	passed := time.Duration(o.endUS-e.sinceUS) * time.Microsecond
	over = o.waited >= tipPause || e.pending >= longPending || e.since >= tipPace && passed <= e.since+e.since/4
	if passed > e.since+paceJump {
		e.sinceUS, e.since = o.endUS, 0
	}
	return e, over
}
