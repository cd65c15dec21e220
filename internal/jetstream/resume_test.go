package jetstream_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// ago is the Unix µs that long before noon.
func ago(d time.Duration) int64 { return noon.Add(-d).UnixMicro() }

func TestPlanResume(t *testing.T) {
	const host = "a.example:443"
	here, there := endpoint(t, "a.example"), endpoint(t, "b.example")
	at := func(seq int64, d time.Duration) messages.Position {
		return messages.Position{Host: host, Seq: seq, TimeUS: ago(d)}
	}
	for name, c := range map[string]struct {
		cp     messages.Checkpoint
		to     jetstream.Endpoint
		byTime bool
		want   jetstream.Cursor
		behind time.Duration
	}{
		"a clean end: the exact sequence": {messages.Checkpoint{Position: at(50_000, time.Hour), Clean: true}, here, false,
			jetstream.SequenceCursor(host, 50_000), time.Hour},
		"an unclean end: rewound by two blocks": {messages.Checkpoint{Position: at(50_000, time.Hour)}, here, false,
			jetstream.SequenceCursor(host, 50_000-8192), time.Hour},
		"never rewound below the first": {messages.Checkpoint{Position: at(5, time.Hour)}, here, false, jetstream.SequenceCursor(host, 1), time.Hour},
		"another host: the time":        {messages.Checkpoint{Position: at(50_000, time.Hour), Clean: true}, there, false, jetstream.TimeCursor(ago(time.Hour + time.Minute)), time.Hour},
		"no sequence: the time":         {messages.Checkpoint{Position: at(0, time.Hour), Clean: true}, here, false, jetstream.TimeCursor(ago(time.Hour + time.Minute)), time.Hour},
		"a sequence begun anew: the time": {messages.Checkpoint{Position: at(50_000, time.Hour), Clean: true}, here, true,
			jetstream.TimeCursor(ago(time.Hour + time.Minute)), time.Hour},
		"a quiet feed: its last event": {messages.Checkpoint{Position: at(50_000, 5*time.Hour), AtTip: ago(time.Minute)}, here, false,
			jetstream.SequenceCursor(host, 50_000-8192), time.Minute},
		"a very quiet feed: the last moment it stood at the tip": {messages.Checkpoint{Position: at(50_000, 30*time.Hour), AtTip: ago(time.Hour), Clean: true}, here, false,
			jetstream.TimeCursor(ago(time.Hour + time.Minute)), time.Hour},
		"no event yet: likewise":            {messages.Checkpoint{AtTip: ago(time.Hour)}, here, false, jetstream.TimeCursor(ago(time.Hour + time.Minute)), time.Hour},
		"a time in the future: the present": {messages.Checkpoint{Position: at(0, -time.Hour)}, here, false, jetstream.TimeCursor(ago(time.Minute)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := jetstream.PlanResume(jetstream.Resume{Checkpoint: c.cp, Found: true, Endpoint: c.to, Now: noon,
				ReplayWindow: 12 * time.Hour, Rewind: time.Minute, ByTime: c.byTime})
			if want := (jetstream.Plan{Cursor: c.want, Overlap: true, Behind: c.behind}); got != want {
				t.Errorf("the plan is %v, want %v", got, want)
			}
		})
	}
	t.Run("nothing stored: live", func(t *testing.T) {
		for _, r := range []jetstream.Resume{{Endpoint: here, Now: noon}, {Endpoint: here, Now: noon, Found: true}} {
			if got := jetstream.PlanResume(r); got != (jetstream.Plan{}) {
				t.Errorf("the plan is %v", got)
			}
		}
	})
}

func TestI4_ResumeBeyondTheReplayWindowIsAGap(t *testing.T) {
	r := jetstream.Resume{Found: true, Endpoint: endpoint(t, "a.example"), Now: noon, ReplayWindow: 12 * time.Hour, Rewind: time.Minute}
	r.Checkpoint.Position = messages.Position{Host: "a.example:443", Seq: 7, TimeUS: ago(12*time.Hour + time.Microsecond)}
	got := jetstream.PlanResume(r)
	if !got.Cursor.IsLive() || got.Overlap || got.Gap == nil {
		t.Fatalf("the plan is %+v", got)
	}
	if want := (messages.Gap{Host: "a.example:443", FromUS: r.Checkpoint.TimeUS, Cause: messages.GapReplayWindow}); *got.Gap != want {
		t.Errorf("the gap is %+v, want %+v", *got.Gap, want)
	}
	r.Checkpoint.TimeUS++
	if got := jetstream.PlanResume(r); got.Gap != nil || got.Cursor.IsLive() {
		t.Errorf("at the window's edge the plan is %+v", got)
	}
	r.Checkpoint.TimeUS, r.ReplayWindow = 1, 0
	if got := jetstream.PlanResume(r); got.Gap != nil {
		t.Errorf("without a window the plan is %+v", got)
	}
}

// Whatever the checkpoint says, a plan either asks for no later than what is covered, or names the gap.
func TestI4_NoPlanLeavesASilentGap(t *testing.T) {
	here := endpoint(t, "a.example")
	rapid.Check(t, func(t *rapid.T) {
		when := rapid.Int64Range(ago(72*time.Hour), ago(-time.Hour))
		cp := messages.Checkpoint{Clean: rapid.Bool().Draw(t, "clean"), Position: messages.Position{
			Host:   rapid.SampledFrom([]string{"", "a.example:443", "b.example:443"}).Draw(t, "host"),
			Seq:    rapid.Int64Range(-5, 50_000).Draw(t, "seq"),
			TimeUS: rapid.OneOf(when, rapid.Just(int64(0))).Draw(t, "time")}}
		cp.AtTip = rapid.OneOf(when, rapid.Just(int64(0))).Draw(t, "at tip")
		plan := jetstream.PlanResume(jetstream.Resume{Checkpoint: cp, Found: true, Endpoint: here, Now: noon, ReplayWindow: 12 * time.Hour,
			Rewind: time.Minute, ByTime: rapid.Bool().Draw(t, "by time")})
		host, seq, bySeq := plan.Cursor.Sequence()
		us, byTime := plan.Cursor.TimeUS()
		switch {
		case plan.Behind < 0:
			t.Fatalf("behind %v", plan.Behind)
		case bySeq:
			if host != here.Host() || host != cp.Host || seq > cp.Seq || seq < 1 || !plan.Overlap {
				t.Fatalf("%v after %+v", plan, cp)
			}
		case byTime:
			if us > cp.CoveredUS() || us > noon.UnixMicro() || !plan.Overlap {
				t.Fatalf("%v after %+v", plan, cp)
			}
		default:
			if plan.Overlap || (plan.Gap == nil) != (cp.CoveredUS() == 0) {
				t.Fatalf("%v after %+v", plan, cp)
			}
		}
	})
}

func TestVerifyFirst(t *testing.T) {
	cp := messages.Checkpoint{Position: messages.Position{Host: "h:1", Seq: 1000, TimeUS: ago(time.Minute)}}
	first := func(seq int64, d time.Duration) messages.Event { return messages.Event{Seq: seq, TimeUS: ago(d)} }
	exact, rewound, byTime := jetstream.SequenceCursor("h:1", 1000), jetstream.SequenceCursor("h:1", 900), jetstream.TimeCursor(ago(2*time.Minute))
	for name, c := range map[string]struct {
		asked    jetstream.Cursor
		first    messages.Event
		outdated bool
		want     jetstream.FirstFrame
	}{
		"live, anything":                             {jetstream.Cursor{}, first(1, 0), false, jetstream.FirstContinues},
		"the very event":                             {exact, first(1000, time.Minute), false, jetstream.FirstContinues},
		"the very number, a later event":             {exact, first(1000, time.Second), false, jetstream.FirstSequenceReset},
		"a number below":                             {exact, first(999, time.Second), false, jetstream.FirstSequenceReset},
		"no number":                                  {exact, first(0, time.Second), false, jetstream.FirstSequenceReset},
		"a number above":                             {exact, first(1001, time.Second), false, jetstream.FirstLate},
		"rewound, the first of the replay":           {rewound, first(900, 2*time.Minute), false, jetstream.FirstContinues},
		"rewound, compacted":                         {rewound, first(950, 2*time.Minute), false, jetstream.FirstContinues},
		"rewound, past what is stored":               {rewound, first(1200, 0), false, jetstream.FirstLate},
		"rewound, below":                             {rewound, first(12, 0), false, jetstream.FirstSequenceReset},
		"by time, from far before":                   {byTime, first(3, time.Hour), false, jetstream.FirstContinues},
		"by time, the last stored event":             {byTime, first(3, time.Minute), false, jetstream.FirstContinues},
		"by time, past what is stored":               {byTime, first(3, 0), false, jetstream.FirstLate},
		"by time after the last event, a quiet feed": {jetstream.TimeCursor(ago(time.Second)), first(3, 0), false, jetstream.FirstContinues},
		"rewound, a number below, a later event":     {rewound, first(950, time.Second), false, jetstream.FirstSequenceReset},
		"by time, outdated, still before":            {byTime, first(3, 90*time.Second), true, jetstream.FirstContinues},
		"by time after the last event, outdated":     {jetstream.TimeCursor(ago(time.Second)), first(3, 0), true, jetstream.FirstLate},
		"by time, outdated, at what was asked for":   {jetstream.TimeCursor(ago(time.Second)), first(3, time.Second), true, jetstream.FirstContinues},
	} {
		if got := jetstream.VerifyFirst(c.asked, cp, c.first, c.outdated); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
