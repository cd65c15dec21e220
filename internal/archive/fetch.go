package archive

import (
	"context"
	"errors"
	"fmt"
	"math"

	"tempestd/internal/archive/jss"
)

// buffers are the memory of one download. They are used again and again.
type buffers struct {
	frames []byte
	raw    [][]byte // decompressed blocks
	blocks []jss.Block
	damage []error // of each of them; one with damage is empty
	unpack *jss.Decompressor
}

func (b *buffers) close() {
	if b.unpack != nil {
		b.unpack.Close()
	}
}

// keepBuffer is how much memory an idle buffer may keep: more than blocks of today need.
const keepBuffer = 8 << 20

// trim drops memory that only an unusual block needed.
func (b *buffers) trim() {
	if cap(b.frames) > keepBuffer {
		b.frames = nil
	}
	for i := range b.raw {
		if cap(b.raw[i]) > keepBuffer {
			b.raw[i] = nil
		}
	}
}

// jobToll pays for a job's download: from the budget, and with room in the window.
type jobToll struct {
	*pass
	job   *job
	leave bool // leave damaged blocks out
}

func (t jobToll) take(ctx context.Context, n int64) error {
	if n < 0 {
		t.window.give(-n)
		t.job.held += n
		return t.spending.take(ctx, n)
	}
	if err := t.room(ctx, n); err != nil {
		return err
	}
	return t.spending.take(ctx, n)
}

func (t jobToll) came(n int) { t.spending.came(n) }

// room takes room in the window alone.
func (t jobToll) room(ctx context.Context, n int64) error {
	if err := t.window.take(ctx, t.job.ticket, n); err != nil {
		return err
	}
	t.job.held += n
	return nil
}

// fetch downloads the blocks of a job and unpacks them. Blocks that contradict themselves are fetched
// once more: something between the server and here may have damaged them. What is still damaged then
// is left out, if the sweep goes on behind damage.
func (p *pass) fetch(ctx context.Context, j *job) (err error) {
	for range 2 {
		if err = p.fetchOnce(ctx, jobToll{p, j, false}); !errors.Is(err, jss.ErrCorrupt) {
			break
		}
	}
	if p.leaves(err) {
		err = p.fetchOnce(ctx, jobToll{p, j, true})
	}
	return err
}

func (p *pass) fetchOnce(ctx context.Context, t jobToll) (err error) {
	j, b := t.job, t.job.buf
	p.window.give(j.held)
	j.held, b.blocks, b.damage = 0, b.blocks[:0], b.damage[:0]
	if b.unpack == nil {
		if b.unpack, err = jss.NewDecompressor(uint64(p.MaxBlock)); err != nil {
			return err
		}
	}
	if j.infos == nil {
		return t.block(ctx, nil)
	}
	if err := t.piece(ctx); !errors.Is(err, errNoRange) {
		return err
	}
	for n := range j.infos { // the server has begun to ignore ranges
		if err := t.block(ctx, &j.infos[n]); err != nil {
			return err
		}
	}
	return nil
}

// block fetches the next block of a job by itself.
func (t jobToll) block(ctx context.Context, i *jss.BlockInfo) (err error) {
	b := t.job.buf
	b.frames, err = t.Client.download(ctx, t.job.unit.blockPart(t.job.first+len(b.blocks), t.MaxBlock), b.frames[:0], t)
	if err == nil {
		err = t.unpack(ctx, b.frames, i)
	}
	return t.settle(err)
}

// settle notes damage of the job's next block, in whose place it leaves an empty one, or returns the
// error.
func (t jobToll) settle(err error) error {
	b := t.job.buf
	if err == nil {
		b.damage = append(b.damage, nil)
		return nil
	}
	if err = t.job.unit.faulty(t.job.first+len(b.blocks), err); !t.leave || !t.leaves(err) {
		return err
	}
	b.blocks, b.damage = append(b.blocks, jss.Block{}), append(b.damage, err)
	return nil
}

// piece fetches adjacent blocks of a segment by one range.
func (t jobToll) piece(ctx context.Context) (err error) {
	j, b := t.job, t.job.buf
	from := int64(j.infos[0].FrameOffset())
	last := &j.infos[len(j.infos)-1]
	size := int64(last.FrameOffset()) + int64(last.Size) - from
	if b.frames, err = t.Client.download(ctx, j.unit.segmentPart(from, size, size), b.frames[:0], t); err != nil {
		return j.unit.faulty(j.first, err)
	}
	for n := range j.infos {
		i := &j.infos[n]
		at := int64(i.FrameOffset()) - from
		if err := t.settle(t.unpack(ctx, b.frames[at:at+int64(i.Size)], i)); err != nil {
			return err
		}
	}
	return nil
}

// unpack unpacks the next block of a job and checks it, against its index if that is known.
func (t jobToll) unpack(ctx context.Context, frame []byte, i *jss.BlockInfo) error {
	b, n := t.job.buf, len(t.job.buf.blocks)
	size, known, err := jss.ContentSize(frame)
	if err != nil {
		return err
	}
	if !known {
		size = uint64(t.MaxBlock)
	}
	if size > uint64(t.MaxBlock) {
		return fmt.Errorf("%w: a block of %d bytes, up to %d are taken", ErrTooLarge, size, t.MaxBlock)
	}
	if err := t.room(ctx, int64(min(size, math.MaxInt64))); err != nil {
		return err
	}
	for n >= len(b.raw) { // more than one after damaged blocks
		b.raw = append(b.raw, nil)
	}
	if b.raw[n], err = b.unpack.Unpack(b.raw[n], frame); err != nil {
		return err
	}
	block, err := jss.ParseBlock(b.raw[n])
	if err == nil && i != nil {
		err = block.Within(i)
	}
	if err != nil {
		return err
	}
	if first, last := block.Bounds(); block.Len() > 0 && (first < t.job.unit.min || last > t.job.unit.max) {
		return corrupt("a block with events %d to %d, the plan says %d to %d", first, last, t.job.unit.min, t.job.unit.max)
	}
	b.blocks = append(b.blocks, block)
	return nil
}
