package embedded

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// What happens about the findings.
const (
	remedyGap     = "the file is written anew with what is good of it, and goes to aside/ as it is; readers are told of the loss, and a gap entry is appended"
	remedyEnd     = "the feed resumes from what is left: the upstream is asked for it again when the daemon starts, and what it cannot send becomes a gap"
	remedyFooter  = "it is made anew from the blocks; the file as it is goes to aside/"
	remedyHeader  = "it is made anew from the first block; the file as it is goes to aside/"
	remedyAside   = "the file is moved to aside/"
	remedyMissing = "an empty segment takes its place, by which readers are told of the loss, and a gap entry is appended"
	remedyTail    = "they are cut off, and kept in aside/"
)

// streamCheck checks one stream.
type streamCheck struct {
	v    *verifier
	t    *target
	kept *verifiedStream

	floor   EntryID
	dropped uint64
	// anywhere says that retention drops the stream's beginning during the check, so the stream may
	// begin at any segment.
	anywhere bool
	prev     *inspection // the last segment of the stream so far; its end is not checked yet
}

func (c *streamCheck) run(ctx context.Context) error {
	if c.t.open {
		c.markInUse()
		c.dropped = c.t.dropped
	} else if err := c.state(ctx); err != nil {
		return err
	}
	newest := c.newest()
	for _, number := range c.t.numbers {
		var before *segment.Position
		if c.prev != nil && c.prev.number+1 == number {
			before = &c.prev.end
		}
		n, err := c.v.inspect(ctx, c.t, number, before)
		switch {
		case isGone(err) && c.t.gone != nil && c.t.gone(number): // retention was faster
			c.prev, c.anywhere = nil, true
			continue
		case isGone(err):
			continue // the next segment shows what is missing
		case err != nil:
			return err
		}
		if n.unused {
			continue
		}
		if n.headerErr != nil && len(n.parts) == 0 {
			c.noSegment(n, number == newest)
			continue
		}
		if err := c.next(n); err != nil {
			return err
		}
	}
	c.end()
	return nil
}

// newest returns the number of the newest file.
func (c *streamCheck) newest() uint64 {
	if len(c.t.numbers) == 0 {
		return 0
	}
	return c.t.numbers[len(c.t.numbers)-1]
}

// state reads the stream's state from the newest block.
func (c *streamCheck) state(ctx context.Context) error {
	quiet := *c.v
	quiet.opt.Progress = func(persistence.VerifyProgress) {}
	for _, number := range slices.Backward(c.t.numbers) {
		n, err := quiet.inspect(ctx, c.t, number, nil)
		if err != nil && !isGone(err) {
			return err
		}
		if err == nil {
			if last := n.appendEnd(); last != nil {
				c.floor, c.dropped = last.head.Floor, last.head.DroppedEntries
				return nil
			}
		}
	}
	return nil
}

// markInUse checks the high-water mark while the writer moves it. The read may be torn, so it is
// repeated.
func (c *streamCheck) markInUse() {
	path := filepath.Join(marksDir, c.t.name)
	var k known
	var err error
	for range 3 {
		var b []byte
		if b, err = disk.ReadFile(c.v.files, filepath.Join(c.v.dir, path)); err == nil {
			k, err = parseMark(b)
		}
		if err == nil {
			break
		}
	}
	if err == nil && k.last.Compare(c.t.known.synced) < 0 {
		err = fmt.Errorf("%w: it says that the stream ends with %s, which is before %s", segment.ErrDamaged, k.last, c.t.known.synced)
	}
	if err != nil && len(c.t.numbers) > 0 {
		c.v.found(persistence.Finding{Stream: c.t.name, File: path, Fault: "the high-water mark: " + err.Error(), Remedy: "the next append writes it anew"})
	}
}

// mayBeAcknowledged reports whether entries after the position may have been acknowledged.
func (c *streamCheck) mayBeAcknowledged(at *segment.Position) bool {
	k := &c.t.known
	return !k.found || k.number > at.Number || k.last.Compare(at.Last) > 0
}

func (c *streamCheck) found(n *inspection, f persistence.Finding) {
	n.damaged = true
	f.Stream, f.File = c.t.name, n.name
	c.v.found(f)
}

// noSegment reports a file without any readable part.
func (c *streamCheck) noSegment(n *inspection, newest bool) {
	var at segment.Position
	if c.prev != nil {
		at = c.prev.end
	}
	if newest && n.torn && !c.mayBeAcknowledged(&at) {
		return // its first append was interrupted
	}
	c.found(n, persistence.Finding{Length: n.size, Fault: n.headerErr.Error(), Remedy: remedyAside})
	c.kept.segs = append(c.kept.segs, n)
}

// next checks the next segment of the stream, and the end of the one before it.
func (c *streamCheck) next(n *inspection) error {
	start := n.header.Start
	if c.prev == nil {
		if !c.anywhere && start.Entries > c.dropped && c.t.known.oldest.Compare(start.Last) <= 0 {
			c.missing(segment.Position{Last: c.floor, Entries: c.dropped, Bytes: 0}, start, n.number-1)
		}
	} else {
		end := c.prev.end
		switch {
		case start.Entries > end.Entries && c.prev.number+1 == n.number:
			c.prev.parts = append(c.prev.parts, part{off: c.prev.ending.Off, hole: true, from: end, to: start,
				err: fmt.Errorf("%w: its last blocks are not there", segment.ErrDamaged)})
			c.prev.end = start
		case start.Entries > end.Entries:
			c.missing(end, start, n.number-1)
		case start.Entries < end.Entries:
			c.found(n, persistence.Finding{Length: segment.HeaderLen, Remedy: remedyAside,
				Fault: fmt.Sprintf("it begins after %d entries, the segment before it ends after %d", start.Entries, end.Entries)})
		case start.Link != end.Link || start.Last != end.Last:
			c.found(n, persistence.Finding{Length: segment.HeaderLen, Remedy: remedyHeader, Fault: "it does not follow the segment before it"})
		}
		c.tell(c.prev, false)
	}
	c.prev = n
	return nil
}

// missing reports missing files.
func (c *streamCheck) missing(from, to segment.Position, number uint64) {
	if to.Entries <= c.dropped {
		return
	}
	c.kept.missing = append(c.kept.missing, missing{number: number, from: from, to: to})
	c.v.found(persistence.Finding{Stream: c.t.name, File: c.v.segmentName(c.t.name, number), Block: from.Number + 1,
		Fault: "the file is missing, and maybe others before it", Remedy: remedyMissing, Lost: lossOf(from, to)})
}

// tell reports the findings in a segment and counts its entries.
func (c *streamCheck) tell(n *inspection, newest bool) {
	if n.end.Entries <= c.dropped && !newest {
		return // retention dropped it, and its file will be removed
	}
	if n.headerErr != nil {
		c.found(n, persistence.Finding{Length: segment.HeaderLen, Fault: "its header: " + n.headerErr.Error(), Remedy: remedyHeader})
	}
	for i := range n.parts {
		p := &n.parts[i]
		if !p.hole {
			c.v.done.Blocks++
			c.v.done.Entries += uint64(p.head.Count)
			continue
		}
		if p.to.Entries <= c.dropped && p.to.Entries > p.from.Entries {
			continue
		}
		if p.known {
			c.v.done.KnownLost += p.entries()
			continue
		}
		f := persistence.Finding{Offset: p.off, Length: p.len, Block: p.from.Number + 1, Fault: p.err.Error(), Remedy: remedyGap, Lost: lossOf(p.from, p.to)}
		if f.Lost == nil {
			f.Fault += "; no entries are lost by it"
		}
		c.found(n, f)
	}
	switch {
	case n.trailer != nil && n.footer != nil, n.trailer == nil && (n.wasShut || !newest):
		c.found(n, persistence.Finding{Offset: n.ending.Off, Length: n.size - n.ending.Off, Fault: "its footer: " + n.footer.Error(), Remedy: remedyFooter})
	}
	c.kept.segs = append(c.kept.segs, n)
	if !n.damaged {
		n.parts = nil
	}
}

// end checks the end of the stream.
func (c *streamCheck) end() {
	k := &c.t.known
	n := c.prev
	var end segment.Position
	name, off := filepath.Join(streamsDir, c.t.name), int64(0)
	if n != nil {
		if n.trailer == nil {
			c.cutBack(n)
			if !n.ending.Footer && n.ending.Used > n.ending.Off && (!n.torn || c.mayBeAcknowledged(&n.end)) {
				c.found(n, persistence.Finding{Offset: n.ending.Off, Length: n.ending.Used - n.ending.Off, Remedy: remedyTail,
					Fault: "what follows its last block is none"})
			}
		}
		c.tell(n, true)
		end, name, off = n.end, n.name, n.ending.Off
	}
	behind := k.last.Compare(end.Last) > 0
	switch {
	case behind && k.reported:
		c.v.done.KnownLost += k.entries - min(k.entries, end.Entries)
	case behind:
		c.kept.lostEnd = true
		loss := lossOf(end, segment.Position{Last: k.last, Entries: k.entries})
		if loss == nil {
			loss = lossOf(segment.Position{Last: end.Last}, segment.Position{Last: k.last, Entries: 1})
			loss.Entries = 0
		}
		loss.AtEnd = true
		found := "nothing"
		if !end.Last.IsZero() {
			found = end.Last.String()
		}
		c.v.found(persistence.Finding{Stream: c.t.name, File: name, Offset: off, Block: end.Number + 1, Remedy: remedyEnd, Lost: loss,
			Fault: fmt.Sprintf("the stream ends with %s, and %s is known to have been stored", found, k.last)})
	case k.found && k.number > end.Number && !k.reported:
		c.kept.lostEnd = true
		c.v.found(persistence.Finding{Stream: c.t.name, File: name, Offset: off, Block: end.Number + 1, Remedy: remedyEnd,
			Fault: fmt.Sprintf("%d blocks are lost that moved the checkpoint alone", k.number-end.Number)})
	}
}

// cutBack removes the parts at the end of the active segment that do not count: damage at its end,
// an append that is not whole, and blocks after damage that were not known to be on disk. Their
// entries are fetched again.
func (c *streamCheck) cutBack(n *inspection) {
	keep := len(n.parts)
	for i := range n.parts {
		if p := &n.parts[i]; p.hole && c.t.known.found && p.to.Last.Compare(c.t.known.synced) > 0 {
			keep = i
			break
		}
	}
	for keep > 0 && (n.parts[keep-1].hole || n.parts[keep-1].head.More) {
		keep--
	}
	if keep == len(n.parts) {
		return
	}
	at := &n.parts[keep]
	n.ending.Off, n.torn = at.off, at.head.HeadLen > 0
	n.parts = n.parts[:keep]
	n.end = n.header.Start
	if keep > 0 {
		n.end = n.parts[keep-1].head.End
	}
}
