package actors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"tempestd/messages"
	"tempestd/persistence"
)

// finding is the search for gaps that an earlier version has recorded, which kept no ledger. It is
// made once for a stream, beside the committer. Checkpoint.Ledger says that it is done.
type finding struct {
	begun, complete bool
}

// gapsFound is the message of the search.
type gapsFound struct{ rows []messages.GapRow }

// gapPrefix is how every gap entry begins.
var gapPrefix = []byte(`{"kind":"gap",`)

// findGaps begins the search, if it was never done.
func (c *committer) findGaps() {
	if c.found.begun || c.found.complete {
		return
	}
	c.found.begun = true
	stream, feed := c.cfg.Stream, c.cfg.Feed
	now := c.cfg.Clock.Now()
	c.beside("writer.find", func(ctx context.Context) any {
		rows, err := recordedGaps(ctx, stream)
		if err != nil {
			return nil // the next start tries again
		}
		for i := range rows {
			rows[i].Feed, rows[i].ID = feed, messages.GapID(feed, rows[i].Gap)
			rows[i].OpenedAt, rows[i].ChangedAt = now, now
		}
		c.jobs.add(&gapsFound{rows})
		return nil
	})
}

// recordedGaps reads the stream's gap entries without an ID.
func recordedGaps(ctx context.Context, stream persistence.Stream) (rows []messages.GapRow, err error) {
	from := persistence.CursorAt(messages.EntryID{})
	for ctx.Err() == nil {
		page, err := stream.Read(ctx, from, persistence.End(), persistence.MaxCount)
		var corrupt *persistence.CorruptError
		switch {
		case errors.As(err, &corrupt):
			from = persistence.CursorAt(corrupt.Block.Next())
			continue
		case err != nil:
			return nil, err
		case len(page.Entries) == 0:
			return rows, nil
		}
		for _, e := range page.Entries {
			if row, ok := recordedGap(e); ok && len(rows) < persistence.MaxGaps {
				rows = append(rows, row)
			}
		}
		from = persistence.CursorAt(page.Entries[len(page.Entries)-1].ID.Next())
	}
	return nil, ctx.Err()
}

func recordedGap(e persistence.Entry) (row messages.GapRow, ok bool) {
	if !bytes.HasPrefix(e.Event, gapPrefix) {
		return row, false
	}
	var entry struct {
		Gap struct {
			ID string `json:"id"`
			messages.Gap
		}
	}
	if json.Unmarshal(e.Event, &entry) != nil || entry.Gap.ID != "" {
		return row, false
	}
	g := entry.Gap.Gap
	row = messages.GapRow{Version: 1, Gap: g, Known: known(g.Cause), State: messages.GapOpen, Entry: e.ID}
	if g.Cause == messages.GapOversized {
		row.State, row.Why = messages.GapUnrepairable, whyOversized
	}
	return row, true
}

// gapsFound takes over the gaps that the search has found.
func (c *committer) gapsFound(ctx context.Context, m *gapsFound) {
	for _, row := range m.rows {
		if _, known := c.ledger.rows[row.ID]; known || row.Cause == messages.GapOversized && c.ledger.oversized >= mostOversized {
			continue
		}
		c.ledger.change(row, true)
		c.feed(&messages.GapChanged{Row: row})
	}
	c.found.complete = true
	c.saveGaps(ctx)
}
