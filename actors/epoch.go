package actors

import (
	"cmp"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// epoch is what the committer knows of the epoch under way. It reads no clock and no store.
type epoch struct {
	number messages.Epoch
	next   uint64 // the batch number that comes next; 0 accepts none
	host   string
	dated  bool              // the host has told its clock
	from   messages.Position // the place that was asked for
	expectation

	// The way of the position.

	// numbered is the position if the epoch resumed by its host's sequence numbers; else it is
	// zero.
	numbered messages.Position
	caughtUp bool  // the replay has reached the former end of the stream
	seq      int64 // the greatest sequence number of the epoch so far

	// What was not wanted when it happened.

	// sinceUS is the time at which the feed begins, 0 for none: see messages.Fill.
	sinceUS int64
	// first is the stream's first event by its host's numbers, while the replay may bring events
	// from before it.
	first         messages.Position
	former        []messages.FormerFilter
	unwantedUntil messages.Position // as in BeginEpoch
}

// newEpoch makes the epoch that begins with m.
func newEpoch(m *BeginEpoch) epoch {
	overlap := m.Plan.Overlap != jetstream.OverlapNone
	e := epoch{number: m.Epoch, next: 1, host: m.Host, from: m.Plan.From, expectation: expect(m), caughtUp: !overlap,
		former: m.FormerFilters, unwantedUntil: m.UnwantedUntil}
	if overlap && m.Resume.FirstHost == m.Host {
		e.first = messages.Position{Seq: m.Resume.FirstSeq, TimeUS: m.Resume.FirstUS}
	}
	if fill := m.Resume.Fill; fill != nil {
		e.sinceUS = fill.SinceUS
	}
	if m.bySeq() {
		e.numbered = m.Resume.Position
	}
	return e
}

// isNone says whether no epoch has begun yet, so that the writer knows no position.
func (e *epoch) isNone() bool { return e.number == 0 }

// close makes e accept no more batches: no batch has the number 0.
func (e *epoch) close() { e.next = 0 }

// accepts says whether the batch is the next one, and counts it.
func (e *epoch) accepts(b *messages.Batch) bool {
	if b.Epoch != e.number || b.Number != e.next {
		return false
	}
	e.next++
	return true
}

// startsAt says whether the epoch was asked to begin at the event with this number and time. That
// event was handled before.
func (e *epoch) startsAt(seq, timeUS int64) bool {
	return e.from.TimeUS > 0 && e.from.IsOf(seq, timeUS)
}

// open notes that the connection is open. A filter that changed while none was open takes effect at
// this moment of the host's clock.
func (e *epoch) open(present messages.UpstreamTime, at *messages.Checkpoint) {
	e.dated = present.Host != ""
	for i := range e.former {
		if e.former[i].UntilUS == 0 {
			e.former[i].UntilUS, at.FilterUS = present.US, present.US
		}
	}
}

// dropUnwanted drops three kinds of events: those from before the time at which the feed begins,
// those from before the stream's first event, by both number and time (the events of one commit
// share a time), and those that are older than the filter and that the filter before it did not
// want. A former filter is forgotten once an event is past its end: all later events come behind
// that end, whatever their times.
func (e *epoch) dropUnwanted(b *messages.Batch) (dropped int) {
	if len(e.former) == 0 && e.unwantedUntil.Seq == 0 && e.first.Seq == 0 && e.sinceUS == 0 {
		return 0
	}
	for i := range b.Events {
		ev := &b.Events[i]
		for len(e.former) > 0 && e.former[0].UntilUS > 0 && ev.TimeUS >= e.former[0].UntilUS {
			e.former = e.former[1:]
		}
		if ev.Seq >= e.first.Seq {
			e.first.Seq = 0
		}
		if ev.TimeUS < e.sinceUS || ev.Seq < e.first.Seq && ev.TimeUS <= e.first.TimeUS || e.unwantedThen(ev, b.Bytes(i)) {
			ev.Drop = true
			dropped++
		}
	}
	return dropped
}

// unwantedThen says whether the event was not wanted when it happened. With unwantedUntil it
// compares both the number and the time, because a server may give a number again, and a time as
// well.
func (e *epoch) unwantedThen(ev *messages.Event, event []byte) bool {
	if e.unwantedUntil.Seq > 0 {
		return ev.Seq <= e.unwantedUntil.Seq && ev.TimeUS <= e.unwantedUntil.TimeUS
	}
	return len(e.former) > 0 && e.former[0].Wants != nil && !e.former[0].Wants.WantsEvent(event)
}

// reach moves the position to the end of the batch. While the replay has not reached the former end
// of the stream, it moves only at.Replay. It says whether anything moved.
func (e *epoch) reach(b *messages.Batch, at *messages.Checkpoint, past bool) (moved bool) {
	if b.TimeUS <= 0 {
		return false
	}
	end := messages.Position{Host: e.host, Seq: b.Seq, TimeUS: b.TimeUS}
	if at.Host == e.host {
		// The position never goes back: the event with the later time is stored, too.
		end.TimeUS = max(end.TimeUS, at.TimeUS)
	}
	present := b.PresentUS
	if at.Host == e.host && !e.dated {
		// The events of a replay tell an earlier present than the host's clock shows. That clock had
		// reached the position.
		present = max(present, at.TimeUS)
	}
	if end.TimeUS > present {
		// The bound is generous. A position that lies beyond the host's true present, if only by
		// seconds, covers events that are still to come.
		end.TimeUS = b.ReachedUS
		if at.Host == e.host {
			end.TimeUS = max(end.TimeUS, min(at.TimeUS, present))
		}
	}
	if end.TimeUS != b.TimeUS {
		end.StampUS = b.TimeUS
	}
	if end.Seq > 0 && end.Seq < e.seq {
		// The server repeats itself: no position goes back within one connection.
		return false
	}
	e.seq = end.Seq
	numbered := e.numbered.Seq > 0 && e.numbered.Host == e.host && end.Seq > 0
	e.caughtUp = e.caughtUp || past && !numbered || numbered && end.Seq >= e.numbered.Seq
	if !e.caughtUp {
		moved = at.Replay != end
		at.Replay = end
		return moved
	}
	if first := firstStored(b); at.FirstUS == 0 && first != nil {
		// Its own time: a later replay shows that, and not one that our clock has bounded.
		if at.FirstUS = cmp.Or(ownUS(b, first), first.TimeUS); first.Seq > 0 {
			at.FirstSeq, at.FirstHost = first.Seq, e.host
		}
	}
	moved = at.Position != end
	at.Position, at.Replay = end, messages.Position{}
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

// clocksApart is how far a host's clock may be behind ours, where that clock is not known.
const clocksApart = 2 * time.Minute

// firstUS is the time of the first event that may be stored, or of the batch's end if there is
// none.
func firstUS(b *messages.Batch) int64 {
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
