package actors

import (
	"testing"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// How far an epoch moves the position, or the replay on its way there.
func TestReach(t *testing.T) {
	at := func(host string, seq, us int64) messages.Position {
		return messages.Position{Host: host, Seq: seq, TimeUS: us}
	}
	stamped := func(p messages.Position, us int64) messages.Position { p.StampUS = us; return p }
	bySeq := jetstream.Plan{Overlap: jetstream.OverlapShort, Proof: jetstream.ProofExact, Cursor: jetstream.SequenceCursor("a", 5)}
	byTime := jetstream.Plan{Overlap: jetstream.OverlapFull, Proof: jetstream.ProofHeld, Cursor: jetstream.TimeCursor(50)}
	for name, c := range map[string]struct {
		plan      jetstream.Plan
		before    messages.Checkpoint
		seen      int64 // the greatest number of the epoch so far
		end       messages.Position
		presentUS int64
		past      bool // the comparison with the stream shows that the replay is past its end
		moved     bool
		position  messages.Position
		replay    messages.Position
	}{
		"nothing overlaps":                  {before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("b", 7, 90), moved: true, position: at("b", 7, 90)},
		"it stays where it was":             {before: messages.Checkpoint{Position: at("b", 7, 90)}, end: at("b", 7, 90), position: at("b", 7, 90)},
		"the batch shows no place":          {before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("a", 0, 0), position: at("a", 5, 100)},
		"the same host's time goes back":    {before: messages.Checkpoint{Position: at("b", 7, 95)}, end: at("b", 8, 90), moved: true, position: stamped(at("b", 8, 95), 90)},
		"an event's time is in the future":  {end: at("b", 8, 900), presentUS: 120, moved: true, position: stamped(at("b", 8, 110), 900)},
		"the same behind a later event":     {before: messages.Checkpoint{Position: at("b", 7, 115)}, end: at("b", 8, 900), presentUS: 120, moved: true, position: stamped(at("b", 8, 115), 900)},
		"a replay tells an earlier present": {before: messages.Checkpoint{Position: at("b", 7, 500)}, end: at("b", 8, 600), presentUS: 120, moved: true, position: stamped(at("b", 8, 500), 600)},
		"the server repeats itself":         {before: messages.Checkpoint{Position: at("b", 9, 99)}, seen: 9, end: at("b", 8, 98), position: at("b", 9, 99)},

		"a replay by time on the way":     {plan: byTime, before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("b", 7, 90), moved: true, position: at("a", 5, 100), replay: at("b", 7, 90)},
		"a replay by time at the end":     {plan: byTime, before: messages.Checkpoint{Position: at("a", 5, 100), Replay: at("b", 7, 90)}, end: at("b", 8, 101), past: true, moved: true, position: at("b", 8, 101)},
		"a replay by number on the way":   {plan: bySeq, before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("a", 4, 100), past: true, moved: true, position: at("a", 5, 100), replay: at("a", 4, 100)},
		"a replay by number at the end":   {plan: bySeq, before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("a", 6, 101), moved: true, position: at("a", 6, 101)},
		"a replay by number without one":  {plan: bySeq, before: messages.Checkpoint{Position: at("a", 5, 100)}, end: at("a", 0, 101), moved: true, position: at("a", 5, 100), replay: at("a", 0, 101)},
		"a replay that is where it stood": {plan: byTime, before: messages.Checkpoint{Position: at("a", 5, 100), Replay: at("b", 7, 90)}, end: at("b", 7, 90), position: at("a", 5, 100), replay: at("b", 7, 90)},
	} {
		host := c.end.Host
		e := newEpoch(&BeginEpoch{Epoch: 1, Host: host, Resume: c.before, Plan: c.plan})
		e.seq = c.seen
		if c.presentUS == 0 {
			c.presentUS = 1000
		}
		got := c.before
		moved := e.reach(&messages.Batch{Seq: c.end.Seq, TimeUS: c.end.TimeUS, PresentUS: c.presentUS, ReachedUS: c.presentUS - 10}, &got, c.past)
		if moved != c.moved || got.Position != c.position || got.Replay != c.replay {
			t.Errorf("%s: moved %v to %+v, replay %+v; want %v, %+v, %+v", name, moved, got.Position, got.Replay, c.moved, c.position, c.replay)
		}
	}
}

// A batch of an older connection, one that comes twice, and one behind another that is missing are
// not stored. After the epoch's end none is.
func TestOnlyTheNextBatchOfTheEpochIsAccepted(t *testing.T) {
	e := newEpoch(&BeginEpoch{Epoch: 2, Host: "a"})
	for _, c := range []struct {
		epoch  messages.Epoch
		number uint64
		want   bool
	}{{1, 1, false}, {2, 2, false}, {2, 1, true}, {2, 1, false}, {3, 2, false}, {2, 3, false}, {2, 2, true}} {
		if got := e.accepts(&messages.Batch{Epoch: c.epoch, Number: c.number}); got != c.want {
			t.Errorf("batch %d of epoch %d is accepted: %v", c.number, c.epoch, got)
		}
	}
	e.close()
	if e.accepts(&messages.Batch{Epoch: 2, Number: 3}) {
		t.Error("a batch is accepted after the end of its epoch")
	}
}

// The events of one commit share a time. If the stream begins with one of them, those before it are
// from before the stream, and nothing that comes behind it is, whatever its time.
func TestI3_EventsFromBeforeTheFirstOneAreLeftOut(t *testing.T) {
	type event struct {
		seq, us int64
		drop    bool
	}
	for name, events := range map[string][]event{
		"older events":                    {{seq: 3, us: 98, drop: true}, {seq: 4, us: 99, drop: true}, {seq: 5, us: 100}, {seq: 6, us: 101}},
		"within a commit":                 {{seq: 3, us: 100, drop: true}, {seq: 4, us: 100, drop: true}, {seq: 5, us: 100}, {seq: 6, us: 100}},
		"a lower number and a later time": {{seq: 4, us: 101}},
		"an earlier time behind it":       {{seq: 5, us: 100}, {seq: 4, us: 99}, {seq: 6, us: 99}},
	} {
		e := newEpoch(&BeginEpoch{Epoch: 1, Host: "a", Plan: jetstream.Plan{Overlap: jetstream.OverlapFull},
			Resume: messages.Checkpoint{FirstHost: "a", FirstSeq: 5, FirstUS: 100}})
		b := &messages.Batch{}
		for _, ev := range events {
			b.Events = append(b.Events, messages.Event{Seq: ev.seq, TimeUS: ev.us})
		}
		e.dropUnwanted(b)
		for i, ev := range events {
			if got := b.Events[i].Drop; got != ev.drop {
				t.Errorf("%s: event %+v is left out: %v", name, ev, got)
			}
		}
	}
}
