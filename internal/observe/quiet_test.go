package observe_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/observe"
)

var began = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)

// quietly returns a quiet observer, its clock, and its log.
func quietly(t *testing.T) (*observe.Observer, *clockwork.FakeClock, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	log, err := observe.NewLogger(&out, slog.LevelInfo, observe.FormatJSON)
	if err != nil {
		t.Fatal(err)
	}
	clock := clockwork.NewFakeClockAt(began)
	return observe.New(log, observe.NewMetrics(), observe.Strict(), observe.Quiet(clock)), clock, &out
}

func TestWhatRepeatsIsCountedAndToldMoreRarely(t *testing.T) {
	o, clock, out := quietly(t)
	var at []time.Duration
	told := 0
	lines := 0
	for second := range 3600 {
		o.Emit(observe.FrameBad, "sky", "error", "bad")
		if rs := records(t, out); len(rs) > lines {
			lines = len(rs)
			at = append(at, time.Duration(second)*time.Second)
			repeats, _ := rs[lines-1]["repeats"].(float64)
			told += 1 + int(repeats)
		}
		clock.Advance(time.Second)
	}
	m := time.Minute
	want := []time.Duration{0, time.Second, 2 * time.Second, m + 2*time.Second, 3*m + 2*time.Second, 7*m + 2*time.Second, 15*m + 2*time.Second,
		25*m + 2*time.Second, 35*m + 2*time.Second, 45*m + 2*time.Second, 55*m + 2*time.Second}
	if !slices.Equal(at, want) {
		t.Errorf("told at %v\nwant %v", at, want)
	}
	o.TellHeld()
	rs := records(t, out)
	last := rs[len(rs)-1]
	if told += 1 + int(last["repeats"].(float64)); told != 3600 || len(rs) != lines+1 {
		t.Errorf("%d records stand for %d events, want 3600", len(rs), told)
	}
	if last["since"] != "2026-11-29T03:55:03Z" || last["error"] != "bad" {
		t.Errorf("the last record is %v", last)
	}
	if n := testutil.ToFloat64(o.Metrics().Events.WithLabelValues("frame.bad", "sky")); n != 3600 {
		t.Errorf("counted %v", n)
	}
	o.TellHeld()
	if more := records(t, out); len(more) != len(rs) {
		t.Errorf("told twice: %v", more[len(rs):])
	}
}

func TestACalmSubjectIsToldAtOnceAgain(t *testing.T) {
	o, clock, out := quietly(t)
	for range 4 {
		o.Emit(observe.CursorAging, "sky")
	}
	o.Emit(observe.CursorAging, "sea")
	if n := len(records(t, out)); n != 4 {
		t.Fatalf("%d records, want three of one stream and one of another", n)
	}
	o.TellHeld()
	clock.Advance(11 * time.Minute)
	out.Reset()
	o.Emit(observe.CursorAging, "sky")
	if rs := records(t, out); len(rs) != 1 || rs[0]["repeats"] != nil {
		t.Errorf("told %v", rs)
	}
}

// At most one record a second, whatever happens to however many feeds.
func TestAllTogetherKeepToOneRecordASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, err := observe.NewLogger(&out, slog.LevelInfo, observe.FormatJSON)
		if err != nil {
			t.Fatal(err)
		}
		o := observe.New(log, observe.NewMetrics(), observe.Strict(), observe.Quiet(clockwork.NewRealClock()))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			o.TellRepeats(ctx)
			close(ended)
		}()
		for range 600 {
			for feed := range 100 {
				o.Emit(observe.AppendFailed, fmt.Sprint(feed), "error", "full")
			}
			time.Sleep(time.Second)
		}
		cancel()
		<-ended
		n := bytes.Count(out.Bytes(), []byte("\n"))
		if n > 60+600 || n < 500 {
			t.Errorf("%d records in 600 s, want at most one a second after the first 60", n)
		}
		for feed := range 100 {
			if !bytes.Contains(out.Bytes(), fmt.Appendf(nil, `"feed":"%d"`, feed)) {
				t.Errorf("nothing about feed %d", feed)
			}
		}
	})
}

func TestNothingIsHeldBackOfTheDaemonItselfNorAtTheDebugLevel(t *testing.T) {
	o, _, out := quietly(t)
	for range 200 {
		o.Emit(observe.ConfigRejected, "", "error", "bad")
	}
	if n := len(records(t, out)); n != 200 {
		t.Errorf("%d records, want 200", n)
	}
	all, out := logged(t, observe.Quiet(clockwork.NewFakeClock()))
	for range 200 {
		all.Emit(observe.FrameBad, "sky")
	}
	if n := len(records(t, out)); n != 200 {
		t.Errorf("%d records at the debug level, want 200", n)
	}
}
