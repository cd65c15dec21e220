package actors

import (
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

const (
	// futureTolerance is how far an event's time may lie in our future where the clock of its host
	// is not known. futureMost is the same bound where the host's clock agrees with the event.
	futureTolerance = 5 * time.Minute
	futureMost      = 2 * time.Hour
)

// boundTimes replaces each time that lies beyond the host's present, or too far beyond ours, by
// the present: otherwise it would push every later ID into the future. The position is limited to
// the host's present elsewhere, in reach.
func (c *committer) boundTimes(b *messages.Batch) {
	now := c.cfg.Clock.Now()
	present := min(b.PresentUS, now.Add(futureMost).UnixMicro())
	if b.PresentUS == 0 {
		present = now.Add(futureTolerance).UnixMicro()
		b.PresentUS = present
	}
	if b.ReachedUS == 0 {
		b.ReachedUS = now.UnixMicro()
	}
	count, first := 0, int64(0)
	for i := range b.Events {
		if e := &b.Events[i]; e.TimeUS > present {
			if count++; count == 1 {
				first = e.TimeUS
			}
			e.TimeUS = min(present, now.UnixMicro())
		}
	}
	if count == 0 {
		return
	}
	if n, due := c.implausible.count(now, count); due {
		c.cfg.Observer.Emit(observe.TimeImplausible, c.cfg.Feed, "epoch", uint64(c.epoch.number), "time_us", first, "count", n)
	}
}

// ownUS is the time that an event of the batch has itself, Unix µs, whatever boundTimes made of it; 0
// if it has none.
func ownUS(b *messages.Batch, e *messages.Event) int64 {
	own := messages.Event{Off: e.Off, Len: e.Len}
	if jetstream.Scan(b.Buf[e.Off:e.Off+e.Len], &own) != nil {
		return 0
	}
	return own.TimeUS
}
