package oracle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tempestd/messages"
)

// unsteady are the faults after which the numbers or the times of a server, or the end of the store,
// go back.
var unsteady = []Kind{"crash", "clock-ahead", "clock-back", "future-event", "disk-lies", "end-lost", "valkey-failover"}

// positions watches the position that is stored with the stream. On one server it never goes back: a
// feed whose position does never gets through a link that is cut often. And it never lies beyond the
// present of a server that tells its clock: what comes until then would count as covered.
type positions struct {
	steady bool  // no server goes back itself
	bound  bool  // no server's clock goes back
	future int64 // events with a time in the future; three look like a clock that is ahead
	last   messages.Position
	fault  string // the first position that is wrong
}

func newPositions(steps []Step) positions {
	has := func(kinds ...Kind) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return slices.Contains(kinds, s.Kind) })
	}
	return positions{steady: !has(unsteady...), bound: !has("clock-back")}
}

// inexact is how far beyond a server's present a position may lie: dates have whole seconds, and
// events are late.
const inexact = 10 * time.Second

func (w *world) watchPosition() {
	p := &w.positions
	if p.fault != "" || !p.steady && !p.bound {
		return
	}
	stream, err := w.store().Stream(context.Background(), feedName)
	if err != nil {
		return
	}
	cp, err := stream.Checkpoint(context.Background())
	if err != nil {
		return
	}
	now := cp.Position
	back := now.Seq < p.last.Seq
	if now.Seq == 0 || p.last.Seq == 0 { // else its number says where it resumes
		back = now.TimeUS < p.last.TimeUS
	}
	if p.steady && now.Host == p.last.Host && back {
		p.fault = fmt.Sprintf("the position goes from %+v to %+v", p.last, now)
	}
	for i, server := range w.Servers {
		present := w.fleet.Members()[i].Now()
		if p.bound && p.future < 3 && now.Host == host(i) && !server.Undated && time.UnixMicro(now.TimeUS).Sub(present) > inexact {
			p.fault = fmt.Sprintf("the position %+v is beyond the server's present, %d", now, present.UnixMicro())
		}
	}
	if p.fault != "" {
		w.log.add("%s", p.fault)
	}
	p.last = now
}
