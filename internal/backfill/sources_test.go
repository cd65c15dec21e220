package backfill_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/backfill"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// upstreamOf is a simulated server with 2000 events, and what its socket sends of them.
type upstreamOf struct {
	*jetsim.Sim
	endpoint jetstream.Endpoint
	sent     []messages.Event // Seq and TimeUS alone
}

func newUpstream(t *testing.T, opt jetsim.Options) *upstreamOf {
	t.Helper()
	opt.Backlog, opt.Segment, opt.Block, opt.Newer = 2000, 200, 20, jetsim.AllNewer()
	if opt.Archive == nil {
		opt.Archive = &jetsim.ArchiveOptions{}
	}
	sim, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	e, err := jetstream.ParseEndpoint("ws://" + sim.Addr())
	if err != nil {
		t.Fatal(err)
	}
	u := &upstreamOf{Sim: sim, endpoint: e}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, sim.URL()+"?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for range 2000 {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Cursor int64
			TimeUS int64 `json:"time_us"`
		}
		if err := json.Unmarshal(frame, &f); err != nil {
			t.Fatal(err)
		}
		u.sent = append(u.sent, messages.Event{Seq: f.Cursor, TimeUS: f.TimeUS})
	}
	return u
}

// row is the gap between two of the events, by their indexes.
func (u *upstreamOf) row(from, to int) messages.GapRow {
	a, b := u.sent[from], u.sent[to]
	return messages.GapRow{ID: "gap", Gap: messages.Gap{Host: u.endpoint.Host(), FromUS: a.TimeUS, ToUS: b.TimeUS, FromSeq: a.Seq, ToSeq: b.Seq}}
}

// foreign is the same gap on a host that nobody knows.
func foreign(row messages.GapRow) messages.GapRow {
	row.Host = "elsewhere.example:443"
	return row
}

func (u *upstreamOf) socket(protocol jetstream.Protocol) *backfill.Socket {
	return &backfill.Socket{Endpoints: []jetstream.Endpoint{u.endpoint}, Protocol: protocol, Clock: clockwork.NewRealClock(),
		Dial: func(ctx context.Context, req jetstream.Request) (backfill.Upstream, error) {
			up, err := jetstream.Dial(ctx, req, jetstream.DialOptions{Negotiator: jetstream.NewNegotiator("", clockwork.NewRealClock())})
			if err != nil {
				return nil, err
			}
			return up, nil
		}}
}

func (u *upstreamOf) archive(t *testing.T, key string) *backfill.Archive {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &backfill.Archive{Endpoints: []jetstream.Endpoint{u.endpoint}, Keys: map[string]string{u.endpoint.Host(): key},
		HTTP: &http.Client{Transport: transport}, Clock: clockwork.NewRealClock(), Rand: rand.New(rand.NewPCG(1, 2))}
}

// taken is what a consumer has stored.
type taken struct {
	seqs  []int64
	at    json.RawMessage
	stop  int // refuse the batch with this number
	count int
	slow  time.Duration // how long a batch takes
}

var errKilled = errors.New("killed")

func (s *taken) fetch(t *testing.T, from backfill.Source, o backfill.Order) (backfill.Result, error) {
	t.Helper()
	o.Tell = func(backfill.Progress) {}
	o.Row.Progress = s.at
	s.count = 0
	return from.Fetch(t.Context(), o, func(_ context.Context, b *messages.Batch, at json.RawMessage) (*messages.Batch, error) {
		if s.count++; s.count == s.stop {
			return nil, errKilled
		}
		time.Sleep(s.slow)
		for i := range b.Events {
			if e := &b.Events[i]; !e.Drop {
				s.seqs = append(s.seqs, e.Seq)
			}
		}
		s.at = slices.Clone(at)
		b.Reset()
		return b, nil
	})
}

// want fails unless exactly the events between two indexes came, both exclusive, in order.
func (s *taken) want(t *testing.T, u *upstreamOf, from, to int) {
	t.Helper()
	var want []int64
	for _, e := range u.sent[from+1 : to] {
		want = append(want, e.Seq)
	}
	if !slices.Equal(s.seqs, want) {
		t.Errorf("%d events, %v …; want %d, %v …", len(s.seqs), s.seqs[:min(3, len(s.seqs))], len(want), want[:3])
	}
}

func TestSocketReplaysAGap(t *testing.T) {
	for _, protocol := range []jetstream.Protocol{jetstream.ProtocolV1, jetstream.ProtocolV2} {
		t.Run(protocol.String(), func(t *testing.T) {
			u := newUpstream(t, jetsim.Options{})
			o := backfill.Order{Row: u.row(500, 1500)}
			var got taken
			if r, err := got.fetch(t, u.socket(protocol), o); err != nil || r != (backfill.Result{}) {
				t.Fatalf("%+v, %v", r, err)
			}
			got.want(t, u, 500, 1500)

			// By time it brings more, because clocks differ; the stream holds the rest.
			o.Row = foreign(o.Row)
			got = taken{}
			var wait *backfill.WaitError
			if _, err := got.fetch(t, u.socket(protocol), o); !errors.As(err, &wait) {
				t.Fatalf("%v: the gap has just ended", err)
			}

			u.Forget(800)
			o.Row, got = u.row(500, 1500), taken{}
			r, err := got.fetch(t, u.socket(protocol), o)
			if err != nil || r.LackFromUS != u.sent[500].TimeUS || r.LackToUS != u.sent[800].TimeUS {
				t.Fatalf("%+v, %v", r, err)
			}
			got.want(t, u, 799, 1500)

			u.Forget(900)
			got = taken{}
			if r, err := got.fetch(t, u.socket(protocol), o); !errors.Is(err, backfill.ErrNothing) {
				t.Fatalf("%+v, %v", r, err)
			}
		})
	}
}

func TestArchiveHasAGap(t *testing.T) {
	u := newUpstream(t, jetsim.Options{})
	o := backfill.Order{Row: u.row(500, 1500)}
	var got taken
	r, err := got.fetch(t, u.archive(t, ""), o)
	if err != nil || r.LackToUS != 0 || !strings.Contains(r.Missing, "overtaken") {
		t.Fatalf("%+v, %v", r, err)
	}
	got.want(t, u, 500, 1500)
	o.Tell = func(backfill.Progress) {}
	if p, err := u.archive(t, "").Price(t.Context(), o); err != nil || p.Bytes == 0 || p.Requests == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	u.Forget(1900) // the socket's retention is nothing to the archive
	got = taken{}
	if _, err := got.fetch(t, u.archive(t, ""), o); err != nil {
		t.Fatal(err)
	}
	got.want(t, u, 500, 1500)
}

// An archive that begins a little after a gap's beginning lacks what lies between.
func TestI4_AnArchiveThatBeginsWithinAGapLacksItsBeginning(t *testing.T) {
	u := newUpstream(t, jetsim.Options{})
	o := backfill.Order{Row: u.row(500, 1500)}
	begins := u.sent[0].TimeUS
	o.Row.FromUS, o.Row.FromSeq = begins-10_000_000, 0
	var got taken
	if r, err := got.fetch(t, u.archive(t, ""), o); err != nil || r.LackFromUS != o.Row.FromUS || r.LackToUS != begins {
		t.Errorf("%+v, %v; the archive begins at %d", r, err, begins)
	}
}

// A fetch that is cut at any batch brings each event once.
func TestI2_ArchiveGoesOnFromItsProgress(t *testing.T) {
	u := newUpstream(t, jetsim.Options{})
	o := backfill.Order{Row: u.row(100, 1900)}
	got := taken{stop: 2}
	if _, err := got.fetch(t, u.archive(t, ""), o); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	got.stop = 0
	if _, err := got.fetch(t, u.archive(t, ""), o); err != nil {
		t.Fatal(err)
	}
	got.want(t, u, 100, 1900)
}

func TestArchiveSaysWhyNot(t *testing.T) {
	keyed := newUpstream(t, jetsim.Options{Archive: &jetsim.ArchiveOptions{Key: "secret-key"}})
	plain := newUpstream(t, jetsim.Options{})
	unsealed := plain.row(100, 1999)
	unsealed.ToSeq = 5000
	var v1 jetstream.Endpoint
	v1, err := jetstream.ParseEndpoint("ws://" + plain.Addr() + "/subscribe")
	if err != nil {
		t.Fatal(err)
	}
	legacy := plain.archive(t, "")
	legacy.Endpoints = []jetstream.Endpoint{v1}
	for name, c := range map[string]struct {
		source *backfill.Archive
		order  backfill.Order
		check  func(error) bool
		text   string
	}{
		"no key":     {keyed.archive(t, ""), backfill.Order{Row: keyed.row(100, 1900)}, func(err error) bool { return errors.Is(err, backfill.ErrPermanent) }, "key"},
		"wrong key":  {keyed.archive(t, "other"), backfill.Order{Row: keyed.row(100, 1900)}, func(err error) bool { return errors.Is(err, backfill.ErrPermanent) }, "key"},
		"budget":     {plain.archive(t, ""), backfill.Order{Row: plain.row(100, 1900), Budget: 3000}, func(err error) bool { return errors.Is(err, backfill.ErrPermanent) }, "repair_budget"},
		"no archive": {legacy, backfill.Order{Row: plain.row(100, 1900)}, func(err error) bool { return errors.Is(err, backfill.ErrNothing) }, "no endpoint"},
		"not sealed": {plain.archive(t, ""), backfill.Order{Row: unsealed}, func(err error) bool { var w *backfill.WaitError; return errors.As(err, &w) }, "not in the archive yet"},
	} {
		t.Run(name, func(t *testing.T) {
			var got taken
			_, err := got.fetch(t, c.source, c.order)
			if !c.check(err) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "secret-key") {
				t.Fatalf("got %v", err)
			}
		})
	}
	var got taken
	if _, err := got.fetch(t, keyed.archive(t, "secret-key"), backfill.Order{Row: keyed.row(100, 1900)}); err != nil {
		t.Fatal(err)
	}
	got.want(t, keyed, 100, 1900)
}

// An archive that was rebuilt since the gap has its numbers at other times: none of its events with
// these numbers is the gap's.
func TestI4_AnArchiveThatWasRebuiltIsAskedByTime(t *testing.T) {
	u := newUpstream(t, jetsim.Options{})
	row := u.row(500, 1500)
	row.FromUS -= time.Hour.Microseconds()
	row.ToUS -= time.Hour.Microseconds()
	var got taken
	if r, err := got.fetch(t, u.archive(t, ""), backfill.Order{Row: row}); !errors.Is(err, backfill.ErrNothing) || len(got.seqs) > 0 {
		t.Errorf("%+v, %v; %d events", r, err, len(got.seqs))
	}
}

// What an archive has is all of a gap only if an event from after the gap is sealed.
func TestI4_WhatMayNotBeSealedYetIsWaitedFor(t *testing.T) {
	u := newUpstream(t, jetsim.Options{})
	row := foreign(u.row(500, 1999))
	row.ToUS += time.Hour.Microseconds()
	source := u.archive(t, "")
	source.Clock = clockwork.NewFakeClockAt(time.Now().Add(2 * time.Hour))
	var got taken
	var wait *backfill.WaitError
	if r, err := got.fetch(t, source, backfill.Order{Row: row}); !errors.As(err, &wait) || !strings.Contains(wait.Why, "not in the archive yet") {
		t.Errorf("%+v, %v", r, err)
	}
}
