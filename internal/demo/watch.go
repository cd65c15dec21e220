package demo

import (
	"context"
	"slices"
	"sync"
	"time"

	"tempestd/internal/client"
	"tempestd/internal/jetsim"
	"tempestd/messages"
	"tempestd/persistence"
)

// Phase is the current activity of a demo.
type Phase string

// The phases of a demo, in order.
const (
	Starting   Phase = "starting"
	Running    Phase = "running"
	Repairing  Phase = "repairing a gap"
	CatchingUp Phase = "catching up"
	Comparing  Phase = "comparing"
	Finished   Phase = "finished"
)

// Snapshot is the visible state of a running demo.
type Snapshot struct {
	Phase    Phase
	Elapsed  time.Duration // since the daemon was ready
	Upstream string        // the simulator's endpoint
	Addr     string        // where the daemon serves HTTP
	Sim      jetsim.Stats
	Feed     messages.FeedStatus
	Stream   persistence.StreamInfo
	Tailed   uint64              // the number of entries that the consumer got
	Recent   []persistence.Entry // the last of them
	Log      []string            // the daemon's last log events
}

// recentEvents is the number of recent entries in a Snapshot.
const recentEvents = 6

// consumer tails the stream as any other consumer does.
type consumer struct {
	mu     sync.Mutex
	count  uint64
	recent []persistence.Entry
}

// follow reads until ctx ends. It waits for a stream that does not exist yet.
func (c *consumer) follow(ctx context.Context, daemon *client.Client) {
	after := persistence.FromBeginning().String()
	for ctx.Err() == nil {
		frames, err := daemon.Tail(ctx, Name, after, time.Second, 1000, messages.ConsumerFilter{})
		if err != nil {
			pause(ctx, pollEvery)
			continue
		}
		if n := len(frames.Entries); n > 0 {
			after = frames.Entries[n-1].ID.String()
			c.add(frames.Entries)
		}
	}
}

func (c *consumer) add(frames []persistence.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += uint64(len(frames))
	c.recent = append(c.recent, frames...)
	// A clone releases the memory of the older entries.
	c.recent = slices.Clone(c.recent[max(0, len(c.recent)-recentEvents):])
}

// snapshot collects the state of all parts. A part that does not answer keeps its last value.
func (d *demo) snapshot(ctx context.Context) Snapshot {
	d.mu.Lock()
	daemon, ready := d.client, d.ready
	d.seen.Phase = d.phase
	d.mu.Unlock()

	s := &d.seen
	s.Sim, s.Log = d.sim.Stats(), d.log.last()
	if daemon != nil {
		s.Addr, s.Elapsed = daemon.Addr(), time.Since(ready)
		if feed, err := daemon.Feed(ctx, Name); err == nil {
			s.Feed = feed
		}
		if stream, err := daemon.Stream(ctx, Name); err == nil {
			s.Stream = stream
		}
	}
	d.consumer.mu.Lock()
	defer d.consumer.mu.Unlock()
	s.Tailed, s.Recent = d.consumer.count, slices.Clone(d.consumer.recent)
	return *s
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
