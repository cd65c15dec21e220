package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"tempestd/internal/crashpoint"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

const (
	// packRate is how many bytes of segments are packed per second. This takes about 6 % of a core.
	packRate = 1 << 20
	// packBlock is the raw bytes at which a packed block ends.
	packBlock = 1 << 20
	// coldAfter is how many of the newest sealed segments are not packed, because most reads are
	// there.
	coldAfter = 1
	// busyBytes is the number of bytes appended per second above which a feed is catching up. Then
	// packing waits, and leaves the cores and the disk to the feed.
	busyBytes = 2 << 20
)

// packer makes sealed segments smaller. It writes their blocks again, larger and compressed with
// zstd. IDs, entry numbers, links and positions do not change. It runs in one goroutine, at a
// bounded rate, and not while the disk is nearly full or a feed catches up.
type packer struct {
	store *Store
	enc   segment.Encoder
	buf   []byte
	raw   []byte
	head  segment.Head
	// pause waits after n bytes were read.
	pause func(ctx context.Context, n int64) error
}

func (s *Store) newPacker() (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &packer{store: s, enc: segment.Encoder{Zstd: enc}, pause: func(ctx context.Context, n int64) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.clock.After(time.Duration(n) * time.Second / packRate):
			return nil
		}
	}}, nil
}

// packLoop packs after each round of maintenance, until the store is closed. A panic ends a round
// of packing, but not the store.
func (s *Store) packLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.packs:
		}
		p, err := s.newPacker()
		if err == nil {
			err = p.all(ctx)
		}
		if err != nil {
			s.maintenanceFailed(ctx, "", fmt.Errorf("pack: %w", err))
		}
	}
}

// all packs all segments that can be packed.
func (p *packer) all(ctx context.Context) (err error) {
	p.store.packing.Lock()
	defer p.store.packing.Unlock()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of ours: %v\n%s", r, debug.Stack())
		}
	}()
	for _, st := range p.store.all() {
		for {
			g := st.packable()
			if g == nil {
				break
			}
			if err := p.one(ctx, st, g); err != nil {
				if ctx.Err() != nil || persistence.Temporary(err) || isGone(err) {
					return nil // the next round tries again, or the segment is gone
				}
				g.unpackable.Store(true)
				if !errors.Is(err, segment.ErrDamaged) { // readers and verification report damage
					return err
				}
			}
		}
	}
	return nil
}

// packable returns the oldest segment that should be packed, nil if there is none.
func (st *stream) packable() *segmentFile {
	t := st.tip.Load()
	idle := st.store.clock.Since(time.Unix(0, st.w.rateSince.Load())) > 10*time.Second
	if t.active == nil || !idle && st.w.bytesPerSecond.Load() > busyBytes {
		return nil
	}
	for i, g := range t.segs {
		if i >= len(t.segs)-1-coldAfter {
			return nil
		}
		if g.hole() || g.header.Packed > 0 || g.unpackable.Load() || g.header.Start.Entries < t.meta.droppedEntries {
			continue
		}
		if st.store.space.spare() < 4*g.size.Load() {
			return nil
		}
		return g
	}
	return nil
}

// one packs a segment into a temporary file, and replaces the segment by it.
func (p *packer) one(ctx context.Context, st *stream, g *segmentFile) error {
	files := p.store.files
	temporary := g.path + disk.TemporarySuffix
	header := g.header
	header.Packed++
	out, err := files.Open(temporary, disk.Create)
	if err != nil {
		return p.store.failure(err)
	}
	size, err := p.write(ctx, g, &header, out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = st.replace(g, &header, temporary, size)
	}
	if err != nil {
		_ = files.Unlink(temporary)
	}
	return err
}

// write writes the packed segment and returns its size.
func (p *packer) write(ctx context.Context, g *segmentFile, header *segment.Header, out disk.File) (int64, error) {
	rows, err := g.index()
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(rows, func(r segment.Row) bool { return r.Hole() }) {
		return 0, fmt.Errorf("%w: it has holes", segment.ErrDamaged)
	}
	in, err := g.use()
	if err != nil {
		return 0, err
	}
	defer g.release()
	old, err := segment.ReadTrailer(in, g.size.Load())
	if err != nil {
		return 0, err
	}
	last, err := p.state(in, &old)
	if err != nil {
		return 0, err
	}
	trailer := segment.Trailer{Number: header.Number, MinUS: old.MinUS, MaxUS: old.MaxUS}
	p.buf = segment.AppendHeader(p.buf[:0], header)
	off, at := int64(0), header.Start
	var packed []segment.Row
	for i := 0; i < len(rows); {
		var src segment.Source
		var state segment.State
		read := int64(0)
		if src, state, read, i, err = p.gather(in, rows, i); err != nil {
			return 0, err
		}
		if i == len(rows) { // the state of the stream at the segment's end
			state, src.Number = last, old.End.Number
		}
		begin := len(p.buf)
		var row segment.Row
		if p.buf, row, err = p.enc.Append(p.buf, &src, &state, false, &at); err != nil {
			return 0, err
		}
		row.Off = off + int64(begin)
		trailer.StateOff, trailer.StateHead = row.Off, int(row.HeadLen)
		packed = append(packed, row)
		if _, err := out.WriteAt(p.buf, off); err != nil {
			return 0, p.store.failure(err)
		}
		off, p.buf = off+int64(len(p.buf)), p.buf[:0]
		if err := p.pause(ctx, read); err != nil {
			return 0, err
		}
	}
	if at != old.End {
		return 0, fmt.Errorf("%w: its blocks end at %+v, it at %+v", segment.ErrDamaged, at, old.End)
	}
	trailer.End = at
	footer := segment.AppendFooter(nil, off, packed, &trailer)
	if _, err := out.WriteAt(footer, off); err != nil {
		return 0, p.store.failure(err)
	}
	return trailer.Size, nil
}

// state returns the stream's state from the block that ends a segment.
func (p *packer) state(in disk.File, t *segment.Trailer) (segment.State, error) {
	b := make([]byte, t.StateHead)
	if err := readAt(in, b, t.StateOff); err != nil {
		return segment.State{}, err
	}
	if err := p.head.Decode(b); err != nil {
		return segment.State{}, err
	}
	return stateOf(&p.head), nil
}

func stateOf(h *segment.Head) segment.State {
	return segment.State{Floor: h.Floor, DroppedEntries: h.DroppedEntries, DroppedBytes: h.DroppedBytes, ClosedUS: h.ClosedUS,
		ClosedReason: string(h.Reason), Checkpoint: slices.Clone(h.Checkpoint)}
}

// gather unpacks blocks from row i on until they make a packed block. It returns the row after
// them. The last of them ends an append.
func (p *packer) gather(in disk.File, rows []segment.Row, i int) (src segment.Source, state segment.State, read int64, next int, err error) {
	p.raw = p.raw[:0]
	var comp, chunk []byte
	for ; i < len(rows); i++ {
		row := &rows[i]
		b := make([]byte, row.HeadLen)
		if err := readAt(in, b, row.Off); err != nil {
			return src, state, 0, 0, err
		}
		h := &p.head
		if err := h.Decode(b); err != nil {
			return src, state, 0, 0, err
		}
		first := len(src.Events)
		for c := range h.Chunks {
			k := &h.Chunks[c]
			comp = slices.Grow(comp[:0], k.Size)[:k.Size]
			if err := readAt(in, comp, row.Off+int64(h.HeadLen)+int64(k.Off)); err != nil {
				return src, state, 0, 0, err
			}
			if chunk, err = p.store.dec.Unpack(chunk, comp, h, k); err != nil {
				return src, state, 0, 0, err
			}
			off := uint32(len(p.raw))
			p.raw = append(p.raw, chunk...)
			for e := k.First; e < k.First+k.Count; e++ {
				// Of the events' times a block only keeps the smallest and the greatest.
				src.Events = append(src.Events, messages.Event{Off: off, Len: h.Lens[e], Fingerprint: h.Fingerprint(e), TimeUS: h.MinUS})
				src.Kept = append(src.Kept, len(src.Kept))
				off += h.Lens[e]
			}
		}
		src.Events[first].TimeUS = h.MaxUS
		if h.Count > 1 {
			src.Events[first+1].TimeUS = h.MinUS
		}
		src.IDs = append(src.IDs, h.IDs...)
		src.Parts = append(src.Parts, h.PartsOf()...)
		src.Number, src.Link, src.Bytes = h.End.Number, h.End.Link, h.End.Bytes
		state = stateOf(h)
		read += int64(row.HeadLen) + int64(row.BodyLen)
		if !h.More && (len(p.raw) >= packBlock || len(src.Kept) >= segment.MaxBlockEntries/2) {
			i++
			break
		}
	}
	src.Buf = p.raw
	return src, state, read, i, nil
}

// replace puts a packed segment in the place of the segment that it was made from. Readers that use
// the old one continue to use it.
func (st *stream) replace(g *segmentFile, header *segment.Header, temporary string, size int64) error {
	st.write.Lock()
	defer st.write.Unlock()
	t := *st.tip.Load()
	i := slices.Index(t.segs, g)
	if i < 0 || st.w.broken != nil {
		return errGone
	}
	// A holder of the old segment must never open the new file with the old rows. So the old file
	// stays open until the old segment has no more holders.
	if _, err := g.use(); err != nil {
		return err
	}
	st.store.open.forget(g)
	crashpoint.Pass(crashpoint.PackWritten)
	if err := st.store.files.Rename(temporary, g.path); err != nil {
		return st.store.failure(err)
	}
	crashpoint.Pass(crashpoint.PackRenamed)
	if err := st.store.files.SyncDir(st.dir); err != nil {
		return st.store.failure(err)
	}
	packed := st.newSegment(g.number)
	packed.header, packed.end = *header, g.end
	packed.size.Store(size)
	t.segs = slices.Clone(t.segs)
	t.segs[i] = packed
	t.meta.saved = saved(t.segs, t.meta.droppedBytes)
	st.store.indexes.removed(g)
	st.publish(&t, nil)
	return nil
}

// errGone says that a packed segment is no longer needed.
var errGone = fmt.Errorf("%w: it was dropped meanwhile", segment.ErrDamaged)
