package jetstream_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// ago returns the Unix µs at d before noon.
func ago(d time.Duration) int64 { return noon.Add(-d).UnixMicro() }

const hostA = "a.example:443"

// at returns the position of the event with the number seq, at d before noon, on host a.
func at(seq int64, d time.Duration) messages.Position {
	return messages.Position{Host: hostA, Seq: seq, TimeUS: ago(d)}
}

func TestPlanResume(t *testing.T) {
	here, there := endpoint(t, "a.example"), endpoint(t, "b.example")
	hour := messages.Checkpoint{Position: at(50_000, time.Hour)}
	byTime := func(d time.Duration) jetstream.Cursor { return jetstream.TimeCursor(ago(d)) }
	bySeq := func(n int64) jetstream.Cursor { return jetstream.SequenceCursor(hostA, n) }
	type reach = jetstream.Reach
	for name, c := range map[string]struct {
		r      jetstream.Resume
		to     jetstream.Endpoint
		cursor jetstream.Cursor
		proof  jetstream.Proof
		accept bool
		skip   bool
	}{
		"the very event, which proves that the numbers stand": {r: jetstream.Resume{Checkpoint: hour}, to: here, cursor: bySeq(50_000), proof: jetstream.ProofExact},
		"it was not there: two blocks before":                 {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 1}}, to: here, cursor: bySeq(50_000 - 8192), proof: jetstream.ProofHeld},
		"never below the first":                               {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(5, time.Hour)}, Reach: reach{Late: 1}}, to: here, cursor: bySeq(1), proof: jetstream.ProofHeld},
		"nor there: by time":                                  {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 2}}, to: here, cursor: byTime(time.Hour), proof: jetstream.ProofHeld},
		"nor there: further back":                             {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 4}}, to: here, cursor: byTime(time.Hour + 6*time.Minute), proof: jetstream.ProofHeld},
		"as far as the window, which is accepted":             {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 20}}, to: here, cursor: byTime(13 * time.Hour), proof: jetstream.ProofHeld, accept: true},
		"an event of another clock, as far as it takes":       {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 3}}, to: there, cursor: byTime(time.Hour + 36*time.Minute), proof: jetstream.ProofHeld},
		"on a host whose clock is past it, soon": {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 4}, HostNow: messages.UpstreamTime{Host: hostA, US: ago(0)}, Dated: true}, to: here,
			cursor: byTime(time.Hour + 6*time.Minute), proof: jetstream.ProofHeld, accept: true},
		"not soon where events alone tell its clock": {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Late: 4}, HostNow: messages.UpstreamTime{Host: hostA, US: ago(0)}}, to: here,
			cursor: byTime(time.Hour + 6*time.Minute), proof: jetstream.ProofHeld},
		"another host: by time":             {r: jetstream.Resume{Checkpoint: hour}, to: there, cursor: byTime(time.Hour + 10*time.Second), proof: jetstream.ProofHeld},
		"another host, whose clock differs": {r: jetstream.Resume{Checkpoint: hour, Ahead: -7 * time.Minute}, to: there, cursor: byTime(time.Hour + 7*time.Minute + 10*time.Second), proof: jetstream.ProofHeld},
		"no numbers: by time":               {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(0, time.Hour)}}, to: here, cursor: byTime(time.Hour), proof: jetstream.ProofHeld},
		"with what an earlier process left": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(0, time.Hour)}, BackfillRewind: 30 * time.Second}, to: here, cursor: byTime(time.Hour + 30*time.Second), proof: jetstream.ProofHeld},
		"numbers that began anew: by time":  {r: jetstream.Resume{Checkpoint: hour, Reach: reach{ByTime: true}}, to: here, cursor: byTime(time.Hour), proof: jetstream.ProofHeld},
		"a changed filter: by time":         {r: jetstream.Resume{Checkpoint: hour, NoProof: true}, to: here, cursor: byTime(time.Hour + 10*time.Second)},

		"a changed filter, on another host: a held event is sought": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, time.Hour), FirstUS: 1}, NoProof: true}, to: there,
			cursor: byTime(time.Hour + 10*time.Second), proof: jetstream.ProofHeld},
		"a changed filter, on the same host: a held event is sought": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, time.Hour), FirstUS: 1}, NoProof: true}, to: here,
			cursor: byTime(time.Hour + 10*time.Second), proof: jetstream.ProofHeld},
		"none was there": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, time.Hour), FirstUS: 1}, NoProof: true, Reach: reach{Late: 1}}, to: there,
			cursor: byTime(time.Hour + 10*time.Second)},
		"none can be, in an empty stream": {r: jetstream.Resume{Checkpoint: hour, NoProof: true}, to: there, cursor: byTime(time.Hour + 10*time.Second)},
		"behind a gap, on another host: a held event is sought": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: messages.Position{Host: hostA, TimeUS: ago(time.Hour), Moment: true}, FirstUS: 1}}, to: there,
			cursor: byTime(time.Hour + 10*time.Second), proof: jetstream.ProofHeld},

		"a replay that was cut goes on where it stood": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, time.Hour),
			Replay: messages.Position{Host: "b.example:443", Seq: 77, TimeUS: ago(2 * time.Hour)}}}, to: there, cursor: jetstream.SequenceCursor("b.example:443", 77), proof: jetstream.ProofExact},
		"cut twice where it began: exactly the next": {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 2, Proven: true}}, to: here, cursor: bySeq(50_001)},
		"which nothing had proven":                   {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 2}}, to: here, cursor: bySeq(50_000), proof: jetstream.ProofExact},
		"a time that was cut is not rewound": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(0, time.Hour)}, Reach: reach{Cut: 1}}, to: here,
			cursor: byTime(time.Hour), proof: jetstream.ProofHeld},
		"poison is passed":            {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 6, Poison: true}}, to: here, cursor: bySeq(50_002), skip: true},
		"more of it each time":        {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 8, Poison: true}}, to: here, cursor: bySeq(50_017), skip: true},
		"all of it at last":           {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 10, Poison: true}}, to: here, skip: true},
		"a server that sends nothing": {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 29}}, to: here, cursor: bySeq(50_000), proof: jetstream.ProofExact},
		"for a quarter of an hour":    {r: jetstream.Resume{Checkpoint: hour, Reach: reach{Cut: 30}}, to: here, skip: true},

		"a quiet feed: its last event": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, 5*time.Hour), AtTip: ago(time.Minute)}}, to: here,
			cursor: bySeq(50_000), proof: jetstream.ProofExact},
		"a very quiet feed: the last moment it stood at the tip": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(50_000, 30*time.Hour), AtTip: ago(time.Hour)}}, to: here,
			cursor: byTime(time.Hour + 10*time.Second)},
		"no event yet: the moment it began": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: messages.Position{Host: hostA, TimeUS: ago(time.Hour), Moment: true}}}, to: here,
			cursor: byTime(time.Hour + 10*time.Second)},
		"a time beyond the host's present: that": {r: jetstream.Resume{Checkpoint: messages.Checkpoint{Position: at(0, -time.Hour)}, HostNow: messages.UpstreamTime{Host: hostA, US: ago(time.Second)}}, to: here,
			cursor: byTime(time.Second), proof: jetstream.ProofHeld},
	} {
		t.Run(name, func(t *testing.T) {
			c.r.Found, c.r.Endpoint, c.r.Now, c.r.ReplayWindow, c.r.Rewind = true, c.to, noon, 12*time.Hour, 10*time.Second
			got := jetstream.PlanResume(c.r)
			if got.Cursor != c.cursor || got.Proof != c.proof || got.Accept != c.accept || (got.Skip != nil) != c.skip || got.Gap != nil {
				t.Errorf("the plan is %+v", got)
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
	old := at(7, 12*time.Hour+time.Microsecond)
	base := jetstream.Resume{Found: true, Endpoint: endpoint(t, "a.example"), Now: noon, ReplayWindow: 12 * time.Hour, Rewind: time.Minute,
		Checkpoint: messages.Checkpoint{Position: old}}
	got := jetstream.PlanResume(base)
	if !got.Cursor.IsLive() || got.Overlap != jetstream.OverlapNone || got.Gap == nil {
		t.Fatalf("the plan is %+v", got)
	}
	if want := (messages.Gap{Host: hostA, FromUS: old.TimeUS, Cause: messages.GapReplayWindow}); *got.Gap != want {
		t.Errorf("the gap is %+v, want %+v", *got.Gap, want)
	}
	for name, change := range map[string]func(*jetstream.Resume){
		"at the window's edge":                      func(r *jetstream.Resume) { r.Checkpoint.TimeUS++ },
		"without a window":                          func(r *jetstream.Resume) { r.Checkpoint.TimeUS, r.ReplayWindow = 1, 0 },
		"where the host's own clock says otherwise": func(r *jetstream.Resume) { r.HostNow = messages.UpstreamTime{Host: hostA, US: ago(time.Hour)} },
		"where we have been awake since":            func(r *jetstream.Resume) { r.Awake = time.Hour },
		"of a server that says so itself":           func(r *jetstream.Resume) { r.Auto, r.Spoken = true, jetstream.ProtocolV2 },
		"of one that may":                           func(r *jetstream.Resume) { r.Auto = true },
	} {
		r := base
		change(&r)
		if got := jetstream.PlanResume(r); got.Gap != nil {
			t.Errorf("%s the plan is %+v", name, got)
		}
	}
	auto := base
	auto.Auto = true
	plan := jetstream.PlanResume(auto)
	if plan.Stands(auto, jetstream.ProtocolV1, messages.UpstreamTime{}) || !plan.Stands(auto, jetstream.ProtocolV2, messages.UpstreamTime{}) {
		t.Error("what is asked of a server that turns out to be v1's is asked too late for it")
	}
	if plan = jetstream.PlanResume(base); plan.Stands(base, jetstream.ProtocolV1, messages.UpstreamTime{Host: hostA, US: ago(time.Hour)}) {
		t.Error("a gap stands although the host's clock says that there is none")
	}
}

// A host whose clock was set back begins at its tip if it is asked for a time that is still to come.
// Where no proof shows that, its clock does.
func TestI4_ATimeThatIsStillToComeIsNotAskedFor(t *testing.T) {
	r := jetstream.Resume{Found: true, Endpoint: endpoint(t, "a.example"), Now: noon, ReplayWindow: 12 * time.Hour, Rewind: 10 * time.Second, Since: time.Minute,
		Checkpoint: messages.Checkpoint{Position: messages.Position{Host: hostA, TimeUS: ago(time.Minute), Moment: true}}}
	back := messages.UpstreamTime{Host: hostA, US: ago(15 * time.Minute)}
	plan := jetstream.PlanResume(r)
	if plan.Stands(r, jetstream.ProtocolV2, back) {
		t.Errorf("%+v stands", plan)
	}
	if !plan.Stands(r, jetstream.ProtocolV2, messages.UpstreamTime{Host: hostA, US: ago(0)}) || !plan.Stands(r, jetstream.ProtocolV2, messages.UpstreamTime{}) {
		t.Error("what is past is not asked for")
	}
	changed := r // a proof that is asked for only where retention has dropped something
	changed.NoProof, changed.Checkpoint = true, messages.Checkpoint{Position: at(7, time.Minute), FirstUS: 1}
	if plan := jetstream.PlanResume(changed); !plan.IfTrimmed || plan.Stands(changed, jetstream.ProtocolV2, back) {
		t.Errorf("after a change of the filter %+v stands", plan)
	}
	r.HostNow = back
	if plan = jetstream.PlanResume(r); !plan.Stands(r, jetstream.ProtocolV2, back) || plan.Cursor != jetstream.TimeCursor(ago(16*time.Minute+10*time.Second)) {
		t.Errorf("then %+v", plan)
	}
	r.Since = 0
	if plan = jetstream.PlanResume(r); plan.Cursor != jetstream.TimeCursor(ago(25*time.Minute+10*time.Second)) {
		t.Errorf("where it is not known how long ago the feed began: %+v", plan)
	}
	r = jetstream.Resume{Endpoint: r.Endpoint, Begin: jetstream.Begin{US: ago(time.Minute)}}
	if plan = jetstream.PlanResume(r); !plan.Stands(r, jetstream.ProtocolV2, back) {
		t.Error("what a feed begins with is not asked for")
	}
}

// A gap has times of one clock, which is that of the host that is asked. Where nothing relates it to
// the clock of the position, the plan says so.
func TestI4_AGapAfterAFailoverIsOfOneClock(t *testing.T) {
	base := jetstream.Resume{Found: true, Endpoint: endpoint(t, "b.example"), Now: noon, ReplayWindow: 12 * time.Hour, Rewind: time.Minute,
		Checkpoint: messages.Checkpoint{Position: at(7, 13*time.Hour)}}
	for name, c := range map[string]struct {
		change  func(*jetstream.Resume)
		from    int64
		foreign bool
	}{
		"both clocks are known":                {func(r *jetstream.Resume) { r.Ahead = -time.Hour }, ago(14*time.Hour + time.Minute), false},
		"it is known how long ago it was":      {func(r *jetstream.Resume) { r.Since, r.HostNow.US = 13*time.Hour, ago(2*time.Hour) }, ago(15*time.Hour + 10*time.Minute), false},
		"the one that leads to an earlier one": {func(r *jetstream.Resume) { r.Ahead, r.Since, r.HostNow.US = -time.Hour, 13*time.Hour, ago(2*time.Hour) }, ago(15*time.Hour + time.Minute), false},
		"nothing is known":                     {func(r *jetstream.Resume) {}, ago(13*time.Hour + 10*time.Minute), true},
		"the host's clock alone":               {func(r *jetstream.Resume) { r.HostNow.US = ago(14 * time.Hour) }, ago(14*time.Hour + 10*time.Minute), true},
		"the same host":                        {func(r *jetstream.Resume) { r.Endpoint = endpoint(t, "a.example") }, ago(13 * time.Hour), false},
	} {
		r := base
		c.change(&r)
		if r.HostNow.US > 0 {
			r.HostNow.Host = r.Endpoint.Host()
		}
		plan := jetstream.PlanResume(r)
		if plan.Gap == nil || plan.Gap.Host != r.Endpoint.Host() || plan.Gap.FromUS != c.from || plan.Covered.US != c.from || (plan.Foreign > 0) != c.foreign {
			t.Errorf("%s: the gap is %+v, the plan %+v", name, plan.Gap, plan)
		}
		if c.foreign && plan.Foreign < 13*time.Hour {
			t.Errorf("%s: it began %v ago", name, plan.Foreign)
		}
	}
}

// For every checkpoint, a plan either asks for a time no later than what is covered, or says what
// is lost.
func TestI4_NoPlanLeavesASilentGap(t *testing.T) {
	here := endpoint(t, "a.example")
	rapid.Check(t, func(t *rapid.T) {
		when := rapid.Int64Range(ago(72*time.Hour), ago(-time.Hour))
		position := func(label string) messages.Position {
			return messages.Position{
				Host:   rapid.SampledFrom([]string{"", hostA, "b.example:443"}).Draw(t, label+" host"),
				Seq:    rapid.Int64Range(-5, 50_000).Draw(t, label+" seq"),
				TimeUS: rapid.OneOf(when, rapid.Just(int64(0))).Draw(t, label+" time"),
				Moment: rapid.Bool().Draw(t, label+" moment")}
		}
		cp := messages.Checkpoint{Position: position("position")}
		if rapid.Bool().Draw(t, "within a replay") {
			cp.Replay = position("replay")
		}
		cp.AtTip = rapid.OneOf(when, rapid.Just(int64(0))).Draw(t, "at tip")
		r := jetstream.Resume{Checkpoint: cp, Found: true, Endpoint: here, Now: noon, ReplayWindow: 12 * time.Hour,
			Auto: rapid.Bool().Draw(t, "auto"), Spoken: rapid.SampledFrom([]jetstream.Protocol{jetstream.ProtocolAuto, jetstream.ProtocolV1, jetstream.ProtocolV2}).Draw(t, "spoken"),
			Rewind: time.Minute, NoProof: rapid.Bool().Draw(t, "no proof"), Awake: time.Duration(rapid.Int64Range(0, int64(20*time.Hour)).Draw(t, "awake")),
			Reach: jetstream.Reach{Late: rapid.IntRange(0, 8).Draw(t, "late"), Cut: rapid.IntRange(0, 34).Draw(t, "cut"), Proven: rapid.Bool().Draw(t, "proven"),
				ByTime: rapid.Bool().Draw(t, "by time"), Poison: rapid.Bool().Draw(t, "poison")}}
		if rapid.Bool().Draw(t, "the host's clock is known") {
			r.HostNow = messages.UpstreamTime{Host: hostA, US: when.Draw(t, "host's clock")}
		}
		plan := jetstream.PlanResume(r)
		host, seq, bySeq := plan.Cursor.Sequence()
		us, byTime := plan.Cursor.TimeUS()
		covered := max(cp.Covered().US, plan.From.TimeUS)
		switch {
		case plan.Behind < 0:
			t.Fatalf("behind %v", plan.Behind)
		case plan.Gap != nil || plan.Skip != nil: // the plan says what is lost
		case bySeq:
			if next := plan.From.Seq + 1; host != here.Host() || host != plan.From.Host || seq > next || seq == next && !r.Reach.Proven || plan.Overlap == jetstream.OverlapNone {
				t.Fatalf("%+v after %+v", plan, cp)
			}
		case byTime:
			if us > covered || r.HostNow.US > 0 && us > r.HostNow.US || plan.Overlap == jetstream.OverlapNone {
				t.Fatalf("%+v after %+v", plan, cp)
			}
		default:
			if plan.Overlap != jetstream.OverlapNone || cp.Covered().US > 0 {
				t.Fatalf("%+v after %+v", plan, cp)
			}
		}
	})
}

func TestVerifyFirst(t *testing.T) {
	from := messages.Position{Host: hostA, Seq: 1000, TimeUS: ago(time.Minute)}
	plan := func(c jetstream.Cursor, proof jetstream.Proof) jetstream.Plan {
		return jetstream.Plan{Cursor: c, From: from, Proof: proof}
	}
	exact := plan(jetstream.SequenceCursor(hostA, 1000), jetstream.ProofExact)
	rewound := plan(jetstream.SequenceCursor(hostA, 900), jetstream.ProofHeld)
	byTime := plan(jetstream.TimeCursor(ago(2*time.Minute)), jetstream.ProofHeld)
	fresh := plan(jetstream.TimeCursor(ago(2*time.Minute)), jetstream.ProofNone)
	fresh.Fresh = true
	for name, c := range map[string]struct {
		plan jetstream.Plan
		seq  int64
		time time.Duration
		said jetstream.Said
		want jetstream.FirstFrame
	}{
		"live, anything":                       {jetstream.Plan{}, 1, 0, jetstream.Said{}, jetstream.FirstContinues},
		"the very event":                       {exact, 1000, time.Minute, jetstream.Said{}, jetstream.FirstExact},
		"the very number, another event":       {exact, 1000, time.Second, jetstream.Said{}, jetstream.FirstLate},
		"a number below":                       {exact, 999, time.Second, jetstream.Said{}, jetstream.FirstSequenceReset},
		"no number":                            {exact, 0, time.Second, jetstream.Said{}, jetstream.FirstSequenceReset},
		"a number above":                       {exact, 1001, time.Second, jetstream.Said{}, jetstream.FirstLate},
		"a number in its future":               {exact, 1001, time.Second, jetstream.Said{Future: true}, jetstream.FirstSequenceReset},
		"rewound, the first of the replay":     {rewound, 900, 2 * time.Minute, jetstream.Said{}, jetstream.FirstContinues},
		"rewound, below":                       {rewound, 12, 0, jetstream.Said{}, jetstream.FirstSequenceReset},
		"by time, from far before":             {byTime, 3, time.Hour, jetstream.Said{}, jetstream.FirstContinues},
		"by time, outdated, still before":      {byTime, 3, 3 * time.Minute, jetstream.Said{Outdated: true}, jetstream.FirstContinues},
		"by time, outdated, a feed just begun": {fresh, 3, time.Second, jetstream.Said{Outdated: true}, jetstream.FirstContinues},
		"by time, outdated, later than asked":  {byTime, 3, time.Second, jetstream.Said{Outdated: true}, jetstream.FirstLate},
	} {
		if got := jetstream.VerifyFirst(c.plan, c.seq, ago(c.time), c.said); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHostClock(t *testing.T) {
	at := noon.UnixMicro()
	var c jetstream.HostClock
	if _, ok := c.Earliest(0); ok {
		t.Fatal("it knows something")
	}
	for range 2 {
		c.SawEvent(at, 0)
		if us, ok := c.Latest(0); ok {
			t.Fatalf("one or two events tell that it is %s at the latest", time.UnixMicro(us))
		}
	}
	c = jetstream.HostClock{}
	second := time.Second.Microseconds()
	for i := range int64(5) {
		c.SawEvent(at+i*second, time.Duration(i)*time.Second)
	}
	c.SawEvent(at+time.Hour.Microseconds(), 5*time.Second) // one event with a wrong time
	if us, ok := c.Earliest(10 * time.Second); !ok || us != at+10*second {
		t.Errorf("events tell that it is %s", time.UnixMicro(us))
	}
	if us, ok := c.Latest(10 * time.Second); !ok || us > at+20*second {
		t.Errorf("at the latest %s", time.UnixMicro(us))
	}
	c.SawDate(noon.Add(-time.Hour), 20*time.Second) // the clock was set back
	if us, _ := c.Earliest(21 * time.Second); us != noon.Add(-time.Hour+time.Second).UnixMicro() {
		t.Errorf("the Date tells that it is %s", time.UnixMicro(us))
	}
	if us, ok := c.Latest(21 * time.Second); !ok || us < noon.Add(-time.Hour+2*time.Second).UnixMicro() || us > noon.Add(-time.Hour+10*time.Second).UnixMicro() {
		t.Errorf("at the latest %s", time.UnixMicro(us))
	}
	c.SawEvent(at, 22*time.Second) // the first one since then, from the future
	if us, ok := c.Latest(22 * time.Second); !ok || us > noon.Add(-time.Hour+10*time.Second).UnixMicro() {
		t.Errorf("one event tells that it is %s at the latest", time.UnixMicro(us))
	}
}

// A feed without a position begins where it is to begin, whatever its checkpoint and window say.
func TestPlanOfABeginning(t *testing.T) {
	here := endpoint(t, "a.example")
	r := jetstream.Resume{Endpoint: here, Now: noon, ReplayWindow: 12 * time.Hour, Rewind: time.Minute,
		Checkpoint: messages.Checkpoint{Position: messages.Position{Host: hostA, TimeUS: ago(100 * time.Hour), Moment: true}}}
	r.Begin.US = ago(100 * time.Hour)
	if p := jetstream.PlanResume(r); p.Cursor != jetstream.TimeCursor(ago(100*time.Hour)) || p.Gap != nil || p.Overlap != jetstream.OverlapNone {
		t.Errorf("a time: %+v", p)
	}
	r.Begin = jetstream.Begin{Earliest: true}
	if p := jetstream.PlanResume(r); p.Cursor != jetstream.TimeCursor(0) || p.Gap != nil {
		t.Errorf("the earliest event: %+v", p)
	}
}

// After its archive a host is asked for the last number of it, however old that is. Where the socket
// does not go back so far, what lies between is lost.
func TestI4_PlanBehindAnArchive(t *testing.T) {
	here, there := endpoint(t, "a.example"), endpoint(t, "b.example")
	r := jetstream.Resume{Endpoint: here, Found: true, Now: noon, ReplayWindow: 12 * time.Hour, Rewind: time.Minute, Swept: true,
		Checkpoint: messages.Checkpoint{Position: at(50_000, 30*time.Hour)}}
	if p := jetstream.PlanResume(r); p.Cursor != jetstream.SequenceCursor(hostA, 50_000) || p.Gap != nil || p.Proof != jetstream.ProofNone || p.Overlap == jetstream.OverlapNone {
		t.Errorf("%+v", p)
	}
	r.Endpoint = there
	if p := jetstream.PlanResume(r); p.Gap == nil {
		t.Errorf("another host has other numbers: %+v", p)
	}
	r.Endpoint, r.Swept, r.Unreachable = here, false, true
	if p := jetstream.PlanResume(r); p.Skip == nil || p.Skip.Cause != messages.GapServerMoved || p.Skip.FromUS != ago(30*time.Hour) {
		t.Errorf("a socket that does not go back so far: %+v", p)
	}
}

// The first event tells whether a socket goes back to the beginning. An upstream that says nothing
// is judged by the event's time.
func TestFirstEventOfABeginning(t *testing.T) {
	begin := ago(24 * time.Hour)
	p := jetstream.Plan{Begin: jetstream.Begin{US: begin}, Cursor: jetstream.TimeCursor(begin)}
	late := begin + time.Hour.Microseconds()
	for name, c := range map[string]struct {
		plan jetstream.Plan
		us   int64
		said jetstream.Said
		want jetstream.FirstFrame
	}{
		"what was asked for":           {p, begin + 1, jetstream.Said{}, jetstream.FirstContinues},
		"a server that would say so":   {p, late, jetstream.Said{}, jetstream.FirstContinues},
		"a server that says so":        {p, late, jetstream.Said{Outdated: true}, jetstream.FirstLate},
		"a silent one":                 {p, late, jetstream.Said{Silent: true}, jetstream.FirstLate},
		"a silent one, soon":           {p, begin + 1_000_000, jetstream.Said{Silent: true}, jetstream.FirstContinues},
		"the earliest, whatever it is": {jetstream.Plan{Begin: jetstream.Begin{Earliest: true}, Cursor: jetstream.TimeCursor(0)}, late, jetstream.Said{Outdated: true}, jetstream.FirstContinues},
	} {
		if got := jetstream.VerifyFirst(c.plan, 1, c.us, c.said); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
