package archive

import (
	"context"
	"errors"
	"sort"

	"tempestd/internal/archive/jss"
	"tempestd/messages"
)

// Price is what a sweep would download.
type Price struct {
	Bytes int64
	// Exact is false where sizes of blocks were estimated from the size of their segment.
	Exact    bool
	Segments int    // fetched as a whole
	Blocks   int    // of other segments
	Entries  int    // of the plan
	Through  uint64 // how far the archive reaches, up to the wanted end
}

// askEach is up to how many blocks of a segment are asked for their size one by one. For more of them
// the header is fetched, 256 bytes, and the size estimated.
const askEach = 4

// Price plans the sweep, and says what it would download. It downloads no block.
func (s *Sweep) Price(ctx context.Context) (Price, error) {
	c, err := s.checked()
	if err != nil {
		return Price{}, err
	}
	c.Budget = 0 // it is for blocks
	r := newRun(c)
	defer r.close()
	if err := r.recognise(ctx); err != nil {
		return Price{}, err
	}
	all, err := c.Client.segments(ctx)
	if err != nil {
		return Price{}, err
	}
	at := r.out.point
	price := Price{Exact: true, Through: at.Seq}
	for {
		end := at.end(c.Before)
		if end > 0 && at.Seq >= end {
			return price, nil
		}
		page, err := r.planner.page(ctx, ask{filter: c.Filter, after: at.Seq, before: end})
		if err != nil {
			return price, err
		}
		if at.Sealed == 0 {
			at.Sealed = page.tip
		}
		for i := range page.units {
			if err := r.price(ctx, all, &page.units[i], &price); err != nil {
				return price, err
			}
		}
		price.Entries += page.entries
		if page.tip <= at.Seq {
			return price, nil
		}
		at.Seq = page.through
		if price.Through = min(page.through, page.tip); page.through >= min(at.Sealed, page.tip) {
			return price, nil
		}
	}
}

// priceBeside asks for the price beside a sweep. The function that it returns ends that, and returns
// a fault of ours.
func (s *Sweep) priceBeside(ctx context.Context) (end func() error) {
	if s.Priced == nil {
		return func() error { return nil }
	}
	p := *s
	p.Batch, p.Watcher = &messages.Batch{}, unwatched{}
	ctx, cancel := context.WithCancel(ctx)
	fault := make(chan error, 1)
	go func() {
		fault <- guarded("archive.price", func() error {
			if price, err := p.Price(ctx); err == nil {
				s.Priced(price.Bytes)
			}
			return nil
		})
	}()
	return func() error { cancel(); return <-fault }
}

// price adds what a unit costs.
func (r *run) price(ctx context.Context, all []segment, u *unit, to *Price) error {
	size, err := r.sizeOf(ctx, all, u)
	if err != nil {
		return err
	}
	if u.whole {
		to.Segments++
		to.Bytes += size
		return nil
	}
	n := u.count()
	to.Blocks += n
	if n <= askEach {
		bytes, err := r.sizeOfBlocks(ctx, u)
		if err == nil {
			to.Bytes += bytes
			return nil
		}
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrBadAnswer) && !changed(err) { // older servers have no HEAD
			return err
		}
	}
	to.Exact = false
	header, err := r.Client.download(ctx, u.segmentPart(0, jss.HeaderSize, jss.HeaderSize), nil, &r.spending)
	if err != nil {
		return err
	}
	h, err := jss.ParseHeader(header)
	if err != nil {
		return u.faulty(-1, err)
	}
	to.Bytes += size * int64(n) / int64(max(h.Blocks, uint32(n), 1))
	return nil
}

func (r *run) sizeOfBlocks(ctx context.Context, u *unit) (bytes int64, err error) {
	for _, s := range u.blocks {
		for n := s.first; n <= s.last; n++ {
			size, err := r.Client.size(ctx, u.blockPart(n, r.MaxBlock))
			if err != nil {
				return 0, err
			}
			bytes += size
		}
	}
	return bytes, nil
}

// sizeOf is the size of a segment, from the list or, if it is newer than the list, from the server.
func (r *run) sizeOf(ctx context.Context, all []segment, u *unit) (int64, error) {
	i := sort.Search(len(all), func(i int) bool { return all[i].Index >= u.index })
	if i < len(all) && all[i].Index == u.index && all[i].Checksum == u.checksum {
		return all[i].SizeBytes, nil
	}
	return r.Client.size(ctx, u.segmentPart(0, -1, 0))
}
