package actors

import (
	"context"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// FilterStore saves the filters of feeds, so that a daemon that starts with another filter knows
// which one held before. It is safe for concurrent use.
type FilterStore interface {
	// LoadFilters returns nil where nothing was saved.
	LoadFilters(ctx context.Context, feed string) (*messages.FilterLog, error)
	SaveFilters(ctx context.Context, feed string, log messages.FilterLog) error
}

// loadFilters reads the saved filters. Without them, the stream may get more events than a changed
// filter asks for, but never fewer.
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

// saveFilters saves the feed's filters, in the order of the requests.
func (c *cursor) saveFilters(log messages.FilterLog) {
	c.filters = &log
	if c.cfg.Filters == nil {
		return
	}
	c.wanted = &log
	c.writeFilters()
}

// writeFilters writes the newest filters unless a write is under way.
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

// filtersWritten writes the filters that changed during the write. Filters whose write failed are
// written with the next change.
func (c *cursor) filtersWritten(err error) {
	c.writing = false
	if err != nil {
		c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", err.Error())
	}
	c.writeFilters()
}

// filtersWritten is the cursor's message to itself at the end of a write.
type filtersWritten struct{ err error }
