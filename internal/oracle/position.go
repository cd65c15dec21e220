package oracle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// unsteady are the faults after which the numbers or the times of a server, or the end of the store,
// go back, or an append that counts as failed is in the stream all the same: what it held is read
// again from before it.
var unsteady = []Kind{"crash", "clock-ahead", "clock-back", "future-event", "disk-lies", "end-lost", "misread", "reply-lost", "append-late", "store-frozen",
	"valkey-failover", "valkey-swallow", "valkey-unanswered", "valkey-late", "valkey-frozen", "valkey-hang"}

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
		beyond := func(us int64) bool { return time.UnixMicro(us).Sub(present) > inexact }
		if p.bound && p.future < 3 && now.Host == host(i) && !server.Undated && beyond(now.TimeUS) {
			p.fault = fmt.Sprintf("the position %+v is beyond the server's present, %d", now, present.UnixMicro())
		}
		for _, saved := range w.saved() {
			if p.bound && p.future == 0 && saved.Host == host(i) && beyond(saved.AtTip) {
				p.fault = fmt.Sprintf("everything counts as covered up to %d, beyond the server's present, %d", saved.AtTip, present.UnixMicro())
			}
		}
	}
	if p.fault != "" {
		w.log.add("%s", p.fault)
	}
	p.last = now
}

// saved are the checkpoints that the daemons keep beside the stream.
func (w *world) saved() (all []messages.Checkpoint) {
	for _, run := range w.running() {
		var kept persistence.CheckpointStore = &run.node.checkpoints
		if own, ok := run.store.(*embedded.Store); ok && w.server == nil {
			kept = own
		}
		if cp, err := kept.LoadCheckpoint(context.Background(), feedName); err == nil {
			all = append(all, cp)
		}
	}
	return all
}
