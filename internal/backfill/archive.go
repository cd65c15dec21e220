package backfill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/archive"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Archive fetches from the archives of a feed's v2 endpoints: every marker and the last version of
// each record. The archive of the gap's own host is asked first, by its numbers. Another one is
// asked by time.
type Archive struct {
	Endpoints []jetstream.Endpoint
	Keys      map[string]string // by host, "host:port"; a host without one is asked without a key
	UserAgent string
	HTTP      *http.Client
	Clock     clockwork.Clock
	Rand      *rand.Rand
}

// sealing is how long to wait for events that are not sealed yet. A segment of the whole network is
// sealed after some two hours.
const sealing = 5 * time.Minute

// notInArchive says what an archive lacks, always.
const notInArchive = "versions of records that were overtaken, and records that were deleted, before the fetch"

// Name implements Source.
func (*Archive) Name() messages.GapSource { return messages.SourceArchive }

// Price implements Source.
func (a *Archive) Price(ctx context.Context, o Order) (price Price, err error) {
	err = a.each(ctx, &o, func(s *sweep) error {
		plan, err := s.plan(ctx)
		if err != nil {
			return err
		}
		p, err := plan.Price(ctx)
		price = Price{Bytes: p.Bytes, Requests: int64(p.Segments + p.Blocks)}
		return err
	})
	return price, err
}

// Fetch implements Source.
func (a *Archive) Fetch(ctx context.Context, o Order, deliver Deliver) (result Result, err error) {
	err = a.each(ctx, &o, func(s *sweep) error {
		s.deliver = deliver
		result, err = s.run(ctx)
		return err
	})
	return result, err
}

// each calls do for the endpoints' archives, that of the gap's host first, until one has an archive.
func (a *Archive) each(ctx context.Context, o *Order, do func(*sweep) error) error {
	span := SpanOf(o.Row)
	none := fmt.Errorf("%w: no endpoint has an archive", ErrNothing)
	var failed error
	for _, e := range (&Socket{Endpoints: a.Endpoints}).ordered(span.Host) {
		if e.Protocol() == jetstream.ProtocolV1 {
			continue
		}
		s := &sweep{order: o, span: span, host: e.Host(), now: a.Clock.Now}
		client, err := archive.NewClient(archive.Options{BaseURL: e.ArchiveURL(), Key: a.Keys[e.Host()], UserAgent: a.UserAgent,
			HTTP: a.HTTP, Clock: a.Clock, Rand: a.Rand, Waiting: s.waiting})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPermanent, err)
		}
		s.client = client
		switch err = do(s); {
		case errors.Is(err, archive.ErrNoArchive), errors.Is(err, ErrNothing):
			if errors.Is(err, ErrNothing) {
				none = err
			}
		case errors.Is(err, archive.ErrUnauthorized):
			failed = permanent(err)
		default:
			return permanent(err)
		}
	}
	if failed != nil {
		return failed
	}
	return none
}

// permanent marks the refusals that another try does not change.
func permanent(err error) error {
	for _, final := range []error{archive.ErrUnauthorized, archive.ErrRefused, archive.ErrRedirect, archive.ErrBadSweep} {
		if errors.Is(err, final) {
			return fmt.Errorf("%w: %w", ErrPermanent, err)
		}
	}
	if errors.Is(err, archive.ErrBudget) {
		return fmt.Errorf("%w: repair_budget is used up", ErrPermanent)
	}
	return err
}

// leaveAfter is after how many failures in a row damaged blocks are left out: before another source is
// asked. Until then something on the way may be what damages them.
const leaveAfter = triesEach - 1

// sweep is a fetch from one archive. It is the watcher of its archive.Sweep.
type sweep struct {
	client  *archive.Client
	order   *Order
	span    Span
	host    string
	now     func() time.Time
	deliver Deliver
	until   int64 // the number at which the sweep ends
	sealed  bool  // everything up to there is sealed
	lastUS  int64 // up to which everything was handed over
	left    *left // what was left out, nil for nothing

	mu      sync.Mutex
	told    Progress
	skipped map[archive.Reason]int
}

// left bounds what was left out because it is damaged, Unix µs.
type left struct {
	FromUS int64 `json:"from_us"`
	ToUS   int64 `json:"to_us,omitempty"` // 0 up to the next event
}

// sweepPlace is the place that a sweep has reached.
type sweepPlace struct {
	archive.Point
	Left *left `json:"left,omitempty"`
}

// plan makes the archive.Sweep of the span: by number on the gap's own host, else by time.
func (s *sweep) plan(ctx context.Context) (*archive.Sweep, error) {
	o := s.order
	p := &archive.Sweep{Client: s.client, Filter: o.Filter, Witnessed: true, Raw: o.Raw, Budget: o.Budget, Watcher: s,
		BatchEvents: batchEvents, BatchBytes: batchBytes}
	if o.Failures >= leaveAfter {
		p.Leave = s.leave
	}
	own, err := s.numbered(ctx)
	if err != nil {
		return nil, err
	}
	if own && s.span.FromSeq > 0 {
		p.After = uint64(s.span.FromSeq)
	} else if p.After, _, err = s.client.SeqBefore(ctx, time.UnixMicro(s.span.begins(s.host))); err != nil {
		return nil, err
	}
	if own && s.span.ToSeq > 1 {
		p.Before, s.sealed = uint64(s.span.ToSeq-1), true
	} else if p.Before, s.sealed, err = s.client.SeqUntil(ctx, time.UnixMicro(s.span.ends(s.host))); err != nil {
		return nil, err
	}
	s.until = int64(p.Before)
	if point, err := archive.ParsePoint(o.Row.Progress); err == nil && point.Host == s.client.Host() {
		p.From = point
		var at sweepPlace
		if json.Unmarshal(o.Row.Progress, &at) == nil {
			s.left = at.Left
		}
	}
	return p, nil
}

// numbered says whether the gap's numbers count: the archive is that of the gap's own host, and has
// these numbers at the gap's times. A server that was rebuilt meanwhile has others.
func (s *sweep) numbered(ctx context.Context) (bool, error) {
	if s.host != s.span.Host {
		return false, nil
	}
	seq, us := s.span.FromSeq, s.span.FromUS
	if seq == 0 {
		seq, us = s.span.ToSeq, s.span.ToUS
	}
	if seq == 0 {
		return true, nil
	}
	margin := s.span.margin(s.host)
	before, _, err := s.client.SeqBefore(ctx, time.UnixMicro(us-margin))
	if err != nil {
		return false, err
	}
	until, known, err := s.client.SeqUntil(ctx, time.UnixMicro(us+margin))
	if err != nil {
		return false, err
	}
	if seq <= int64(before) || known && seq > int64(until) {
		s.byTime()
		return false, nil
	}
	return true, nil
}

// byTime has the gap's times count alone.
func (s *sweep) byTime() { s.span.Host, s.span.FromSeq, s.span.ToSeq = "", 0, 0 }

// run sweeps the span. An archive that was replaced is asked again, by time.
func (s *sweep) run(ctx context.Context) (Result, error) {
	if err := s.span.settles(s.host, s.now()); err != nil {
		return Result{}, err
	}
	through, err := s.once(ctx)
	if errors.Is(err, archive.ErrReplaced) {
		s.byTime()
		s.order.Row.Progress, s.left = nil, nil
		through, err = s.once(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	begins, err := s.client.Beginning(ctx)
	switch {
	case err != nil:
		return Result{}, err
	case begins.IsZero() || !s.sealed || int64(through) < s.until:
		return Result{}, &WaitError{Until: s.now().Add(sealing), Why: "the rest is not in the archive yet"}
	case begins.UnixMicro() > s.span.ToUS:
		return Result{}, fmt.Errorf("%w: the archive of %s begins on %s", ErrNothing, s.host, shown(begins.UnixMicro()))
	}
	result := Result{Missing: s.missing()}
	if us := s.span.lacks(s.host, begins.UnixMicro()); us > 0 {
		result.LackFromUS, result.LackToUS = s.span.FromUS, us
	}
	if l := s.left; l != nil { // one range bounds both
		to := max(cmp.Or(l.ToUS, s.span.ToUS), l.FromUS+1)
		result.LackFromUS, result.LackToUS = cmp.Or(result.LackFromUS, l.FromUS), max(result.LackToUS, to)
	}
	return result, nil
}

// leave notes that damage is left out. Everything before it was handed over.
func (s *sweep) leave(*archive.SegmentError) {
	if s.left == nil {
		s.left = &left{FromUS: max(s.lastUS, s.span.FromUS)}
	}
	s.left = &left{FromUS: s.left.FromUS}
}

// pass notes a batch that comes behind what was left out.
func (s *sweep) pass(b *messages.Batch) {
	first := b.TimeUS
	if len(b.Events) > 0 {
		first = b.Events[0].TimeUS
	}
	if s.left != nil && s.left.ToUS == 0 && first > 0 {
		s.left = &left{s.left.FromUS, first}
	}
	s.lastUS = max(s.lastUS, b.TimeUS)
}

// once makes one archive.Sweep. Nothing is asked where there is nothing between its ends.
func (s *sweep) once(ctx context.Context) (through uint64, err error) {
	p, err := s.plan(ctx)
	if err == nil {
		err = s.span.settles(s.host, s.now()) // the times may count alone by now
	}
	if err != nil {
		return 0, err
	}
	if p.Before <= max(p.After, p.From.Seq) {
		return p.Before, nil
	}
	p.Deliver = func(ctx context.Context, b *messages.Batch, at archive.Point) (*messages.Batch, error) {
		s.pass(b)
		s.span.narrow(b, s.host)
		place, err := json.Marshal(sweepPlace{at, s.left})
		if err != nil {
			panic(err) // cannot happen: it has numbers and strings
		}
		return s.deliver(ctx, b, place)
	}
	before := s.downloaded()
	p.Priced = func(bytes int64) { s.tell(func(told *Progress) { told.Planned = before + bytes }) }
	r, err := p.Run(ctx)
	return r.Through, err
}

func (s *sweep) missing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []string{notInArchive}
	if s.left != nil {
		all = append(all, "blocks that are damaged in the archive")
	}
	for _, why := range slices.Sorted(maps.Keys(s.skipped)) {
		all = append(all, fmt.Sprintf("%d events that cannot be delivered (%s)", s.skipped[why], why))
	}
	return strings.Join(all, "; ")
}

// tell notes progress and tells it.
func (s *sweep) tell(note func(*Progress)) {
	s.mu.Lock()
	note(&s.told)
	told := s.told
	s.mu.Unlock()
	s.order.Tell(told)
}

func (s *sweep) downloaded() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told.Bytes
}

// waiting implements archive.Options.Waiting.
func (s *sweep) waiting(until time.Time, why error) {
	s.tell(func(p *Progress) {
		p.WaitUntil, p.Why = until, ""
		if why != nil {
			p.Why = why.Error()
		}
	})
}

// Downloaded implements archive.Watcher.
func (s *sweep) Downloaded(n int) { s.tell(func(p *Progress) { p.Bytes += int64(n) }) }

// Skipped implements archive.Watcher.
func (s *sweep) Skipped(_ uint64, why archive.Reason, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.skipped == nil {
		s.skipped = map[archive.Reason]int{}
	}
	s.skipped[why]++
}

// Planned implements archive.Watcher.
func (*sweep) Planned(archive.Planned) {}

// Delivered implements archive.Watcher.
func (*sweep) Delivered(int, uint64) {}

// Widened implements archive.Watcher.
func (*sweep) Widened([]string) {}

// Replanned implements archive.Watcher.
func (*sweep) Replanned(error) {}
