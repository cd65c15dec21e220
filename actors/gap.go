package actors

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// gapBatch is a batch of one gap entry. The entry's ID follows the last event before the gap, so
// that the events after the gap keep the IDs that derive from their own times.
func gapBatch(g messages.Gap) *messages.Batch {
	buf := g.Entry()
	return &messages.Batch{
		Buf: buf,
		Events: []messages.Event{{
			Len:         uint32(len(buf)),
			Kind:        messages.KindGap,
			TimeUS:      g.FromUS,
			Fingerprint: xxhash.Sum64(buf),
		}},
	}
}

// recordGap appends a gap entry and moves the position to the gap's end in the same append. A crash
// after it does not record the gap twice.
func (c *committer) recordGap(ctx context.Context, g messages.Gap, to messages.UpstreamTime) error {
	g.ToUS = max(to.US, g.FromUS)
	c.checkpoint.Position = messages.Position{Host: to.Host, TimeUS: g.ToUS, Moment: true}
	c.checkpoint.Replay, c.checkpoint.AtTip = messages.Position{}, 0
	return c.storeGap(ctx, g, true)
}

// storeGap appends a gap entry and reports it.
func (c *committer) storeGap(ctx context.Context, g messages.Gap, moved bool) error {
	stored, err := c.store(ctx, gapBatch(g), moved)
	if err != nil {
		return err
	}
	c.feed(&messages.GapRecorded{ID: stored.Last, Gap: g})
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
		if c.dedupe.Holds(gapBatch(g).Events[0].Fingerprint) {
			c.feed(&messages.GapRecorded{Gap: g, Known: true})
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
		gap := messages.Gap{Host: c.epoch.host, FromUS: at, ToUS: at, Cause: messages.GapOversized, Event: &messages.MissingEvent{
			TimeUS: s.TimeUS, Seq: s.Seq, Bytes: s.Size, DID: s.DID, Rev: s.Rev, Collection: s.Collection, RKey: s.RKey, Operation: s.Operation}}.Entry()
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

// reportGaps reports the gap entries of a batch that was stored behind the entry last.
func (c *committer) reportGaps(b *messages.Batch, last messages.EntryID) {
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
		if json.Unmarshal(b.Bytes(i), &entry) == nil {
			c.feed(&messages.GapRecorded{ID: last, Gap: entry.Gap})
		}
	}
}
