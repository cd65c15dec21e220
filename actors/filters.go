package actors

import (
	"context"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// FilterStore keeps what feeds want, so that a daemon that is started with another filter knows which one held before. It is safe for concurrent use.
type FilterStore interface {
	// LoadFilters is nil where nothing was saved.
	LoadFilters(ctx context.Context, feed string) (*messages.FilterLog, error)
	SaveFilters(ctx context.Context, feed string, log messages.FilterLog) error
}

// loadFilters reads what was saved. Without it a changed filter is served with more than it asks for, and never with less.
func (c *cursor) loadFilters(ctx context.Context) *messages.FilterLog {
	if c.cfg.Filters == nil {
		return nil
	}
	log, err := c.cfg.Filters.LoadFilters(ctx, c.cfg.Feed)
	if err != nil {
		c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", err.Error())
		return nil
	}
	return log
}

// saveFilters persists what the feed wants, in the order in which it was told.
func (c *cursor) saveFilters(log messages.FilterLog) {
	c.filters = &log
	if c.cfg.Filters == nil {
		return
	}
	c.wanted = &log
	c.writeFilters()
}

// writeFilters writes the newest filters unless that is under way.
func (c *cursor) writeFilters() {
	if c.writing || c.wanted == nil {
		return
	}
	log := *c.wanted
	c.writing, c.wanted = true, nil
	c.task.Start("cursor.filters", func(ctx context.Context) any {
		return &filtersWritten{c.cfg.Filters.SaveFilters(ctx, c.cfg.Feed, log)}
	})
}

// filtersWritten goes on with what was changed meanwhile. What could not be written is with the next change.
func (c *cursor) filtersWritten(err error) {
	c.writing = false
	if err != nil {
		c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", err.Error())
	}
	c.writeFilters()
}

// filtersWritten is the cursor's message to itself.
type filtersWritten struct{ err error }
