package actors

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// The position is bounded by the present of its host, where the host has told its clock. Our own
// clock, which may be behind, bounds the times of events alone.
func TestI7_OurClockDoesNotBoundThePositionOfAHostWhoseClockIsKnown(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	observer := observe.New(slog.New(slog.NewTextHandler(io.Discard, nil)), observe.NewMetrics(), observe.Strict())
	c := &committer{cfg: WriterConfig{Feed: "bluesky", Clock: clockwork.NewFakeClockAt(now), Observer: observer}}
	ahead := now.Add(3 * time.Hour).UnixMicro()
	for name, w := range map[string]struct{ present, event, wantPresent, wantEvent int64 }{
		"a host that is ahead of us":           {ahead, ahead, ahead, now.UnixMicro()},
		"a host that agrees with us":           {now.UnixMicro(), now.UnixMicro(), now.UnixMicro(), now.UnixMicro()},
		"a host whose clock is not known":      {0, now.UnixMicro(), now.Add(futureTolerance).UnixMicro(), now.UnixMicro()},
		"the same, and an event of the future": {0, ahead, now.Add(futureTolerance).UnixMicro(), now.UnixMicro()},
	} {
		b := &messages.Batch{PresentUS: w.present, Events: []messages.Event{{TimeUS: w.event}}}
		c.boundTimes(b)
		if b.PresentUS != w.wantPresent || b.Events[0].TimeUS != w.wantEvent {
			t.Errorf("%s: present %s, event %s", name, time.UnixMicro(b.PresentUS), time.UnixMicro(b.Events[0].TimeUS))
		}
	}
}

// Where our clock has bounded the time of the stream's first event, its own time still tells what is
// from before it.
func TestI3_TheFirstEventKeepsItsOwnTime(t *testing.T) {
	event := `{"did":"did:plc:a","time_us":1785588000000000,"cursor":5,"kind":"identity","identity":{"did":"did:plc:a","seq":1,"time":"2026-08-01T12:00:00Z"}}`
	b := &messages.Batch{Buf: []byte(event), Seq: 5, TimeUS: 1785588000000000, PresentUS: 1785585600000000,
		Events: []messages.Event{{Len: uint32(len(event)), Seq: 5, TimeUS: 1785585600000000}}}
	e := newEpoch(&BeginEpoch{Epoch: 1, Host: "a"})
	var cp messages.Checkpoint
	e.reach(b, &cp, true)
	if cp.FirstUS != 1785588000000000 || cp.FirstSeq != 5 || cp.FirstHost != "a" {
		t.Errorf("the first event is %d at %d of %q", cp.FirstSeq, cp.FirstUS, cp.FirstHost)
	}
}
