package actors

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// The words of the tables below. A gap ends before the moment lossUS.
const lossUS = 1_000_000

var expectations = map[string]expects{
	"nothing to prove":              expectsNew,
	"a certain gap":                 expectsGap,
	"events to pass over":           expectsSkip,
	"a lost end":                    expectsLost,
	"a doubt":                       expectsDoubt,
	"the exact event":               expectsExact,
	"the exact event, a lost end":   expectsExactThenLost,
	"the exact event, outdated":     expectsExactOutdated,
	"a held event":                  expectsHeld,
	"a held event, after lost ones": expectsHeldThenLost,
	"a held event, outdated":        expectsHeldOutdated,
}

var verdicts = map[string]verdict{
	"store": verdictStore, "wait": verdictWait, "refuse": verdictRefuse,
	"prove": verdictProve, "record the gap": verdictRecord, "accept": verdictAccept,
}

var observations = map[string]observation{
	"nothing was compared":                    {early: true, firstUS: lossUS + 1},
	"first a held event":                      {compared: true, firstHeld: true, firstUS: lossUS + 1},
	"first a new event":                       {compared: true, firstUS: lossUS + 1},
	"first a new event, as old as the loss":   {compared: true, firstUS: lossUS},
	"it begins with a held event":             {start: dedupe.StartHeld, compared: true, firstHeld: true, firstUS: lossUS + 1},
	"it begins with older ones, then held":    {start: dedupe.StartHeld, compared: true, early: true, firstUS: lossUS + 1},
	"it begins with held ones, before a loss": {start: dedupe.StartHeld, compared: true, firstHeld: true, firstUS: lossUS},
	"it begins with older ones":               {start: dedupe.StartPending, early: true, firstUS: lossUS + 1, waited: time.Millisecond},
	"it begins with older ones, at the tip":   {start: dedupe.StartPending, early: true, firstUS: lossUS + 1, waited: tipPause},
	"it begins too late":                      {start: dedupe.StartLate, firstUS: lossUS + 1},
	"it begins too late, after older ones":    {start: dedupe.StartLate, early: true, firstUS: lossUS + 1},
}

// occurs says whether an expectation can meet an observation. Only where the proof is a held event
// does the comparison say where the replay begins, and what it says stands for the judgement after
// the proof as well.
func occurs(e expects, o observation) bool {
	switch o.start {
	case dedupe.StartPending, dedupe.StartLate:
		return e >= expectsHeld
	case dedupe.StartHeld:
		return e >= expectsHeld || e == expectsNew || e == expectsLost || e == expectsDoubt
	}
	return true
}

func TestJudgement(t *testing.T) {
	const anything = "anything"
	rows := []struct{ expected, observed, verdict, then string }{
		{"nothing to prove", anything, "store", "nothing to prove"},
		{"a certain gap", anything, "record the gap", "nothing to prove"},
		{"events to pass over", anything, "record the gap", "nothing to prove"},

		{"a lost end", "nothing was compared", "record the gap", "nothing to prove"},
		{"a lost end", "first a held event", "record the gap", "nothing to prove"},
		{"a lost end", "first a new event", "record the gap", "nothing to prove"},
		{"a lost end", "first a new event, as old as the loss", "store", "nothing to prove"},
		{"a lost end", "it begins with a held event", "record the gap", "nothing to prove"},
		{"a lost end", "it begins with older ones, then held", "record the gap", "nothing to prove"},
		{"a lost end", "it begins with held ones, before a loss", "store", "nothing to prove"},

		{"a doubt", "nothing was compared", "record the gap", "nothing to prove"},
		{"a doubt", "first a held event", "store", "nothing to prove"},
		{"a doubt", "first a new event", "record the gap", "nothing to prove"},
		{"a doubt", "first a new event, as old as the loss", "record the gap", "nothing to prove"},
		{"a doubt", "it begins with a held event", "store", "nothing to prove"},
		{"a doubt", "it begins with older ones, then held", "record the gap", "nothing to prove"},
		{"a doubt", "it begins with held ones, before a loss", "store", "nothing to prove"},

		// The connection compares the first event, and tells before the first batch.
		{"the exact event", "nothing was compared", "wait", "the exact event"},
		{"the exact event", anything, "refuse", "the exact event"},
		{"the exact event, a lost end", "nothing was compared", "wait", "the exact event, a lost end"},
		{"the exact event, a lost end", anything, "refuse", "the exact event, a lost end"},
		{"the exact event, outdated", "nothing was compared", "wait", "the exact event, outdated"},
		{"the exact event, outdated", anything, "refuse", "the exact event, outdated"},

		{"a held event", "nothing was compared", "wait", "a held event"},
		{"a held event", "it begins with a held event", "prove", "nothing to prove"},
		{"a held event", "it begins with older ones, then held", "prove", "nothing to prove"},
		{"a held event", "it begins with held ones, before a loss", "prove", "nothing to prove"},
		{"a held event", "it begins with older ones", "wait", "a held event"},
		{"a held event", "it begins with older ones, at the tip", "refuse", "a held event"},
		{"a held event", "it begins too late", "refuse", "a held event"},
		{"a held event", "it begins too late, after older ones", "refuse", "a held event"},
		// The comparison does not say where the replay begins: the stream was emptied meanwhile.
		{"a held event", anything, "refuse", "a held event"},

		{"a held event, after lost ones", "nothing was compared", "wait", "a held event, after lost ones"},
		{"a held event, after lost ones", "it begins with a held event", "prove", "a lost end"},
		{"a held event, after lost ones", "it begins with older ones, then held", "prove", "a lost end"},
		{"a held event, after lost ones", "it begins with held ones, before a loss", "prove", "a lost end"},
		{"a held event, after lost ones", "it begins with older ones", "wait", "a held event, after lost ones"},
		{"a held event, after lost ones", "it begins with older ones, at the tip", "refuse", "a held event, after lost ones"},
		{"a held event, after lost ones", "it begins too late", "refuse", "a held event, after lost ones"},
		{"a held event, after lost ones", "it begins too late, after older ones", "refuse", "a held event, after lost ones"},
		{"a held event, after lost ones", anything, "refuse", "a held event, after lost ones"},

		{"a held event, outdated", "nothing was compared", "wait", "a held event, outdated"},
		{"a held event, outdated", "it begins with a held event", "prove", "nothing to prove"},
		{"a held event, outdated", "it begins with older ones, then held", "prove", "nothing to prove"},
		{"a held event, outdated", "it begins with held ones, before a loss", "prove", "nothing to prove"},
		{"a held event, outdated", "it begins with older ones", "wait", "a held event, outdated"},
		{"a held event, outdated", "it begins with older ones, at the tip", "refuse", "a held event, outdated"},
		{"a held event, outdated", "it begins too late", "accept", "a doubt"},
		{"a held event, outdated", "it begins too late, after older ones", "refuse", "a held event, outdated"},
		{"a held event, outdated", anything, "refuse", "a held event, outdated"},
	}
	type pair struct{ expected, observed string }
	judged := map[pair]bool{}
	check := func(expected, observed, then, want string) {
		judged[pair{expected, observed}] = true
		e := expectation{kind: expectations[expected], gap: messages.Gap{FromUS: lossUS, Cause: messages.GapStoreLost}}
		got, next := judge(e, observations[observed])
		if got != verdicts[want] || next.kind != expectations[then] {
			t.Errorf("%s → %s → verdict %d, then %d; want %s, then %s", expected, observed, got, next.kind, want, then)
		}
		if next.gap != e.gap {
			t.Errorf("%s → %s → the gap became %+v", expected, observed, next.gap)
		}
	}
	for _, r := range rows {
		if r.observed != anything {
			check(r.expected, r.observed, r.then, r.verdict)
			continue
		}
		for name, o := range observations { // all that no row before this one names
			if occurs(expectations[r.expected], o) && !judged[pair{r.expected, name}] {
				check(r.expected, name, r.then, r.verdict)
			}
		}
	}
	for expected, e := range expectations {
		for observed, o := range observations {
			if occurs(e, o) != judged[pair{expected, observed}] {
				t.Errorf("%s → %s: in the table %v, can occur %v", expected, observed, judged[pair{expected, observed}], occurs(e, o))
			}
		}
	}
}

func TestExpectationOfAnEpoch(t *testing.T) {
	gap := &messages.Gap{FromUS: lossUS, Cause: messages.GapReplayWindow}
	lost := &messages.Gap{FromUS: lossUS, Cause: messages.GapStoreLost}
	for name, c := range map[string]struct {
		begin BeginEpoch
		want  string
		gap   messages.GapCause
	}{
		"no position":                  {BeginEpoch{}, "nothing to prove", ""},
		"no proof is possible":         {BeginEpoch{Plan: jetstream.Plan{Overlap: jetstream.OverlapFull}}, "nothing to prove", ""},
		"too old for the upstream":     {BeginEpoch{Plan: jetstream.Plan{Gap: gap}}, "a certain gap", gap.Cause},
		"connections are cut here":     {BeginEpoch{Plan: jetstream.Plan{Skip: gap}}, "events to pass over", gap.Cause},
		"the store lost its end":       {BeginEpoch{Lost: lost}, "a lost end", lost.Cause},
		"too old, and the end is lost": {BeginEpoch{Lost: lost, Plan: jetstream.Plan{Gap: gap}}, "a certain gap", gap.Cause},
		"by number":                    {BeginEpoch{Plan: jetstream.Plan{Proof: jetstream.ProofExact}}, "the exact event", ""},
		"by number, an end is lost":    {BeginEpoch{Lost: lost, Plan: jetstream.Plan{Proof: jetstream.ProofExact}}, "the exact event, a lost end", lost.Cause},
		"by time":                      {BeginEpoch{Plan: jetstream.Plan{Proof: jetstream.ProofHeld}}, "a held event", ""},
		"by time, an end is lost":      {BeginEpoch{Lost: lost, Plan: jetstream.Plan{Proof: jetstream.ProofHeld}}, "a held event, after lost ones", lost.Cause},
		"by time, no more to ask for":  {BeginEpoch{Plan: jetstream.Plan{Proof: jetstream.ProofHeld, Accept: true}}, "a doubt", messages.GapServerMoved},
		"no more to ask for, and lost": {BeginEpoch{Lost: lost, Plan: jetstream.Plan{Proof: jetstream.ProofHeld, Accept: true}}, "a lost end", lost.Cause},
	} {
		if got := expect(&c.begin); got.kind != expectations[c.want] || got.gap.Cause != c.gap {
			t.Errorf("%s: expectation %d with gap %q, want %s with %q", name, got.kind, got.gap.Cause, c.want, c.gap)
		}
	}
}

func TestExpectationAfterNews(t *testing.T) {
	suspected := messages.Gap{FromUS: 7, Cause: messages.GapServerMoved}
	for _, r := range []struct{ expected, proven, suspect string }{
		{"nothing to prove", "nothing to prove", "a doubt"},
		{"a certain gap", "a certain gap", "a certain gap"},
		{"events to pass over", "events to pass over", "events to pass over"},
		{"a lost end", "a lost end", "a lost end"},
		{"a doubt", "a doubt", "a doubt"},
		{"the exact event", "nothing to prove", "the exact event, outdated"},
		{"the exact event, a lost end", "a lost end", "the exact event, a lost end"},
		{"the exact event, outdated", "a doubt", "the exact event, outdated"},
		{"a held event", "nothing to prove", "a held event, outdated"},
		{"a held event, after lost ones", "a lost end", "a held event, after lost ones"},
		{"a held event, outdated", "a doubt", "a held event, outdated"},
	} {
		e := expectation{kind: expectations[r.expected]}
		if got := e.proven(); got.kind != expectations[r.proven] {
			t.Errorf("%s → proven → %d, want %s", r.expected, got.kind, r.proven)
		}
		got := e.suspect(suspected)
		if got.kind != expectations[r.suspect] || (got.gap == suspected) != (r.suspect != r.expected) {
			t.Errorf("%s → suspect → %d with %+v, want %s", r.expected, got.kind, got.gap, r.suspect)
		}
	}
}

// A replay that does not show where it begins is over when it has reached the host's present, as
// far as its pace can tell that.
func TestJudgementOfTheTime(t *testing.T) {
	const start = int64(1_000_000_000)
	type step struct {
		ahead  time.Duration // of the batch's end, since the first one's
		waited time.Duration
		want   string
	}
	repeat := func(n int, ahead, waited time.Duration) (steps []step) {
		for i := range n {
			steps = append(steps, step{time.Duration(i) * ahead, waited, "wait"})
		}
		return steps
	}
	for name, c := range map[string]struct {
		steps []step
	}{
		"a replay in full flow":           {steps: repeat(200, time.Hour, 10*time.Millisecond)},
		"a pause":                         {steps: []step{{0, 0, "wait"}, {time.Second, tipPause, "refuse"}}},
		"a pause before the first":        {steps: []step{{0, tipPause, "refuse"}}},
		"the pace of the clock":           {steps: append(repeat(7, 500*time.Millisecond, 500*time.Millisecond)[:6], step{3 * time.Second, 500 * time.Millisecond, "refuse"})},
		"a quarter faster than the clock": {steps: append(repeat(6, 625*time.Millisecond, 500*time.Millisecond), step{3750 * time.Millisecond, 500 * time.Millisecond, "refuse"})},
		"still faster than the clock":     {steps: repeat(100, 626*time.Millisecond, 500*time.Millisecond)},
		"a clock that jumps while the events are live": {steps: append(append(repeat(5, 500*time.Millisecond, 500*time.Millisecond),
			step{time.Hour, 500 * time.Millisecond, "wait"}, step{time.Hour + time.Second, 1 * tipPause / 2, "wait"}, step{time.Hour + 1500*time.Millisecond, 500 * time.Millisecond, "wait"},
			step{time.Hour + 2*time.Second, 500 * time.Millisecond, "wait"}, step{time.Hour + 2500*time.Millisecond, 500 * time.Millisecond, "wait"}, step{time.Hour + 3*time.Second, 500 * time.Millisecond, "wait"}),
			step{time.Hour + 3500*time.Millisecond, 500 * time.Millisecond, "refuse"})},
		"for longer than any replay may take": {steps: append(repeat(240, time.Hour, 500*time.Millisecond), step{240 * time.Hour, 500 * time.Millisecond, "refuse"})},
	} {
		e := expectation{kind: expectsHeld}
		for i, s := range c.steps {
			var got verdict
			got, e = judge(e, observation{start: dedupe.StartPending, early: true, endUS: start + s.ahead.Microseconds(), waited: s.waited})
			if got != verdicts[s.want] {
				t.Errorf("%s: verdict %d on batch %d, want %s", name, got, i+1, s.want)
				break
			}
		}
	}
}

func TestObservation(t *testing.T) {
	b := &messages.Batch{Events: []messages.Event{{TimeUS: 5, Drop: true}, {TimeUS: 7}}, TimeUS: 9, Waited: time.Second}
	got := observed(b, dedupe.Marked{Duplicates: 1, Early: 1, FirstHeld: true, Start: dedupe.StartHeld})
	if want := (observation{start: dedupe.StartHeld, compared: true, early: true, firstHeld: true, firstUS: 7, endUS: 9, waited: time.Second}); got != want {
		t.Errorf("observed %+v, want %+v", got, want)
	}
	b.Events = slices.Delete(b.Events, 1, 2)
	if got := observed(b, dedupe.Marked{Early: 1}); got.compared || got.firstUS != 9 {
		t.Errorf("observed %+v of a batch that is all dropped", got)
	}
}

// While a lost end is not recorded, nothing else may be appended: the store would forget it.
func TestALostEndWaitsToBeRecorded(t *testing.T) {
	for name, kind := range expectations {
		if got, want := (expectation{kind: kind}).lost(), strings.Contains(name, "lost"); got != want {
			t.Errorf("%s: lost is %v", name, got)
		}
	}
}

// The beginning of a gap that is a time of another clock is no time of the gap's own. It lies as long
// before the gap's end as it is ago.
func TestI4_AGapThatBeganOnAnotherClock(t *testing.T) {
	e := expectation{gap: messages.Gap{FromUS: lossUS}, age: time.Minute}
	if g := e.endingAt(lossUS + 5); g.FromUS != lossUS || g.ToUS != lossUS+5 {
		t.Errorf("on the same clock: %+v", g)
	}
	// The host's clock was wrong before: the gap is what both clocks say.
	if g := e.endingAt(lossUS - 5); g.FromUS != lossUS-60_000_005 || g.ToUS != lossUS {
		t.Errorf("it would end before it begins: %+v", g)
	}
	e.foreign = time.Second
	if g := e.endingAt(lossUS - 5); g.FromUS != lossUS-1_000_005 || g.ToUS != lossUS-5 {
		t.Errorf("on a clock that is behind: %+v", g)
	}
	if g := e.endingAt(lossUS + 3_600_000_000); g.FromUS != lossUS {
		t.Errorf("on a clock that is ahead: %+v", g)
	}
}
