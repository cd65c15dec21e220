package actors

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"tempestd/internal/crashpoint"
	"tempestd/messages"
	"tempestd/persistence"
)

// ledger is the committer's view of the stream's ledger of gaps. The committer alone gives rows
// their versions. A row that changes with entries is in the checkpoint of their append, and in each
// later one until the ledger itself has it.
type ledger struct {
	loaded  bool
	rows    map[string]messages.GapRow
	unsaved []messages.GapRow // the newest version of each row that the ledger may lack
	// urgent says that one of them has a new state. Progress alone is saved now and then.
	urgent  bool
	savedAt time.Time
	// oversized counts the rows of single events that were too large.
	oversized int
}

const (
	// progressPeriod is how often the progress of a fetch is saved in the ledger. The checkpoint has
	// it with every append.
	progressPeriod = 5 * time.Second
	// mostOversized bounds the rows of single events that were too large. The entries of the others
	// are in the stream all the same.
	mostOversized = 1000
	whyOversized  = "the event is larger than max_message_size"
)

// loadLedger reads the ledger, and takes over the rows that the stored checkpoint carries.
func (c *committer) loadLedger(ctx context.Context) error {
	l := ledger{loaded: true, rows: map[string]messages.GapRow{}}
	stored, found, err := c.storedCheckpoint(ctx)
	if err != nil {
		return err
	}
	err = c.retry(ctx, func() error {
		rows, err := c.cfg.Stream.Gaps(ctx)
		for _, row := range rows {
			l.set(row)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range stored.Gaps {
		l.set(row)
		l.change(l.rows[row.ID], true)
	}
	if err := c.loadBare(ctx, stored); err != nil {
		return err
	}
	c.ledger, c.found.complete = l, c.found.complete || !found || stored.Ledger
	c.saveGaps(ctx)
	c.tellLedger()
	return nil
}

func (c *committer) tellLedger() {
	c.fetch = fetching{} // the one who asks knows of none
	c.feed(&messages.LedgerLoaded{Rows: slices.Collect(maps.Values(c.ledger.rows))})
}

// storedCheckpoint is the checkpoint of the stream's last append.
func (c *committer) storedCheckpoint(ctx context.Context) (stored messages.Checkpoint, found bool, err error) {
	err = c.retry(ctx, func() (err error) {
		stored, err = c.cfg.Stream.Checkpoint(ctx)
		if found = err == nil; errors.Is(err, persistence.ErrNoCheckpoint) {
			return nil
		}
		return err
	})
	return stored, found, err
}

// set takes a row over, unless a newer version is known.
func (l *ledger) set(row messages.GapRow) {
	if old, known := l.rows[row.ID]; known && old.Version >= row.Version {
		return
	}
	if _, known := l.rows[row.ID]; !known && row.Cause == messages.GapOversized {
		l.oversized++
	}
	l.rows[row.ID] = row
}

// change takes over a row that is stored in a checkpoint, or is to be saved.
func (l *ledger) change(row messages.GapRow, urgent bool) {
	l.set(row)
	l.unsaved = append(slices.DeleteFunc(l.unsaved, func(r messages.GapRow) bool { return r.ID == row.ID }), row)
	l.urgent = l.urgent || urgent
}

// with returns the rows of the next checkpoint: those that are not saved, in their newest versions.
func (l *ledger) with(rows []messages.GapRow) []messages.GapRow {
	if len(rows)+len(l.unsaved) == 0 {
		return nil
	}
	next := &ledger{rows: map[string]messages.GapRow{}, unsaved: slices.Clone(l.unsaved)}
	for _, row := range rows {
		next.change(row, false)
	}
	return next.unsaved
}

// saveGaps saves the rows that the ledger lacks, when that is due. A failure does no harm: the
// checkpoint has the rows, and the next call tries again.
func (c *committer) saveGaps(ctx context.Context) {
	l := &c.ledger
	now := c.cfg.Clock.Now()
	if len(l.unsaved) == 0 || !l.urgent && now.Sub(l.savedAt) < progressPeriod {
		return
	}
	l.savedAt, l.urgent = now, false
	crashpoint.Pass(crashpoint.LedgerSave)
	if c.cfg.Stream.SaveGaps(ctx, l.unsaved) == nil {
		l.unsaved = nil
	}
	crashpoint.Pass(crashpoint.LedgerSaved)
}

// newRow is the row of a gap that is recorded now. A gap that is recorded again is the same row.
func (c *committer) newRow(g messages.Gap) messages.GapRow {
	row := messages.GapRow{ID: messages.GapID(c.cfg.Feed, g), Version: 1, Feed: c.cfg.Feed, Gap: g, Known: known(g.Cause),
		State: messages.GapOpen, OpenedAt: c.cfg.Clock.Now(), ChangedAt: c.cfg.Clock.Now()}
	if old, again := c.ledger.rows[row.ID]; again {
		row.Version, row.OpenedAt = old.Version+1, old.OpenedAt
	}
	if g.Cause == messages.GapOversized {
		row.State, row.Why = messages.GapUnrepairable, whyOversized
	}
	return row
}

// known says whether events are missing for certain. After other causes they may be.
func known(cause messages.GapCause) bool {
	switch cause {
	case messages.GapReplayWindow, messages.GapOversized, messages.GapSkipped, messages.GapCorrupt, messages.GapOperator:
		return true
	}
	return false
}

// changed is the row with what m changes, in its next version.
func (c *committer) changed(row, m messages.GapRow) messages.GapRow {
	if row.State.Final() || row.Source != m.Source {
		row.Progress = nil // it is of another source, or of an earlier repair
	}
	row.Version++
	row.State, row.Source, row.Attempts, row.Why, row.Missing = m.State, m.Source, m.Attempts, m.Why, m.Missing
	row.Bytes = max(row.Bytes, m.Bytes)
	row.Planned, row.RetryAt, row.Tried, row.RestFromUS, row.RestToUS = m.Planned, m.RetryAt, m.Tried, m.RestFromUS, m.RestToUS
	row.ChangedAt = c.cfg.Clock.Now()
	return row
}

// changeGap changes a row as the backfill actor asks. A gap that is closed gets an entry.
func (c *committer) changeGap(ctx context.Context, m *messages.ChangeGap) error {
	old, known := c.ledger.rows[m.Row.ID]
	if !known {
		return nil
	}
	row := c.changed(old, m.Row)
	if row.State.Final() && !old.State.Final() {
		if err := c.closeGap(ctx, row); err != nil {
			return err
		}
	} else {
		c.ledger.change(row, true)
		c.saveGaps(ctx)
	}
	c.feed(&messages.GapChanged{Row: row})
	return nil
}

// closeGap appends the closing entry of a gap. A writer that no epoch has told its position yet
// leaves the stored one as it is.
func (c *committer) closeGap(ctx context.Context, row messages.GapRow) error {
	if c.epoch.isNone() {
		stored, _, err := c.storedCheckpoint(ctx)
		if err != nil {
			return err
		}
		c.checkpoint = stored
	}
	_, err := c.store(ctx, gapBatch(row), false, row)
	return err
}
