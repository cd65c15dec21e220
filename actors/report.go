package actors

import (
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// report tells the cursor, the feed and the metrics the outcome of a batch.
func (c *committer) report(b *messages.Batch, stored persistence.Appended, dropped int, moved bool) {
	c.cfg.Fault.At("writer.stored")
	metrics := c.cfg.Observer.Metrics()
	metrics.Frames.WithLabelValues(c.cfg.Feed).Add(float64(b.Frames))
	metrics.BadFrames.WithLabelValues(c.cfg.Feed).Add(float64(b.Bad))
	m := &messages.Committed{Epoch: c.epoch.number, Checkpoint: c.checkpoint, Moved: moved, Entries: stored.Entries, Duplicates: dropped,
		Bad: b.Bad, Frames: b.Frames, At: c.cfg.Clock.Now()}
	if !b.ReadAt.IsZero() {
		m.Age = max(m.At.Sub(b.ReadAt), 0)
	}
	if stored.Entries > 0 {
		m.NewestUS = newest(b)
		metrics.Stored.WithLabelValues(c.cfg.Feed).Add(float64(stored.Entries))
		metrics.BatchSize.WithLabelValues(c.cfg.Feed).Observe(float64(stored.Entries))
	}
	metrics.Position.WithLabelValues(c.cfg.Feed).Set(float64(c.checkpoint.TimeUS) / 1e6)
	c.cursor(m)
	c.feed(m)
}

// newest is the upstream time of the last stored event, 0 for none.
func newest(b *messages.Batch) int64 {
	for i := len(b.Events) - 1; i >= 0; i-- {
		if !b.Events[i].Drop {
			return b.Events[i].TimeUS
		}
	}
	return 0
}

// countMarked counts and reports what a comparison with the stream has shown.
func (c *committer) countMarked(m dedupe.Marked) {
	metrics := c.cfg.Observer.Metrics()
	c.duplicates += uint64(m.Duplicates)
	if m.Duplicates > 0 {
		metrics.Duplicates.WithLabelValues(c.cfg.Feed).Add(float64(m.Duplicates))
	}
	if m.Early > 0 {
		metrics.Skipped.WithLabelValues(c.cfg.Feed).Add(float64(m.Early))
		if n, due := c.early.count(c.cfg.Clock.Now(), m.Early); due {
			c.cfg.Observer.Emit(observe.EventsSkipped, c.cfg.Feed, "epoch", uint64(c.epoch.number), "count", n)
		}
	}
	if m.Misses > 0 {
		metrics.Misses.WithLabelValues(c.cfg.Feed).Add(float64(m.Misses))
	}
	if m.FalseHits > 0 {
		metrics.FalseHits.WithLabelValues(c.cfg.Feed).Add(float64(m.FalseHits))
	}
	if m.OverlapEnded {
		c.cfg.Observer.Emit(observe.FeedOverlapEnded, c.cfg.Feed, "epoch", uint64(c.epoch.number), "duplicates", c.duplicates)
	}
}

// rateLimit limits the reports of something frequent: one a minute, with the number of times that
// it happened.
type rateLimit struct {
	told  time.Time
	since int
}

const ratePeriod = time.Minute

// count adds n. If a report is due, it returns the number to report.
func (l *rateLimit) count(now time.Time, n int) (since int, due bool) {
	l.since += n
	if d := now.Sub(l.told); !l.told.IsZero() && d >= 0 && d < ratePeriod {
		return 0, false
	}
	since, l.since, l.told = l.since, 0, now
	return since, true
}
