package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"tempestd/internal/archive/jss"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Sweep brings what a server archived between two sequence numbers, in order. Client and Deliver are
// required; the zero values of the rest are defaults.
type Sweep struct {
	Client *Client
	// Filter is applied exactly, whatever the server planned.
	Filter jetstream.Filter
	// After and Before bound the range: exclusive, inclusive. A Before of 0 means everything that is
	// sealed when the sweep begins.
	After, Before uint64
	// From is the point at which an earlier sweep of the same range stopped.
	From Point

	// Batch is the first batch that is filled; nil makes one.
	Batch *messages.Batch
	// Deliver takes a batch over and returns the next one, which is empty. The sweep waits for it. The
	// point belongs to the end of the batch, and is to be stored with it. A batch may have no events:
	// then only the point has moved.
	Deliver func(ctx context.Context, b *messages.Batch, at Point) (*messages.Batch, error)
	// Leave is told of damage that cannot be got around, once everything before it was handed over. The
	// sweep then goes on behind it. With nil, damage ends the sweep.
	Leave func(damage *SegmentError)
	// BatchEvents and BatchBytes bound a batch: 1024 and 1 MiB. One event may exceed the bytes.
	BatchEvents, BatchBytes int

	// Witnessed says that the server's socket sends witnessedAt. Raw keeps events as v2 frames.
	Witnessed, Raw bool

	// Budget is the most bytes of segments and blocks that are downloaded; 0 sets no bound.
	Budget int64
	// Parallel is how many downloads run at once: 8. Window bounds the bytes that wait for the
	// consumer: 64 MiB. MaxBlock bounds one decompressed block: 64 MiB, at most 256 MiB.
	Parallel         int
	Window, MaxBlock int64

	Watcher Watcher
	// Priced is told, once and beside the sweep, how many bytes there are to download; nil asks for no
	// price. A price that cannot be had is not told.
	Priced func(bytes int64)
}

// The bounds of a Sweep.
const (
	defaultParallel = 8
	mostParallel    = 64
	defaultWindow   = 64 << 20
	defaultBlock    = 64 << 20
	mostBlock       = 256 << 20
	defaultEvents   = 1024
	defaultBytes    = 1 << 20
	mostBytes       = 1 << 30
)

// Result says how far a sweep came.
type Result struct {
	// Through is the number up to which everything wanted was handed over. It is below the wanted end
	// where less is sealed: the rest is in the server's socket, and in its archive later.
	Through    uint64
	Events     int64 // handed over
	Downloaded int64 // bytes of segments and blocks
}

// checked returns the sweep with its defaults.
func (s *Sweep) checked() (*Sweep, error) {
	c := *s
	setDefault(&c.Parallel, defaultParallel)
	setDefault(&c.Window, defaultWindow)
	setDefault(&c.MaxBlock, defaultBlock)
	setDefault(&c.BatchEvents, defaultEvents)
	setDefault(&c.BatchBytes, defaultBytes)
	if c.Watcher == nil {
		c.Watcher = unwatched{}
	}
	bad := func(format string, args ...any) (*Sweep, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrBadSweep}, args...)...)
	}
	switch {
	case c.Before > 0 && c.Before <= c.After:
		return bad("after %d, up to %d", c.After, c.Before)
	case c.Parallel < 1 || c.Parallel > mostParallel:
		return bad("%d downloads at once; 1 to %d are accepted", c.Parallel, mostParallel)
	case c.MaxBlock < 1 || c.MaxBlock > mostBlock:
		return bad("blocks of %d bytes; 1 to %d are accepted", c.MaxBlock, mostBlock)
	case c.Window < 1 || c.Budget < 0 || c.BatchEvents < 1 || c.BatchBytes < 1 || c.BatchBytes > mostBytes:
		return bad("a bound is out of range")
	case c.From.Host != "" && c.From.Host != c.Client.Host():
		return bad("its point is of %s, the archive of %s", c.From.Host, c.Client.Host())
	}
	if errs := jetstream.ValidateFilter(c.Filter, jetstream.ProtocolV2); len(errs) > 0 {
		return bad("%w", errs[0])
	}
	return &c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// maxStalls is how often in a row the rest is planned anew without a new event.
const maxStalls = 5

// Run sweeps the range. It returns when everything that is sealed was handed over, with an error that
// matches one of this package, or when ctx ends. Whatever it returns, everything up to Result.Through
// was handed over, and no goroutine is left.
func (s *Sweep) Run(ctx context.Context) (Result, error) {
	c, err := s.checked()
	if err != nil {
		return Result{Through: max(s.After, s.From.Seq)}, err
	}
	if s.Deliver == nil {
		return Result{Through: max(s.After, s.From.Seq)}, fmt.Errorf("%w: nobody takes its events", ErrBadSweep)
	}
	r := newRun(c)
	defer r.close()
	priced := c.priceBeside(ctx)
	err = r.run(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if fault := priced(); err == nil {
		err = fault
	}
	return Result{Through: r.out.handed.Seq, Events: r.out.events, Downloaded: r.spending.bytes()}, err
}

// run is one Run of a Sweep.
type run struct {
	*Sweep
	planner  planner
	out      *delivery
	spending spending
	buffers  chan *buffers
}

func newRun(s *Sweep) *run {
	r := &run{Sweep: s, spending: spending{budget: s.Budget, watcher: s.Watcher}, buffers: make(chan *buffers, s.Parallel)}
	r.planner = planner{client: s.Client, widened: s.Watcher.Widened}
	for range s.Parallel {
		r.buffers <- &buffers{}
	}
	r.out = newDelivery(s)
	return r
}

func (r *run) close() {
	close(r.buffers)
	for b := range r.buffers {
		b.close()
	}
}

// run makes passes until one comes to the end.
func (r *run) run(ctx context.Context) error {
	wait := newPatience()
	for stalls, last := 0, r.out.point.Seq; ; {
		err := r.recognise(ctx)
		if err == nil {
			err = r.pass(ctx)
		}
		if ctx.Err() != nil {
			return err
		}
		if e := r.out.flush(ctx); e != nil && (err == nil || changed(err)) {
			return e
		}
		if err == nil || !changed(err) {
			return err
		}
		if stalls++; r.out.point.Seq > last {
			stalls, last = 1, r.out.point.Seq
			wait.progress()
		}
		if stalls >= maxStalls {
			return err
		}
		r.Watcher.Replanned(err)
		if err := r.Client.pause(ctx, r.Client.opt.Clock.Now().Add(r.Client.jitter(wait.wait.NextBackOff())), err); err != nil {
			return err
		}
	}
}

// recognise checks that the server is the one that the point is of.
func (r *run) recognise(ctx context.Context) error {
	now, err := r.Client.instance(ctx)
	if err != nil {
		return err
	}
	p := &r.out.point
	if !p.Instance.MayBecome(now) {
		return fmt.Errorf("%w: %s begins with %s, %d to %d; it began with %s, %d to %d",
			ErrReplaced, p.Host, now.Segment, now.MinSeq, now.MaxSeq, p.Instance.Segment, p.Instance.MinSeq, p.Instance.MaxSeq)
	}
	p.Instance = now
	return nil
}

// spending counts downloads, and holds them to the budget.
type spending struct {
	mu      sync.Mutex
	budget  int64 // 0 for none
	taken   int64
	read    int64
	watcher Watcher
}

func (s *spending) take(_ context.Context, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget > 0 && s.taken+n > s.budget {
		return fmt.Errorf("%w: %d bytes, %d of %d are used", ErrBudget, n, s.taken, s.budget)
	}
	s.taken += n
	return nil
}

func (s *spending) came(n int) {
	s.mu.Lock()
	s.read += int64(n)
	s.mu.Unlock()
	s.watcher.Downloaded(n)
}

func (s *spending) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// faulty wraps an error of a segment.
func (u *unit) faulty(block int, err error) error {
	if !errors.Is(err, jss.ErrCorrupt) && !errors.Is(err, jss.ErrUnknown) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrBadAnswer) {
		return err
	}
	return &SegmentError{Segment: u.name, Block: block, MinSeq: u.min, MaxSeq: u.max, Err: err}
}
