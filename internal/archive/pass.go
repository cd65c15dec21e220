package archive

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"tempestd/internal/archive/jss"
	"tempestd/internal/beside"
)

const (
	// pieceBytes is how much of a whole segment is asked for at once. A block has 0.3 MB.
	pieceBytes = 1 << 20
	// maxFooter bounds a segment's footer. Those of today have 100 KB to some MB.
	maxFooter = 64 << 20
)

// pass plans what is left, fetches it in parallel, and delivers it in order, up to the end or to the
// first error. It leaves no goroutine behind.
func (r *run) pass(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &pass{run: r, cancel: cancel, window: newWindow(r.Window), order: make(chan *job, r.Parallel)}
	stop := context.AfterFunc(ctx, p.window.wake)
	p.wg.Go(func() { p.failed = guarded("archive.plan", func() error { return p.plan(ctx) }); close(p.order) })
	err := p.deliver(ctx)
	cancel()
	for j := range p.order { // what is on its way ends by itself
		p.release(j)
	}
	p.wg.Wait()
	stop()
	if err == nil {
		err = p.failed
	}
	return err
}

// guarded calls do. A panic in it is the error, and so ends the sweep alone.
func guarded(task string, do func() error) (err error) {
	beside.Do(task, nil, func() { err = do() }, func(p *beside.Panic) { err = p.Traced() })
	return err
}

type pass struct {
	*run
	cancel context.CancelFunc
	window *window
	order  chan *job // in the order of delivery
	wg     sync.WaitGroup
	failed error // why the plan ended early; read after order is closed
	ticket int
}

// job is one download: adjacent blocks of a segment.
type job struct {
	unit   *unit
	first  int             // block number
	infos  []jss.BlockInfo // of a whole segment's blocks; nil for one block by itself
	ends   bool            // it has no download: it ends a page of the plan, which goes through plan
	plan   uint64
	damage error  // it has no download: what the unit has instead of an index
	sealed uint64 // the end of the sweep
	ticket int
	buf    *buffers
	held   int64 // bytes of the window
	done   chan error
}

// plan asks for pages, and starts the downloads.
func (p *pass) plan(ctx context.Context) error {
	at := p.out.start()
	if end := at.end(p.Before); end > 0 && at.Seq >= end {
		return nil
	}
	for {
		page, err := p.planner.page(ctx, ask{filter: p.Filter, after: at.Seq, before: at.end(p.Before)})
		if err != nil {
			return err
		}
		if at.Sealed == 0 {
			at.Sealed = page.tip
		}
		end := min(at.Sealed, page.tip)
		if end <= at.Seq {
			return nil
		}
		told := Planned{Through: page.through, Sealed: end}
		for i := range page.units {
			if page.units[i].whole {
				told.Segments++
			} else {
				told.Blocks += page.units[i].count()
			}
		}
		p.Watcher.Planned(told)
		for i := range page.units {
			u := &page.units[i]
			if u.max <= at.Seq || u.min > end {
				continue
			}
			if err := p.unit(ctx, u, &at); err != nil {
				return err
			}
		}
		at.Seq, at.Planned = page.through, page.through
		if err := p.start(ctx, &job{ends: true, plan: min(page.through, end), sealed: at.Sealed}); err != nil {
			return err
		}
		if page.through >= end {
			return nil
		}
	}
}

// end is the inclusive bound of a plan: the pinned end, or else the wanted one.
func (p *Point) end(before uint64) uint64 {
	if p.Sealed > 0 {
		return p.Sealed
	}
	return before
}

// unit starts the downloads of one segment. Blocks before the point are left out.
func (p *pass) unit(ctx context.Context, u *unit, at *Point) error {
	from := 0
	if u.name == at.Segment {
		from = at.Block
	}
	if u.whole {
		infos, err := p.index(ctx, u)
		if err == nil {
			return p.pieces(ctx, u, infos, from, at)
		}
		if !errors.Is(err, errNoRange) && !p.inBlocks(ctx, u, err) {
			if err = u.faulty(-1, err); p.leaves(err) {
				return p.start(ctx, &job{unit: u, first: -1, damage: err, sealed: at.Sealed})
			}
			return err
		}
		u.blocks = []span{{0, u.total - 1}} // single blocks are to be had without the index
	}
	for _, s := range u.blocks {
		for n := max(s.first, from); n <= s.last; n++ {
			if err := p.start(ctx, &job{unit: u, first: n, sealed: at.Sealed}); err != nil {
				return err
			}
		}
	}
	return nil
}

// inBlocks says whether a segment without a sound index can be had in single blocks: each has a
// checksum of its own, and the server agrees that there are so many of them.
func (p *pass) inBlocks(ctx context.Context, u *unit, err error) bool {
	if !errors.Is(err, jss.ErrCorrupt) || u.total == 0 {
		return false
	}
	if _, err := p.Client.size(ctx, u.blockPart(u.total-1, p.MaxBlock)); err != nil {
		return false
	}
	_, err = p.Client.size(ctx, u.blockPart(u.total, p.MaxBlock))
	return errors.Is(err, ErrGone)
}

// leaves says whether the sweep goes on behind an error.
func (r *run) leaves(err error) bool {
	_, damage := errors.AsType[*SegmentError](err)
	return damage && r.Leave != nil
}

// pieces starts the downloads of a whole segment whose index is known.
func (p *pass) pieces(ctx context.Context, u *unit, infos []jss.BlockInfo, from int, at *Point) error {
	wanted := func(n int) bool {
		i := &infos[n]
		return n >= from && i.Events > 0 && i.MaxSeq > at.Seq && i.MinSeq <= at.Sealed
	}
	for n := 0; n < len(infos); {
		if !wanted(n) {
			n++
			continue
		}
		first, size := n, int64(0)
		for n < len(infos) && wanted(n) && (n == first || size+int64(infos[n].Size) <= pieceBytes) {
			size += int64(infos[n].Size)
			n++
		}
		if err := p.start(ctx, &job{unit: u, first: first, infos: infos[first:n], sealed: at.Sealed}); err != nil {
			return err
		}
	}
	return nil
}

// index fetches the header and the footer of a segment, checks them, and returns the block index. If
// they contradict each other they are fetched once more.
func (p *pass) index(ctx context.Context, u *unit) (infos []jss.BlockInfo, err error) {
	for range 2 {
		if infos, err = p.indexOnce(ctx, u); !errors.Is(err, jss.ErrCorrupt) {
			break
		}
	}
	return infos, err
}

func (p *pass) indexOnce(ctx context.Context, u *unit) ([]jss.BlockInfo, error) {
	header, err := p.Client.download(ctx, u.segmentPart(0, jss.HeaderSize, jss.HeaderSize), nil, &p.spending)
	if err != nil {
		return nil, err
	}
	h, err := jss.ParseHeader(header)
	if err != nil {
		return nil, err
	}
	if sum := jss.ChecksumText(h.Checksum); sum != u.checksum {
		return nil, corrupt("its header has the checksum %s, the plan %s", sum, u.checksum)
	}
	if h.IndexOffset > math.MaxInt64-maxFooter || h.CollectionIndexOffset-h.IndexOffset > maxFooter {
		return nil, corrupt("a footer from byte %d on, with its last part at %d", h.IndexOffset, h.CollectionIndexOffset)
	}
	u.total = int(h.Blocks)
	footer, err := p.Client.download(ctx, u.segmentPart(int64(h.IndexOffset), -1, maxFooter), nil, &p.spending)
	if err != nil {
		return nil, err
	}
	if err := jss.Verify(header, footer); err != nil {
		return nil, err
	}
	if uint64(len(footer)) < h.AccountBloomOffset-h.IndexOffset {
		return nil, corrupt("a footer of %d bytes, with an index of %d blocks", len(footer), h.Blocks)
	}
	return jss.ParseIndex(&h, footer[:h.AccountBloomOffset-h.IndexOffset])
}

// start starts a download as soon as there are buffers for it.
func (p *pass) start(ctx context.Context, j *job) error {
	j.ticket, j.done = p.ticket, make(chan error, 1)
	p.ticket++
	if j.ends || j.damage != nil {
		j.done <- nil
	} else {
		select {
		case j.buf = <-p.buffers:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p.wg.Go(func() { j.done <- guarded("archive.fetch", func() error { return p.fetch(ctx, j) }) })
	}
	select {
	case p.order <- j:
		return nil
	case <-ctx.Done():
		p.release(j)
		return context.Cause(ctx)
	}
}

// release awaits a job, and gives back what it holds.
func (p *pass) release(j *job) {
	if j.buf == nil {
		return
	}
	<-j.done
	p.putBack(j)
}

func (p *pass) putBack(j *job) {
	p.window.give(j.held)
	j.buf.trim()
	p.buffers <- j.buf
	j.buf = nil
}

// deliver hands over what the jobs bring, in their order.
func (p *pass) deliver(ctx context.Context) error {
	for j := range p.order {
		err := p.await(ctx, j)
		if err == nil {
			err = p.consume(ctx, j)
		}
		if j.buf != nil {
			p.putBack(j)
		}
		p.window.next()
		if err != nil {
			return err
		}
	}
	return nil
}

// idleAfter is how long events wait for the next ones to fill their batch.
const idleAfter = 200 * time.Millisecond

// await waits for a job. If it takes long, the events there are do not wait with it.
func (p *pass) await(ctx context.Context, j *job) error {
	select {
	case err := <-j.done:
		return err
	default:
	}
	timer := p.Client.opt.Clock.NewTimer(idleAfter)
	defer timer.Stop()
	select {
	case err := <-j.done:
		return err
	case <-timer.Chan():
	}
	if err := p.out.idle(ctx); err != nil {
		p.cancel() // or the job may wait for hours
		<-j.done
		return err
	}
	return <-j.done
}

func (p *pass) consume(ctx context.Context, j *job) error {
	p.out.point.Sealed = j.sealed
	if j.ends {
		return p.out.planned(ctx, j.plan)
	}
	if j.damage != nil {
		return p.out.leave(ctx, j.damage)
	}
	for i := range j.buf.blocks {
		err := j.buf.damage[i]
		if err == nil {
			err = j.unit.faulty(j.first+i, p.out.block(ctx, j.unit, j.first+i, &j.buf.blocks[i]))
		}
		if p.leaves(err) {
			err = p.out.leave(ctx, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
