package backfill_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/backfill"
	"tempestd/messages"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// gapOf is a gap that was opened so many minutes ago.
func gapOf(id string, minutes int, state messages.GapState) messages.GapRow {
	return messages.GapRow{ID: id, State: state, OpenedAt: noon.Add(-time.Duration(minutes) * time.Minute),
		Gap: messages.Gap{FromUS: noon.Add(-time.Hour).UnixMicro(), ToUS: noon.UnixMicro()}}
}

// waiting is a gap that waits for so many minutes more.
func waiting(id string, minutes, more int) messages.GapRow {
	row := gapOf(id, minutes, messages.GapWaiting)
	row.RetryAt = noon.Add(time.Duration(more) * time.Minute)
	return row
}

func TestWhichGapIsFetchedNext(t *testing.T) {
	sources := []messages.GapSource{messages.SourceSocket}
	for name, c := range map[string]struct {
		rows   []messages.GapRow
		manual bool
		want   string
		at     int // minutes from now; 0 for none
	}{
		"none":                        {},
		"the oldest":                  {rows: []messages.GapRow{gapOf("b", 5, messages.GapOpen), gapOf("a", 9, messages.GapOpen), gapOf("c", 7, messages.GapOpen)}, want: "a"},
		"none that is closed":         {rows: []messages.GapRow{gapOf("a", 9, messages.GapRepaired), gapOf("b", 8, messages.GapPartly), gapOf("c", 7, messages.GapUnrepairable)}},
		"none that waits":             {rows: []messages.GapRow{waiting("a", 9, 7), waiting("b", 8, 3), waiting("c", 7, 5)}, at: 3},
		"one that has waited":         {rows: []messages.GapRow{waiting("a", 9, 1), waiting("b", 8, 0)}, want: "b", at: 1},
		"a younger one meanwhile":     {rows: []messages.GapRow{waiting("a", 9, 1), gapOf("b", 8, messages.GapOpen)}, want: "b", at: 1},
		"one that was interrupted":    {rows: []messages.GapRow{gapOf("a", 9, messages.GapRepairing)}, want: "a"},
		"none unasked":                {rows: []messages.GapRow{gapOf("a", 9, messages.GapOpen)}, manual: true},
		"one that an operator orders": {rows: []messages.GapRow{gapOf("a", 9, messages.GapOpen), waiting("b", 8, 0)}, manual: true, want: "b"},
	} {
		p := backfill.Policy{Sources: sources, Automatic: !c.manual}
		got := p.Choose(c.rows, nil, noon)
		at := time.Time{}
		if c.at > 0 {
			at = noon.Add(time.Duration(c.at) * time.Minute)
		}
		if got.Row.ID != c.want || got.Fetch != (c.want != "") || !got.At.Equal(at) {
			t.Errorf("%s: %q, fetch %v, at %v; want %q, %v", name, got.Row.ID, got.Fetch, got.At, c.want, at)
		}
		if c.want != "" && (got.Row.State != messages.GapRepairing || got.Row.Source != messages.SourceSocket || !got.Row.RetryAt.IsZero() || got.Row.Attempts != 1) {
			t.Errorf("%s: %+v", name, got.Row)
		}
	}
}

// Three sources that have nothing are asked once each, and then the gap is closed.
func TestASourceThatHasNothingIsNotAskedAgain(t *testing.T) {
	p := backfill.Policy{Sources: []messages.GapSource{messages.SourceSocket, messages.SourceArchive, messages.SourceAccounts}, Automatic: true}
	row := gapOf("a", 9, messages.GapOpen)
	var asked []messages.GapSource
	for !row.State.Final() && len(asked) < 10 {
		c := p.Choose([]messages.GapRow{row}, nil, noon)
		if !c.Fetch {
			t.Fatalf("%+v after %v", c, asked)
		}
		asked = append(asked, c.Row.Source)
		row = p.After(c.Row, backfill.Result{}, backfill.ErrNothing, 1, noon)
	}
	if !slices.Equal(asked, p.Sources) || row.State != messages.GapUnrepairable {
		t.Errorf("asked were %v; %+v", asked, row)
	}
}

// A source that fails is tried three times in a row, and the next one as often; then it is its turn
// again.
func TestASourceThatFailsIsFollowedByTheNext(t *testing.T) {
	p := backfill.Policy{Sources: []messages.GapSource{messages.SourceSocket, messages.SourceArchive}, Automatic: true}
	var asked []messages.GapSource
	for failures := range 8 {
		asked = append(asked, p.Choose([]messages.GapRow{gapOf("a", 9, messages.GapOpen)}, map[string]int{"a": failures}, noon).Row.Source)
	}
	s, a := messages.SourceSocket, messages.SourceArchive
	if want := []messages.GapSource{s, s, s, a, a, a, s, s}; !slices.Equal(asked, want) {
		t.Errorf("asked were %v, want %v", asked, want)
	}
}

func TestWhatBecomesOfAGap(t *testing.T) {
	from, to := noon.Add(-time.Hour).UnixMicro(), noon.UnixMicro()
	for name, c := range map[string]struct {
		result   backfill.Result
		err      error
		failures int
		tried    []messages.GapSource
		held     int64
		state    messages.GapState
		wait     time.Duration // until the next try
		rest     bool
		why      string
	}{
		"everything":                  {state: messages.GapRepaired},
		"what it has is said":         {result: backfill.Result{Missing: "versions"}, state: messages.GapRepaired},
		"a part":                      {result: backfill.Result{LackFromUS: from, LackToUS: to - 5}, state: messages.GapRepairing, rest: true, why: "socket has nothing from"},
		"a part, and nobody else":     {result: backfill.Result{LackFromUS: from, LackToUS: to - 5}, tried: []messages.GapSource{messages.SourceArchive}, held: 1, state: messages.GapPartly, rest: true, why: "socket has nothing from"},
		"not everything was readable": {result: backfill.Result{Unread: true}, state: messages.GapRepairing, why: "not everything could be read"},
		"nothing":                     {err: backfill.ErrNothing, state: messages.GapRepairing, why: "socket: the source does not have it"},
		"refused for good":            {err: backfill.ErrPermanent, tried: []messages.GapSource{messages.SourceArchive}, state: messages.GapUnrepairable, why: "socket: refused for good"},
		"later":                       {err: &backfill.WaitError{Until: noon.Add(6 * time.Hour), Why: "quota"}, state: messages.GapWaiting, wait: 6 * time.Hour, why: "socket: quota"},
		"a failure":                   {err: errors.New("odd"), failures: 1, state: messages.GapWaiting, wait: 10 * time.Second, why: "socket: odd"},
		"a third failure":             {err: errors.New("odd"), failures: 3, state: messages.GapWaiting, wait: 40 * time.Second, why: "socket: odd"},
		"a hundredth failure":         {err: errors.New("odd"), failures: 100, state: messages.GapWaiting, wait: 30 * time.Minute, why: "socket: odd"},
	} {
		p := backfill.Policy{Sources: []messages.GapSource{messages.SourceSocket, messages.SourceArchive}, Automatic: true}
		row := gapOf("a", 9, messages.GapRepairing)
		row.Source, row.Tried, row.Held = messages.SourceSocket, c.tried, c.held
		got := p.After(row, c.result, c.err, c.failures, noon)
		if got.State != c.state || !strings.Contains(got.Why, c.why) || c.why == "" && got.Why != "" {
			t.Errorf("%s: %s, %q", name, got.State, got.Why)
		}
		if wait := got.RetryAt.Sub(noon); c.wait > 0 && wait != c.wait || c.wait == 0 && !got.RetryAt.IsZero() {
			t.Errorf("%s: it waits %v, want %v", name, wait, c.wait)
		}
		if c.rest != (got.RestToUS != 0) || c.rest && (got.RestFromUS != from || got.RestToUS != to-5) {
			t.Errorf("%s: the rest is %d to %d", name, got.RestFromUS, got.RestToUS)
		}
		if !strings.Contains(got.Missing, c.result.Missing) {
			t.Errorf("%s: missing is %q", name, got.Missing)
		}
	}
}

func TestAnOrderBeginsAnew(t *testing.T) {
	row := gapOf("a", 9, messages.GapPartly)
	row.Tried, row.Missing, row.RestFromUS, row.RestToUS = []messages.GapSource{messages.SourceSocket}, "some", 3, 4
	p := backfill.Policy{Sources: []messages.GapSource{messages.SourceSocket}}
	got := p.Choose([]messages.GapRow{backfill.Ordered(row, noon)}, nil, noon)
	if !got.Fetch || got.Row.Source != messages.SourceSocket || got.Row.Missing != "" || got.Row.RestToUS != 0 {
		t.Errorf("%+v", got)
	}
}
