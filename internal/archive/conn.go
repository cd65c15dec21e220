package archive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Request is what a Conn reads.
type Request struct {
	Filter jetstream.Filter
	Raw    bool // keep events as v2 frames
	// Point is where an earlier Conn of the same archive stopped, as Point.Text writes it; nil for
	// the beginning.
	Point []byte
	// SinceUS is the time from which on everything is wanted, Unix µs by the server's clock. The
	// Conn begins up to a segment before it. 0, or a Point, stands for no such time.
	SinceUS int64
}

// Conn reads an archive as a feed reads a websocket: in batches whose numbers and times move the
// feed's position. Run ends when everything that is sealed was handed over.
//
// It makes no request before Run. Its methods are safe for concurrent use; Run is called once.
type Conn struct {
	opt    Options
	req    Request
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	progress messages.SweepProgress
	activity jetstream.Activity
}

// NewConn makes a Conn. It calls the functions of opt itself, so Options.Waiting must be nil.
func NewConn(opt Options, req Request) *Conn {
	c := &Conn{opt: opt, req: req}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Run reads the archive, first into b. It returns no batch and an error that is never nil, as that
// of a jetstream.Conn: jetstream.Classify says how it ended.
func (c *Conn) Run(b *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) (rest *messages.Batch, err error) {
	defer c.cancel()
	opt := c.opt
	opt.Waiting = c.waiting
	client, err := NewClient(opt)
	if err != nil {
		return nil, refusal(err)
	}
	return nil, c.ending(c.sweep(client, b, sink, lim))
}

func (c *Conn) sweep(client *Client, b *messages.Batch, sink jetstream.Sink, lim jetstream.Limits) error {
	s := &Sweep{Client: client, Filter: c.req.Filter, Raw: c.req.Raw, Witnessed: true, Batch: b, Watcher: watcher{unwatched{}, c},
		BatchEvents: max(lim.Events, 1), BatchBytes: min(max(lim.Bytes, 1), mostBytes)}
	if _, err := client.segments(c.ctx); err != nil { // they tell times, also below
		return err
	}
	var err error
	switch {
	case c.req.Point != nil:
		s.From, err = ParsePoint(c.req.Point)
	case c.req.SinceUS > 0:
		s.After, _, err = client.SeqBefore(c.ctx, time.UnixMicro(c.req.SinceUS))
	}
	if err != nil {
		return err
	}
	c.note(func() { c.progress.From = max(s.After, s.From.Seq) })
	s.Deliver = func(_ context.Context, b *messages.Batch, at Point) (*messages.Batch, error) {
		return c.deliver(client, b, at, sink), nil
	}
	s.Priced = func(bytes int64) { c.note(func() { c.progress.Planned = bytes }) }
	_, err = s.Run(c.ctx)
	return err
}

// deliver hands a batch over, and waits for the next one.
func (c *Conn) deliver(client *Client, b *messages.Batch, at Point, sink jetstream.Sink) *messages.Batch {
	if b.TimeUS == 0 {
		// The place has moved, past nothing that was read.
		b.Frames = max(b.Frames, 1)
		b.TimeUS = max(c.Activity().NewestUS, client.witnessed(at.Seq))
	}
	b.Seq, b.Point = int64(at.Seq), at.Text()
	c.note(func() {
		c.progress.Through, c.progress.Sealed = at.Seq, at.Sealed
		c.activity.Frames += uint64(b.Frames)
		c.activity.LastFrame, c.activity.NewestUS = c.opt.Clock.Now(), max(c.activity.NewestUS, b.TimeUS)
		c.activity.LatestUS = b.TimeUS
	})
	next, ok := sink.TryHand(b)
	if !ok {
		c.note(func() { c.activity.Blocked, c.activity.BlockedSince = true, c.opt.Clock.Now() })
		next = sink.Hand(b)
		c.note(func() { c.activity.Blocked = false })
	}
	return next
}

// ending makes of the end of a sweep that of a connection.
func (c *Conn) ending(err error) error {
	end := jetstream.Ending{Cause: jetstream.CauseArchive, Reason: fmt.Sprint("the archive could not be read further: ", err)}
	switch {
	case err == nil:
		end = jetstream.Ending{Cause: jetstream.CauseSwept, Clean: true, Reason: "the archive is read to its end"}
	case c.ctx.Err() != nil && errors.Is(err, context.Canceled), errors.Is(err, ErrStopped):
		end = jetstream.Ending{Cause: jetstream.CauseClosed, Reason: "closed by us"}
	case errors.Is(err, ErrReplaced):
		end.Cause = jetstream.CauseReplaced
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrNoArchive), errors.Is(err, ErrRefused), errors.Is(err, ErrRedirect):
		return refusal(err)
	}
	return jetstream.NewEndError(end, err)
}

// refusal is an archive's refusal, as a socket's would be. Its text says which call was refused.
func refusal(err error) error {
	return &jetstream.RefusedError{Message: printable(err.Error()), Permanent: true}
}

// waiting is told what requests wait for.
func (c *Conn) waiting(until time.Time, why error) {
	c.note(func() {
		c.progress.WaitUntil, c.progress.Why = until, ""
		if !until.IsZero() && why != nil {
			c.progress.Why = printable(why.Error())
		}
	})
}

func (c *Conn) note(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

// Progress is how far the Conn has come.
func (c *Conn) Progress() messages.SweepProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.progress
}

// Activity is as that of a jetstream.Conn. A frame is a row.
func (c *Conn) Activity() jetstream.Activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activity
}

// Wire says that v2 is spoken, not compressed.
func (c *Conn) Wire() jetstream.Wire {
	return jetstream.Wire{Protocol: jetstream.ProtocolV2, Compression: jetstream.CompressOff, Local: true}
}

// UpdateFilter refuses: the plan was made for the filter.
func (c *Conn) UpdateFilter(context.Context, jetstream.Filter) error {
	return jetstream.ErrNeedsReconnect
}

// Ping does nothing: each request has its own timeout.
func (c *Conn) Ping(context.Context) error { return nil }

// ServerDate is not known.
func (c *Conn) ServerDate() (time.Time, bool) { return time.Time{}, false }

// Close ends the Conn. Both arguments are for websockets.
func (c *Conn) Close(int, string) error {
	c.cancel()
	return nil
}

// CloseNow ends the Conn.
func (c *Conn) CloseNow() { c.cancel() }

// watcher counts what was downloaded, and what the archive has and cannot be delivered.
type watcher struct {
	unwatched
	conn *Conn
}

func (w watcher) Downloaded(bytes int) {
	w.conn.note(func() { w.conn.progress.Bytes += int64(bytes) })
}

func (w watcher) Skipped(uint64, Reason, error) {
	w.conn.note(func() { w.conn.progress.Skipped++ })
}

// HTTPClient returns the client of an archive's requests: connections stay open for the parallel
// downloads.
func HTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = defaultParallel
	return &http.Client{Transport: t}
}
