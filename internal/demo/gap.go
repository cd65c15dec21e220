package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tempestd/internal/client"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// The last act: the feed is paused for longer than the upstream's socket remembers. When it goes on
// it is live at once, behind a gap entry, and the gap is closed from the upstream's archive.

const (
	// outage is how long the feed is paused, before and after the upstream forgets.
	outage = 2 * time.Second
	// repairLimit bounds the wait for the repair.
	repairLimit = 30 * time.Second
)

// remember gives the simulator an archive, with segments of a second.
func remember(o *jetsim.Options) {
	o.Archive = &jetsim.ArchiveOptions{}
	o.Segment, o.Block = max(int(o.Rate), 1), max(int(o.Rate/4), 1)
	o.Newer = jetsim.AllNewer()
}

// closeGap makes a gap, and waits until it is closed. The end of ctx ends the wait.
func (d *demo) closeGap(ctx context.Context) error {
	if err := d.client.Pause(ctx, Name); err != nil {
		return fmt.Errorf("pause the feed: %w", err)
	}
	pause(ctx, outage)
	stats := d.sim.Stats()
	d.sim.Forget(int(stats.Contents))
	pause(ctx, outage) // the forgotten events are then in full segments
	if err := d.client.Resume(ctx, Name); err != nil && ctx.Err() == nil {
		return fmt.Errorf("resume the feed: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, repairLimit)
	defer cancel()
	for ctx.Err() == nil {
		if closed, err := d.closed(ctx); closed || err != nil && ctx.Err() == nil {
			return err
		}
		pause(ctx, pollEvery)
	}
	return nil // the comparison tells what is missing
}

// closed says whether there was a gap and is none any more.
func (d *demo) closed(ctx context.Context) (bool, error) {
	list, err := d.client.Gaps(ctx, client.GapQuery{Feed: Name})
	if err != nil {
		return false, err
	}
	closed := len(list.Gaps) > 0
	for _, row := range list.Gaps {
		if row.State == messages.GapUnrepairable {
			return false, errors.New("the gap cannot be closed: " + row.Why)
		}
		closed = closed && row.State.Final()
	}
	return closed, nil
}
