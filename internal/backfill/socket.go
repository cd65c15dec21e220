package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/beside"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Socket fetches from the sockets of a feed's endpoints, which replay what they still hold: every
// event. The gap's own host is asked first.
type Socket struct {
	Endpoints []jetstream.Endpoint
	Protocol  jetstream.Protocol
	Compress  jetstream.Compression
	Dial      Dialer
	Clock     clockwork.Clock
}

// Dialer opens a websocket, within a time of its own.
type Dialer func(ctx context.Context, req jetstream.Request) (Upstream, error)

// Upstream is the part of an open websocket that a fetch uses. *jetstream.Conn implements it.
type Upstream interface {
	Run(first *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (rest *messages.Batch, err error)
	Activity() jetstream.Activity
	Wire() jetstream.Wire
	CloseNow()
}

const (
	// The bounds of a batch: live batches go in between.
	batchEvents = 1024
	batchBytes  = 1 << 20
	// seqBefore is how many numbers before the gap a replay begins. An event from before the gap
	// proves that the server still has its beginning, also where a compaction took the very event.
	seqBefore = 4096
	// quiet is the silence after which a socket that is past the gap's end, or at its tip, has sent
	// everything. stuck is the same where nothing shows that it is.
	quiet = 3 * time.Second
	stuck = 20 * time.Second
	// look is how often a socket is looked at.
	look = 250 * time.Millisecond
)

// place is where a fetch from sockets stands.
type place struct {
	Host   string `json:"host"`
	Seq    int64  `json:"seq,omitempty"`
	TimeUS int64  `json:"time_us"`
	// BeginsUS is how far back the host went, if that is not the gap's beginning: what is before it is
	// not done.
	BeginsUS int64 `json:"begins_us,omitempty"`
}

// Name implements Source.
func (*Socket) Name() messages.GapSource { return messages.SourceSocket }

// Price implements Source. A replay costs nothing but the traffic, and nobody says how much.
func (s *Socket) Price(context.Context, Order) (Price, error) {
	return Price{Requests: int64(len(s.Endpoints))}, nil
}

// Fetch implements Source.
func (s *Socket) Fetch(ctx context.Context, o Order, deliver Deliver) (Result, error) {
	span := SpanOf(o.Row)
	var at place
	if len(o.Row.Progress) > 0 && json.Unmarshal(o.Row.Progress, &at) != nil {
		at = place{}
	}
	var failed, nothing error
	batch := &messages.Batch{}
	lack := false
	for _, e := range s.ordered(span.Host) {
		if err := span.settles(e.Host(), s.Clock.Now()); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		r := &replay{socket: s, order: &o, span: span, endpoint: e, at: at, deliver: deliver, ctx: ctx, batch: batch}
		err := r.run()
		if r.given {
			batch = &messages.Batch{} // it is lost with a cancelled delivery
		}
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		switch {
		case err == nil && r.begins <= span.FromUS:
			return Result{}, nil
		case err == nil:
			lack = true
			span.ToUS, span.ToSeq = r.begins, 0 // the rest, from the next endpoint
			at = place{}
		case errors.Is(err, ErrNothing):
			nothing = err
		default:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", e, err))
			if r.at.TimeUS > at.TimeUS {
				at = r.at
			}
		}
	}
	var wait *WaitError
	switch {
	case lack && (failed == nil || o.Failures >= leaveAfter && !errors.As(failed, &wait)):
		return Result{LackFromUS: span.FromUS, LackToUS: span.ToUS}, nil
	case failed != nil: // an endpoint that may have the rest
		if errors.As(failed, &wait) {
			return Result{}, wait
		}
		return Result{}, failed
	}
	return Result{}, nothing
}

// ordered returns the endpoints, that of the gap's host first.
func (s *Socket) ordered(host string) (all []jetstream.Endpoint) {
	for _, own := range []bool{true, false} {
		for _, e := range s.Endpoints {
			if (e.Host() == host) == own {
				all = append(all, e)
			}
		}
	}
	return all
}

// replay is one connection. It is the sink of its socket.
type replay struct {
	socket   *Socket
	order    *Order
	span     Span
	endpoint jetstream.Endpoint
	deliver  Deliver
	ctx      context.Context
	batch    *messages.Batch
	given    bool // batch was taken over
	at       place
	byTime   bool
	asked    int64 // the number that was asked for

	begins   int64 // how far back the server goes, Unix µs; what is before is not there
	outdated bool
	future   bool        // the number that was asked for is none of the server's yet
	silent   bool        // the server does not say that it cannot go back so far
	cause    error       // why the delivery ended
	over     atomic.Bool // everything came
}

// run asks by number where that is possible, and else by time.
func (r *replay) run() error {
	host := r.endpoint.Host()
	r.byTime = host != r.span.Host || r.span.FromSeq == 0 && !(r.at.Host == host && r.at.Seq > 0)
	err := r.connect()
	if !r.byTime && err != nil && r.ctx.Err() == nil && (jetstream.ResumeByTime(err) || errors.Is(err, jetstream.ErrLegacySeq) || errors.Is(err, errReplaced)) {
		r.byTime = true
		if errors.Is(err, errReplaced) {
			r.span.FromSeq, r.span.ToSeq, r.at = 0, 0, place{}
			r.batch, r.given, r.cause = &messages.Batch{}, false, nil
			r.over.Store(false)
		}
		err = r.connect()
	}
	return err
}

// errReplaced: the server's numbers mean something else than when the gap began.
var errReplaced = errors.New("the server gives other numbers than before the gap")

func (r *replay) cursor() jetstream.Cursor {
	host := r.endpoint.Host()
	switch {
	case !r.byTime:
		if r.asked = max(r.span.FromSeq-seqBefore, 1); r.at.Host == host && r.at.Seq > 0 {
			r.asked = r.at.Seq
		}
		return jetstream.SequenceCursor(host, r.asked)
	case r.at.TimeUS > 0:
		return jetstream.TimeCursor(r.at.TimeUS - r.span.margin(host))
	}
	return jetstream.TimeCursor(r.span.begins(host))
}

func (r *replay) connect() error {
	s, o := r.socket, r.order
	r.begins, r.outdated, r.future = r.span.FromUS, false, false
	if r.at.Host == r.endpoint.Host() {
		r.begins = max(r.begins, r.at.BeginsUS)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	up, err := s.Dial(ctx, jetstream.Request{Endpoint: r.endpoint, Filter: o.Filter, Cursor: r.cursor(), Protocol: s.Protocol, Compress: s.Compress, Raw: o.Raw})
	if err != nil {
		return err
	}
	r.silent = up.Wire().Protocol == jetstream.ProtocolV1
	ended := make(chan struct{})
	var fault error // of ours, in watch
	go func() {
		defer close(ended)
		beside.Do("backfill.replay", nil, func() { r.watch(ctx, up) }, func(p *beside.Panic) { fault = p.Traced() })
	}()
	r.given = true
	rest, err := up.Run(r.batch, r, jetstream.Limits{Events: batchEvents, Bytes: batchBytes, Delay: time.Hour})
	cancel()
	<-ended
	if rest != nil && (len(rest.Events) > 0 || rest.TimeUS > 0) {
		rest = r.Hand(rest)
	}
	if rest != nil {
		r.batch, r.given = rest, false
	}
	switch {
	case fault != nil:
		return fault
	case r.cause != nil:
		return r.cause
	case r.future:
		return errReplaced
	case r.over.Load():
		return r.judge()
	}
	return fmt.Errorf("the replay ended early: %w", err)
}

// judge says what a replay that came to its end has shown.
func (r *replay) judge() error {
	if r.begins > r.span.ToUS {
		return fmt.Errorf("%w: %s goes back to %s alone", ErrNothing, r.endpoint.Host(), shown(r.begins))
	}
	return nil
}

// watch closes the connection when the server has sent everything, or the fetch is over.
func (r *replay) watch(ctx context.Context, up Upstream) {
	defer up.CloseNow()
	began := r.socket.Clock.Now()
	tick := r.socket.Clock.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
		}
		a, now := up.Activity(), r.socket.Clock.Now()
		last := a.LastFrame
		if last.Before(began) {
			last = began
		}
		silence := now.Sub(last)
		tip := a.NewestUS > 0 && now.Sub(time.UnixMicro(a.NewestUS)) < 2*quiet
		if a.Blocked {
			began = now // the silence after it is not the server's
			continue
		}
		if a.NewestUS > r.span.over(r.endpoint.Host()) || silence >= quiet && tip || silence >= stuck {
			r.over.Store(true)
			return
		}
	}
}

// TryHand implements jetstream.Sink. Batches are handed over when they are full.
func (r *replay) TryHand(b *messages.Batch) (*messages.Batch, bool) { return b, false }

// Hand implements jetstream.Sink.
func (r *replay) Hand(b *messages.Batch) *messages.Batch {
	if r.cause != nil {
		return nil
	}
	host := r.endpoint.Host()
	at := place{Host: host, Seq: b.Seq, TimeUS: max(b.TimeUS, r.at.TimeUS)}
	if r.begins > r.span.FromUS {
		at.BeginsUS = r.begins
	}
	passed := r.span.passed(b.Seq, b.TimeUS, host)
	r.span.narrow(b, host)
	progress, err := json.Marshal(at)
	if err != nil {
		panic(err) // cannot happen: it has strings and integers
	}
	next, err := r.deliver(r.ctx, b, progress)
	if err != nil {
		r.cause = err
		return nil
	}
	r.at = at
	if passed {
		r.over.Store(true)
		return nil
	}
	return next
}

// Bad implements jetstream.Sink. The live connection reports bad frames.
func (*replay) Bad([]byte, error) {}

// First implements jetstream.Sink: it shows how far back the server goes. A server that was asked
// for a place and begins behind it has dropped what lies between. v2 says so: it refuses a number,
// and gives notice of a time. v1 is silent.
func (r *replay) First(e messages.Event) {
	if r.foreign(e) {
		r.cause = errReplaced
		return
	}
	host, from, fromSeq := r.endpoint.Host(), r.span, r.span.FromSeq
	if r.at.TimeUS > from.FromUS {
		from.Host, from.FromUS = r.at.Host, r.at.TimeUS
	}
	if r.at.Host == host && r.at.Seq > 0 {
		fromSeq = r.at.Seq
	}
	late := r.outdated
	if r.silent {
		late = r.byTime || e.Seq > fromSeq
	}
	if us := from.lacks(host, e.TimeUS); late && us > 0 {
		r.begins = us
	}
}

// foreign says whether the first event of a replay that was asked for by number shows that the
// server's numbers are not those of the gap: it has another place by its number than by its time.
func (r *replay) foreign(e messages.Event) bool {
	s := &r.span
	if r.byTime || e.Seq == 0 || s.FromSeq == 0 {
		return false
	}
	margin := s.margin(r.endpoint.Host())
	return e.Seq < r.asked || e.Seq <= s.FromSeq && e.TimeUS > s.FromUS+margin || e.Seq > s.FromSeq && e.TimeUS < s.FromUS-margin
}

// Info implements jetstream.Sink.
func (r *replay) Info(name, _ string) {
	switch name {
	case atproto.OutdatedCursor:
		r.outdated = true
	case atproto.FutureCursor:
		r.future = true
	}
}
