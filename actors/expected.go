package actors

import (
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// expected is what the writer expects of an epoch's batches, and the judgement of them. It reads no
// clock and no store.
type expected struct {
	number messages.Epoch
	next   uint64 // the batch number that comes next; 0 accepts none
	host   string
	// resume is the position if the epoch resumed by its host's sequence numbers; else it is zero.
	resume messages.Position

	from messages.Position // the place that was asked for
	// prove says that the replay must prove first that it begins early enough. Until then nothing
	// is stored and the position stays.
	prove bool
	held  bool // a first event that the stream holds is such a proof
	// accepts says that the replay is stored without proof, behind a gap entry unless the stream
	// holds its first event.
	accepts bool
	said    bool // the upstream itself said that it cannot go back further

	// present is the host's clock when the connection opened. It has no host where the host did not
	// tell its clock.
	present messages.UpstreamTime
	pending time.Duration // how long batches came that did not show where the replay begins
	since   int64         // upstream time of the end of the first of them, Unix µs
	passed  bool          // the replay has reached the former end of the stream
	seq     int64         // the greatest sequence number of the epoch so far
	// first is the stream's first event by its host's numbers, while the replay may bring events
	// from before it.
	first  messages.Position
	before []messages.FormerFilter
	// dealt is a position that was reached under a filter that is not known: events up to there
	// that the stream lacks were not wanted.
	dealt messages.Position
}

// expect begins an epoch.
func expect(m *BeginEpoch) expected {
	overlap := m.Plan.Overlap != jetstream.OverlapNone
	e := expected{number: m.Epoch, next: 1, host: m.Host, prove: m.Plan.Proof != jetstream.ProofNone && !m.Plan.Accept,
		held: m.Plan.Proof == jetstream.ProofHeld, accepts: m.Plan.Accept, before: m.Before, dealt: m.Passed, passed: !overlap, from: m.Plan.From}
	if overlap && m.Resume.FirstHost == m.Host {
		e.first = messages.Position{Seq: m.Resume.FirstSeq, TimeUS: m.Resume.FirstUS}
	}
	if m.bySeq() {
		e.resume = m.Resume.Position
	}
	return e
}

// begun says whether the writer has begun any epoch, and so knows a position.
func (e *expected) begun() bool { return e.number > 0 }

// refuse makes e accept no more batches: no batch has the number 0.
func (e *expected) refuse() { e.next = 0 }

// startsAt says whether the epoch was asked to begin at the event with this number and time. That
// event was handled before.
func (e *expected) startsAt(seq, timeUS int64) bool {
	return e.from.TimeUS > 0 && e.from.IsOf(seq, timeUS)
}

// takes says whether the batch is the next one, and counts it.
func (e *expected) takes(b *messages.Batch) bool {
	if b.Epoch != e.number || b.Number != e.next {
		return false
	}
	e.next++
	return true
}

// open notes the host's clock. A filter that changed while no connection was open takes effect at
// this moment.
func (e *expected) open(present messages.UpstreamTime, at *messages.Checkpoint) {
	e.present = present
	for i := range e.before {
		if e.before[i].UntilUS == 0 {
			e.before[i].UntilUS, at.FilterUS = present.US, present.US
		}
	}
}

// dropFormer drops two kinds of events: those from before the stream's first event, by both number
// and time, and those that are older than the filter and that the filter before it did not want. A
// former filter is forgotten once an event is past its end: all later events come behind that end,
// whatever their times.
func (e *expected) dropFormer(b *messages.Batch) (dropped int) {
	if len(e.before) == 0 && e.dealt.Seq == 0 && e.first.Seq == 0 {
		return 0
	}
	for i := range b.Events {
		ev := &b.Events[i]
		for len(e.before) > 0 && e.before[0].UntilUS > 0 && ev.TimeUS >= e.before[0].UntilUS {
			e.before = e.before[1:]
		}
		if ev.Seq >= e.first.Seq {
			e.first.Seq = 0
		}
		if ev.Seq < e.first.Seq && ev.TimeUS < e.first.TimeUS || e.unwantedThen(ev, b.Bytes(i)) {
			ev.Drop = true
			dropped++
		}
	}
	return dropped
}

// unwantedThen says whether the event was not wanted when it happened. With dealt it compares both
// the number and the time, because a server may give a number again, and a time as well.
func (e *expected) unwantedThen(ev *messages.Event, event []byte) bool {
	if e.dealt.Seq > 0 {
		return ev.Seq <= e.dealt.Seq && ev.TimeUS <= e.dealt.TimeUS
	}
	return len(e.before) > 0 && e.before[0].Wants != nil && !e.before[0].Wants.WantsEvent(event)
}

// verdict is what to do with a batch.
type verdict uint8

const (
	take   verdict = iota // store what the stream lacks
	begins                // the same, and the batch is the replay's proof
	wait                  // it proves nothing yet: store nothing of it
	refuse                // the replay begins too late: store nothing of the epoch
	// The replay begins too late, and the upstream cannot go back further: store it, behind the
	// pending gap.
	accept
)

// judge says what to do with a batch after its comparison with the stream.
func (e *expected) judge(b *messages.Batch, m dedupe.Marked) verdict {
	if !e.prove {
		return take
	}
	switch {
	case m.Start == dedupe.StartHeld:
		e.prove = false
		return begins
	case m.Start == dedupe.StartNone && m.Duplicates+m.Misses == 0: // no event was compared
		return wait
	case m.Start == dedupe.StartPending && !e.atTip(b):
		return wait
	case m.Start == dedupe.StartLate && e.said && m.Early == 0:
		e.prove = false
		return accept
	}
	return refuse
}

const (
	// tipPause is longer than a connection that replays ever needs for one batch.
	tipPause = time.Second
	// tipPace is how long the events must keep pace with the clock before they count as live and
	// not as a replay.
	tipPace = 3 * time.Second
	// longPending is how long a replay may take to show where it begins. By then it has sent some
	// millions of events.
	longPending = 2 * time.Minute
)

// atTip says whether the replay is over, so that it has sent everything that the stream holds. It
// has to estimate, because we share no clock with the host.
func (e *expected) atTip(b *messages.Batch) bool {
	if e.since == 0 {
		e.since = b.TimeUS
	} else {
		e.pending += max(b.Waited, time.Millisecond)
	}
	passed := time.Duration(b.TimeUS-e.since) * time.Microsecond
	return e.present.Host != "" && b.TimeUS >= e.present.US || b.Waited >= tipPause || e.pending >= longPending ||
		e.pending >= tipPace && passed <= e.pending+e.pending/4
}

// reach moves the position to the end of the batch. While the replay has not reached the former end
// of the stream, it moves only at.Replay. It says whether anything moved.
func (e *expected) reach(b *messages.Batch, at *messages.Checkpoint, past bool) (moved bool) {
	if b.TimeUS <= 0 {
		return false
	}
	end := messages.Position{Host: e.host, Seq: b.Seq, TimeUS: b.TimeUS}
	if at.Host == e.host {
		// The position never goes back: the event with the later time is stored, too.
		end.TimeUS = max(end.TimeUS, at.TimeUS)
	}
	if end.TimeUS = min(end.TimeUS, b.PresentUS); end.TimeUS != b.TimeUS {
		end.StampUS = b.TimeUS
	}
	if end.Seq > 0 && end.Seq < e.seq {
		// The server repeats itself: no position goes back within one connection.
		return false
	}
	e.seq = end.Seq
	numbered := e.resume.Seq > 0 && e.resume.Host == e.host && end.Seq > 0
	e.passed = e.passed || past && !numbered || numbered && end.Seq >= e.resume.Seq
	if e.passed {
		if first := firstStored(b); at.FirstUS == 0 && first != nil {
			if at.FirstUS = first.TimeUS; first.Seq > 0 {
				at.FirstSeq, at.FirstHost = first.Seq, e.host
			}
		}
		moved = at.Position != end
		at.Position, at.Replay = end, messages.Position{}
		return moved
	}
	moved = at.Replay != end
	at.Replay = end
	return moved
}

// beginning is the first position of a feed. A host whose clock is not known may be behind us, so
// the position is then clocksApart earlier. The stream may thus begin with events from before the
// connection.
func beginning(present messages.UpstreamTime) messages.Position {
	if present.Host == "" {
		return messages.Position{TimeUS: present.US - clocksApart.Microseconds(), Moment: true}
	}
	return messages.Position{Host: present.Host, TimeUS: present.US, Moment: true}
}

const (
	// clocksApart is how far a host's clock may be behind ours, where that clock is not known.
	clocksApart = 2 * time.Minute
	// futureTolerance is how far an event's time may lie in our future where the clock of its host
	// is not known. futureMost is the same bound where the host's clock agrees with the event.
	futureTolerance = 5 * time.Minute
	futureMost      = 2 * time.Hour
)

// pendingGap is a gap that is not recorded yet.
type pendingGap struct {
	messages.Gap
	// Record it as soon as the connection is open, if the host tells its clock; else before the
	// first event.
	atOnce bool
	doubt  bool // a suspicion, refuted if the stream holds the first event
	lost   bool // what the store has lost, refuted by a first event that is as old
}

// refuted says whether the first batch shows that nothing is missing.
func (g *pendingGap) refuted(b *messages.Batch, m dedupe.Marked) bool {
	return g.doubt && m.FirstHeld || g.lost && firstEvent(b) <= g.FromUS
}

// hasEvents says whether the batch has an event that may be stored.
func hasEvents(b *messages.Batch) bool { return firstStored(b) != nil }

// firstEvent is the time of the first event that may be stored, or of the batch's end if there is
// none.
func firstEvent(b *messages.Batch) int64 {
	if e := firstStored(b); e != nil {
		return e.TimeUS
	}
	return b.TimeUS
}

// firstStored is the first event that may be stored, nil for none.
func firstStored(b *messages.Batch) *messages.Event {
	for i := range b.Events {
		if !b.Events[i].Drop {
			return &b.Events[i]
		}
	}
	return nil
}

// limited limits the reports of something frequent: one a minute, with the number of times that it
// happened.
type limited struct {
	told  time.Time
	since int
}

const limitedPeriod = time.Minute

// count adds n. If a report is due, it returns the number to report.
func (l *limited) count(now time.Time, n int) (since int, due bool) {
	l.since += n
	if d := now.Sub(l.told); !l.told.IsZero() && d >= 0 && d < limitedPeriod {
		return 0, false
	}
	since, l.since, l.told = l.since, 0, now
	return since, true
}
