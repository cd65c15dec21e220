package oracle

import (
	"context"
	"fmt"
	"slices"

	"tempestd/messages"
)

// unsteady are the faults after which the numbers or the times of a server, or the end of the store,
// go back.
var unsteady = []Kind{"crash", "clock-ahead", "clock-back", "future-event", "disk-lies", "end-lost", "valkey-failover"}

// positions watches the position that is stored with the stream. On one server it never goes back: a
// feed whose position does never gets through a link that is cut often.
type positions struct {
	off   bool // servers may go back themselves
	last  messages.Position
	fault string // the first step back
}

func newPositions(steps []Step) positions {
	return positions{off: slices.ContainsFunc(steps, func(s Step) bool { return slices.Contains(unsteady, s.Kind) })}
}

func (w *world) watchPosition() {
	p := &w.positions
	if p.off || p.fault != "" {
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
	if now.Host == p.last.Host && (now.Seq > 0 && now.Seq < p.last.Seq || now.TimeUS < p.last.TimeUS) {
		p.fault = fmt.Sprintf("the position goes from %+v to %+v", p.last, now)
		w.log.add("%s", p.fault)
	}
	p.last = now
}
