package actors

import (
	"time"

	"tempestd/internal/dedupe"
	"tempestd/messages"
)

// expected is what the writer expects of an epoch's batches, and how it judges them. It is a value without a life of its own: it reads no clock and no store.
type expected struct {
	number messages.Epoch
	next   uint64 // the batch number that comes next; 0 takes none
	host   string
	resume messages.Position // of the host where the epoch resumed by its numbers; else without a number

	from    messages.Position // the place that was asked for
	prove   bool              // nothing is stored and the position stays until the replay has proven itself
	held    bool              // … by a first event that the stream has
	accepts bool              // what the replay begins with is stored, with a gap unless the stream holds it
	said    bool              // the upstream itself said that it cannot go back further

	present messages.UpstreamTime // what the host's clock showed when the connection opened; of no host where it did not say so
	pending time.Duration         // how long batches took that said nothing about where the replay begins
	since   int64                 // upstream time of the end of the first of them, Unix µs
	passed  bool                  // the replay has reached what was the stream's end
	seq     int64                 // the greatest sequence number of the epoch so far
	first   messages.Position     // of the stream's first event, while what comes may be from before it, by its host's numbers
	before  []messages.FormerFilter
	dealt   messages.Position // what stands there and before was dealt with under a filter that is not known
}

// expect begins an epoch.
func expect(m *messages.BeginEpoch) expected {
	e := expected{number: m.Epoch, next: 1, host: m.Host, prove: m.Prove && !m.Accept, held: m.Held, accepts: m.Accept, before: m.Before, dealt: m.Passed, passed: !m.Overlap, from: m.From}
	if m.Overlap && m.Resume.FirstHost == m.Host {
		e.first = messages.Position{Seq: m.Resume.FirstSeq, TimeUS: m.Resume.FirstUS}
	}
	if m.BySeq {
		e.resume = m.Resume.Position
	}
	return e
}

// begun says whether there was an epoch at all, and so a position.
func (e *expected) begun() bool { return e.number > 0 }

// refuse takes no more of the epoch's batches: none has the number 0.
func (e *expected) refuse() { e.next = 0 }

// startsAt says whether the epoch began at the event with the number and time: it was dealt with before.
func (e *expected) startsAt(seq, timeUS int64) bool {
	return e.from.TimeUS > 0 && e.from.IsOf(seq, timeUS)
}

// takes says whether the batch is the one that comes next, and counts it.
func (e *expected) takes(b *messages.Batch) bool {
	if b.Epoch != e.number || b.Number != e.next {
		return false
	}
	e.next++
	return true
}

// open is told what the host's clock shows. A filter that was changed while nobody was connected holds from here on.
func (e *expected) open(present messages.UpstreamTime, at *messages.Checkpoint) {
	e.present = present
	for i := range e.before {
		if e.before[i].UntilUS == 0 {
			e.before[i].UntilUS, at.FilterUS = present.US, present.US
		}
	}
}

// dropFormer drops what is from before the stream's first event, which both its number and its time tell, and what is older than the filter and was not wanted by the one
// before it. A filter before is forgotten once an event is past it: what follows stands behind
// it, whatever its time.
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

// unwantedThen says whether the event was not wanted when it happened. A number alone does not tell that it was dealt with, for a server may give one again, nor a time.
func (e *expected) unwantedThen(ev *messages.Event, event []byte) bool {
	if e.dealt.Seq > 0 {
		return ev.Seq <= e.dealt.Seq && ev.TimeUS <= e.dealt.TimeUS
	}
	return len(e.before) > 0 && e.before[0].Wants != nil && !e.before[0].Wants.WantsEvent(event)
}

// verdict is what is to be done with a batch.
type verdict uint8

const (
	take   verdict = iota // store what the stream lacks
	begins                // … and the replay has proven itself with it
	wait                  // it says nothing yet: nothing of it is stored
	refuse                // the replay begins too late: nothing of the epoch is stored
	accept                // it does, and the upstream cannot go back further: store it, with the gap that is pending
)

// judge says what to do with a batch that was compared with the stream.
func (e *expected) judge(b *messages.Batch, m dedupe.Marked) verdict {
	if !e.prove {
		return take
	}
	switch {
	case m.Lead == dedupe.LeadHeld:
		e.prove = false
		return begins
	case m.Lead == dedupe.LeadNone && m.Duplicates+m.Misses == 0: // nothing was looked at
		return wait
	case m.Lead == dedupe.LeadPending && !e.atTip(b):
		return wait
	case m.Lead == dedupe.LeadLate && e.said && m.Skipped == 0:
		e.prove = false
		return accept
	}
	return refuse
}

const (
	// tipPause is how long a connection that replays never needs for a batch.
	tipPause = time.Second
	// tipPace is how long what comes must keep the pace of the clock to be no replay.
	tipPace = 3 * time.Second
	// longPending is how long a replay may take to show where it begins: by then it has sent some millions of events.
	longPending = 2 * time.Minute
)

// atTip says whether the replay is over, as far as can be told without a clock that we share with the host: everything that the stream holds of it was sent before.
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

// reach moves the position to the batch's end, or only the replay where it has not come that far yet. It says whether anything moved forward.
func (e *expected) reach(b *messages.Batch, at *messages.Checkpoint, past bool) (moved bool) {
	if b.TimeUS <= 0 {
		return false
	}
	end := messages.Position{Host: e.host, Seq: b.Seq, TimeUS: b.TimeUS}
	if at.Host == e.host {
		end.TimeUS = max(end.TimeUS, at.TimeUS) // the event that was so late is stored, too
	}
	if end.TimeUS = min(end.TimeUS, b.PresentUS); end.TimeUS != b.TimeUS {
		end.StampUS = b.TimeUS
	}
	if end.Seq > 0 && end.Seq < e.seq {
		return false // a server that repeats itself: no position goes back on one connection
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

// beginning is the position of a feed that stands nowhere yet. A host whose clock is not known may be behind ours: what it sends from before is then stored in front.
func beginning(present messages.UpstreamTime) messages.Position {
	if present.Host == "" {
		return messages.Position{TimeUS: present.US - clocksApart.Microseconds(), Moment: true}
	}
	return messages.Position{Host: present.Host, TimeUS: present.US, Moment: true}
}

const (
	// clocksApart is how far a host's clock may be behind ours where nothing is known of it.
	clocksApart = 2 * time.Minute
	// futureTolerance is how far an event's time may lie in our future where nothing is known of its host's clock, futureMost where the host agrees with it.
	futureTolerance = 5 * time.Minute
	futureMost      = 2 * time.Hour
)

// pendingGap is a gap that is not recorded yet.
type pendingGap struct {
	messages.Gap
	atOnce bool // recorded as soon as the connection stands, where the host tells its clock; else before the first event
	doubt  bool // a suspicion, refuted where the stream holds the first event
	lost   bool // what the store has lost, refuted by a first event that is as old
}

// refuted says whether the first batch shows that nothing is missing after all.
func (g *pendingGap) refuted(b *messages.Batch, m dedupe.Marked) bool {
	return g.doubt && m.Held || g.lost && firstEvent(b) <= g.FromUS
}

// hasEvents says whether anything of the batch may be stored.
func hasEvents(b *messages.Batch) bool { return firstStored(b) != nil }

// firstEvent is the time of the first event that may be stored.
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

// limited tells of something that may happen often: once a minute, with how often it happened.
type limited struct {
	told  time.Time
	since int
}

const limitedPeriod = time.Minute

// count adds n and says whether it is time to tell, and of how many.
func (l *limited) count(now time.Time, n int) (since int, due bool) {
	l.since += n
	if d := now.Sub(l.told); !l.told.IsZero() && d >= 0 && d < limitedPeriod {
		return 0, false
	}
	since, l.since, l.told = l.since, 0, now
	return since, true
}
