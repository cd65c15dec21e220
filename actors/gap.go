package actors

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"tempestd/internal/crashpoint"
	"tempestd/messages"
)

// gapBatch is a batch of one gap entry: the gap's closing entry if the row's state is final, or else
// its opening one. The entry's ID follows the last entry, so that the events after the gap keep the
// IDs that derive from their own times.
func gapBatch(row messages.GapRow) *messages.Batch {
	buf, fingerprint := row.OpeningEntry(), fingerprintOf(row.Gap)
	if row.State.Final() {
		buf = row.ClosingEntry()
		fingerprint = xxhash.Sum64(buf)
	}
	return &messages.Batch{
		Buf: buf,
		Events: []messages.Event{{
			Len:         uint32(len(buf)),
			Kind:        messages.KindGap,
			TimeUS:      row.FromUS,
			Fingerprint: fingerprint,
		}},
	}
}

// fingerprintOf is the fingerprint of a gap's opening entry. Earlier versions wrote the entry
// without the ID, and it has to be the same.
func fingerprintOf(g messages.Gap) uint64 { return xxhash.Sum64(g.Entry()) }

// gapEnd is the time at which a gap before the batch ends, on the host's clock. It is the first
// event's own time: where the host's present is not known, the time that the event is stored with is
// bounded by our clock.
func gapEnd(b *messages.Batch, presentUS int64) int64 {
	first := firstStored(b)
	if first == nil {
		return 0
	}
	us := ownUS(b, first)
	if presentUS > 0 {
		return min(us, presentUS)
	}
	return us
}

// recordGap appends a gap entry before the next event and moves the position to the gap's end in the
// same append. A crash after it does not record the gap twice. The gap ends at to, or at its ToUS if
// that is later. first is the event after the gap, nil where the gap ends at a moment.
func (c *committer) recordGap(ctx context.Context, g messages.Gap, to messages.UpstreamTime, first *messages.Event) error {
	before := c.checkpoint.Position
	c.checkpoint.Position = messages.Position{Host: to.Host, TimeUS: max(to.US, g.FromUS), Moment: true}
	g.ToUS = max(to.US, g.ToUS, g.FromUS)
	if before.Host == g.Host && !before.Moment {
		g.FromSeq = before.Seq
	}
	if first != nil && to.Host == g.Host {
		g.ToSeq = first.Seq
	}
	c.checkpoint.Replay, c.checkpoint.AtTip = messages.Position{}, 0
	return c.storeGap(ctx, g, true)
}

// endsWithin is how soon after a gap's end the first event must come to bound the gap by its number.
// A later one bounds it no better than the time.
const endsWithin = 30 * time.Second

// endOfGap returns the row of the gap that ended when the connection opened, up to the first event
// after it: a time that was read off another clock bounds it to within seconds alone.
func (c *committer) endOfGap(b *messages.Batch) []messages.GapRow {
	row, first := c.ledger.rows[c.unended], firstStored(b)
	if row.ID == "" || first == nil {
		return nil
	}
	c.unended = ""
	if row.Host != c.epoch.host || first.Seq == 0 || first.Seq <= row.FromSeq || first.TimeUS > row.ToUS+endsWithin.Microseconds() {
		return nil
	}
	row.Version++
	row.ToSeq, row.ToUS = first.Seq, max(row.ToUS, first.TimeUS)
	return []messages.GapRow{row}
}

// storeGap appends a gap entry with its row, and reports it.
func (c *committer) storeGap(ctx context.Context, g messages.Gap, moved bool) error {
	row := c.newRow(g)
	b := gapBatch(row)
	row.Entry, _, _ = c.ids(b)
	stored, err := c.store(ctx, b, moved, row)
	if err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.GapRecorded)
	c.feed(&messages.GapRecorded{ID: stored.Last, Gap: g, Row: row})
	return nil
}

// recordGapAtEnd appends a gap entry at the end of the stream. The position stays. A writer that no
// epoch has told its position yet does nothing: the feed asks again in the next epoch. A damaged
// block is recorded once, however often it is found.
func (c *committer) recordGapAtEnd(ctx context.Context, g messages.Gap) error {
	if c.epoch.isNone() {
		return nil
	}
	if g.Cause == messages.GapCorrupt {
		if !c.dedupe.Overlaps() {
			if _, err := c.loadIndex(ctx, false, false); err != nil {
				return err
			}
		}
		row, has := c.ledger.rows[messages.GapID(c.cfg.Feed, g)]
		if has || c.dedupe.Holds(fingerprintOf(g)) {
			c.feed(&messages.GapRecorded{Gap: g, Row: row, Known: true})
			return nil
		}
	}
	return c.storeGap(ctx, g, false)
}

// insertGaps inserts a gap entry for each event that was too large, at the event's place in the
// batch. The gap entry has the event's fingerprint, so that a replay of the event makes no second
// gap entry.
func (c *committer) insertGaps(b *messages.Batch) (gaps int) {
	for _, s := range slices.Backward(b.Oversized) {
		if s.Fingerprint != 0 && c.dedupe.Holds(s.Fingerprint) || s.TimeUS > 0 && c.epoch.startsAt(s.Seq, s.TimeUS) {
			continue
		}
		at := s.TimeUS
		if at == 0 {
			at = c.checkpoint.TimeUS
			if s.After > 0 {
				at = b.Events[s.After-1].TimeUS
			}
		}
		gap := c.newRow(messages.Gap{Host: c.epoch.host, FromUS: at, ToUS: at, Cause: messages.GapOversized, Event: &messages.MissingEvent{
			TimeUS: s.TimeUS, Seq: s.Seq, Bytes: s.Size, DID: s.DID, Rev: s.Rev, Collection: s.Collection, RKey: s.RKey, Operation: s.Operation}}).OpeningEntry()
		e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(gap)), Kind: messages.KindGap, TimeUS: at, Seq: s.Seq, Fingerprint: s.Fingerprint}
		if e.Fingerprint == 0 {
			e.Fingerprint = xxhash.Sum64(gap)
		}
		b.Buf = append(b.Buf, gap...)
		b.Events = slices.Insert(b.Events, s.After, e)
		gaps++
	}
	return gaps
}

// recorded returns what is to be reported of the gap entries of a batch, once it is stored.
func (c *committer) recorded(b *messages.Batch) (all []*messages.GapRecorded) {
	last := c.checkpoint.LastID
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop {
			continue
		}
		last = messages.DeriveID(e.TimeUS, last)
		if e.Kind != messages.KindGap {
			continue
		}
		var entry struct{ Gap messages.Gap }
		if json.Unmarshal(b.Bytes(i), &entry) != nil {
			continue
		}
		m := &messages.GapRecorded{ID: last, Gap: entry.Gap}
		if c.ledger.oversized+len(all) < mostOversized {
			m.Row = c.newRow(entry.Gap)
			m.Row.Entry = last
		}
		all = append(all, m)
	}
	return all
}

// rowsOf returns the rows of recorded gaps.
func rowsOf(recorded []*messages.GapRecorded) (rows []messages.GapRow) {
	for _, m := range recorded {
		if m.Row.ID != "" {
			rows = append(rows, m.Row)
		}
	}
	return rows
}
