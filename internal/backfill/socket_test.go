package backfill_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/backfill"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// replayed is a socket in the test's own time. Of one event a second, whose number is its second, it
// has those from `from` on, and sends ten at a time.
type replayed struct {
	from  int64
	ahead int64  // by how much its numbers are greater than the seconds
	slow  int64  // by how many seconds its clock is behind
	say   string // what it says of a number
	asked []jetstream.Cursor
}

// sockets are the endpoints of a feed.
type sockets struct {
	began time.Time
	hosts map[string]*replayed
}

func (s *sockets) at(n int64) int64 { return s.began.Add(time.Duration(n) * time.Second).UnixMicro() }

func (s *sockets) source(t *testing.T, names ...string) *backfill.Socket {
	t.Helper()
	source := &backfill.Socket{Protocol: jetstream.ProtocolV1, Clock: clockwork.NewRealClock(), Dial: s.dial}
	for _, name := range names {
		e, err := jetstream.ParseEndpoint("wss://" + name)
		if err != nil {
			t.Fatal(err)
		}
		source.Endpoints = append(source.Endpoints, e)
	}
	return source
}

// gap is between two events of a host.
func (s *sockets) gap(host string, from, to int64) messages.GapRow {
	return messages.GapRow{ID: "gap", Gap: messages.Gap{Host: host, FromUS: s.at(from), ToUS: s.at(to), FromSeq: from, ToSeq: to}}
}

func (s *sockets) dial(_ context.Context, req jetstream.Request) (backfill.Upstream, error) {
	host := s.hosts[req.Endpoint.Host()]
	host.asked = append(host.asked, req.Cursor)
	return &replayedConn{sockets: s, host: host, cursor: req.Cursor, done: make(chan struct{})}, nil
}

type replayedConn struct {
	*sockets
	host   *replayed
	cursor jetstream.Cursor
	done   chan struct{}
	newest atomic.Int64
	waits  atomic.Bool // for the writer
}

func (c *replayedConn) Wire() jetstream.Wire { return jetstream.Wire{Protocol: jetstream.ProtocolV1} }
func (c *replayedConn) CloseNow()            { close(c.done) }
func (c *replayedConn) Activity() jetstream.Activity {
	return jetstream.Activity{LastFrame: c.began, NewestUS: c.newest.Load(), Blocked: c.waits.Load()}
}

func (c *replayedConn) Run(b *messages.Batch, sink jetstream.Sink, _ jetstream.Limits) (*messages.Batch, error) {
	n := int64(1)
	if _, seq, ok := c.cursor.Sequence(); ok {
		n = seq - c.host.ahead
		if c.host.say != "" {
			sink.Info(c.host.say, "")
			<-c.done
			return b, errors.New("closed")
		}
	}
	event := func(n int64) messages.Event {
		return messages.Event{Seq: n + c.host.ahead, TimeUS: c.at(n - c.host.slow)}
	}
	for n = max(n, c.host.from); n <= 100; n++ {
		if len(b.Events) == 0 && c.newest.Load() == 0 {
			sink.First(event(n))
		}
		e := event(n)
		b.Events, b.Seq, b.TimeUS = append(b.Events, e), e.Seq, e.TimeUS
		c.newest.Store(e.TimeUS)
		if len(b.Events) == 10 {
			c.waits.Store(true)
			if b = sink.Hand(b); b == nil {
				return nil, errors.New("refused")
			}
			c.waits.Store(false)
		}
		select {
		case <-c.done:
			return b, errors.New("closed")
		default:
		}
	}
	<-c.done
	return b, errors.New("closed")
}

// between is the numbers that lie between two others.
func between(from, to int64) (all []int64) {
	for n := from + 1; n < to; n++ {
		all = append(all, n)
	}
	return all
}

// One endpoint has a part of a gap, and another one is to be asked later: the gap waits for that.
func TestI4_AGapWaitsForTheEndpointThatMayHaveItsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": {from: 60}, "b.example:443": {}}}
		source := s.source(t, "a.example", "b.example")
		time.Sleep(80 * time.Second)
		row := s.gap("a.example:443", 40, 79)
		var got taken
		result, err := got.fetch(t, source, backfill.Order{Row: row})
		var wait *backfill.WaitError
		if !errors.As(err, &wait) {
			t.Fatalf("%+v, %v", result, err)
		}
		policy := backfill.Policy{Sources: []messages.GapSource{messages.SourceSocket}, Automatic: true}
		row.Source, row.Progress = messages.SourceSocket, got.at
		if row = policy.After(row, result, err, 1, time.Now()); row.State != messages.GapWaiting || !row.RetryAt.Equal(wait.Until) {
			t.Fatalf("%+v", row)
		}
		time.Sleep(time.Until(wait.Until))
		if result, err = got.fetch(t, source, backfill.Order{Row: row}); err != nil || result != (backfill.Result{}) {
			t.Fatalf("%+v, %v", result, err)
		}
		slices.Sort(got.seqs)
		if missing := slices.DeleteFunc(between(40, 79), func(n int64) bool { _, held := slices.BinarySearch(got.seqs, n); return held }); len(missing) > 0 {
			t.Errorf("%v are missing", missing)
		}
	})
}

// A fetch that was cut short and goes on knows how far back its server went: the rest is not there.
func TestI4_AResumedReplayKnowsWhereItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": {from: 60}}}
		source := s.source(t, "a.example")
		time.Sleep(200 * time.Second)
		o := backfill.Order{Row: s.gap("a.example:443", 20, 99)}
		got := taken{stop: 3}
		if _, err := got.fetch(t, source, o); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		got.stop = 0
		result, err := got.fetch(t, source, o)
		if err != nil || result.LackFromUS != s.at(20) || result.LackToUS != s.at(60) {
			t.Fatalf("%+v, %v", result, err)
		}
		if asked := s.hosts["a.example:443"].asked; len(asked) != 2 || asked[1] != jetstream.SequenceCursor("a.example:443", 79) {
			t.Errorf("asked %v", asked)
		}
		if want := between(59, 99); !slices.Equal(slices.Compact(got.seqs), want) {
			t.Errorf("got %v", got.seqs)
		}
	})
}

// A server that does not know the number yet has other numbers than before the gap. Its silence is
// no replay; it is asked by time.
func TestI4_ANumberOfTheFutureIsNoReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &replayed{say: atproto.FutureCursor}
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": host}}
		source := s.source(t, "a.example")
		time.Sleep(200 * time.Second)
		var got taken
		result, err := got.fetch(t, source, backfill.Order{Row: s.gap("a.example:443", 20, 99)})
		if err != nil || result != (backfill.Result{}) {
			t.Fatalf("%+v, %v", result, err)
		}
		if len(host.asked) != 2 || host.asked[1].IsLive() {
			t.Errorf("asked %v", host.asked)
		}
		for _, n := range between(20, 99) {
			if !slices.Contains(got.seqs, n) {
				t.Errorf("%d is missing", n)
			}
		}
	})
}

// A server that was rebuilt numbers its events anew. That it has a smaller number than the gap's first
// does not mean that it goes back so far.
func TestI4_NumbersThatMeanSomethingElseAreNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &replayed{from: 31, ahead: -30}
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": host}}
		source := s.source(t, "a.example")
		time.Sleep(200 * time.Second)
		var got taken
		result, err := got.fetch(t, source, backfill.Order{Row: s.gap("a.example:443", 20, 99)})
		if err != nil || result.LackFromUS != s.at(20) || result.LackToUS != s.at(31) {
			t.Errorf("%+v, %v", result, err)
		}
		for _, n := range between(30, 99) {
			if !slices.Contains(got.seqs, n-30) {
				t.Errorf("the event of second %d is missing", n)
			}
		}
	})
}

// Numbers belong to the gap's own host.
func TestI4_AnotherHostIsAskedByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &replayed{ahead: 500}
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"b.example:443": host}}
		source := s.source(t, "b.example")
		time.Sleep(200 * time.Second)
		var got taken
		if result, err := got.fetch(t, source, backfill.Order{Row: s.gap("a.example:443", 40, 99)}); err != nil || result != (backfill.Result{}) {
			t.Errorf("%+v, %v", result, err)
		}
		if len(host.asked) != 1 || host.asked[0] != jetstream.TimeCursor(s.at(40)-30_000_000) {
			t.Errorf("asked %v", host.asked)
		}
	})
}

// Clocks of hosts differ. That another host's oldest event has the time of the gap's beginning, or an
// earlier one, does not show that the host goes back so far.
func TestI4_TheBeginningOfAnotherHostIsByItsOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sockets{began: time.Now().Add(time.Hour)}
		time.Sleep(2 * time.Hour)
		for _, c := range []struct{ from, slow, lack int64 }{
			{from: 31, slow: 11, lack: 50}, // of second 20 by its clock
			{from: 15, slow: -15, lack: 60},
			{from: 19, slow: 29, lack: 0}, // just early enough: of 30 s before the gap
			{from: 20, slow: 29, lack: 21},
			{from: 95, slow: 0, lack: 99}, // no further than the gap's end
		} {
			s.hosts = map[string]*replayed{"b.example:443": {from: c.from, slow: c.slow}}
			var got taken
			result, err := got.fetch(t, s.source(t, "b.example"), backfill.Order{Row: s.gap("a.example:443", 20, 99)})
			var want backfill.Result
			if c.lack > 0 {
				want = backfill.Result{LackFromUS: s.at(20), LackToUS: s.at(c.lack)}
			}
			if err != nil || result != want {
				t.Errorf("from %d, %d s slow: %+v, %v; want %+v", c.from, c.slow, result, err, want)
			}
		}
	})
}

// What no source had so far is fetched, and with it what lies within seconds of it.
func TestOnlyTheRestIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": {}}}
		source := s.source(t, "a.example")
		time.Sleep(200 * time.Second)
		o := backfill.Order{Row: s.gap("a.example:443", 20, 99)}
		o.Row.RestFromUS, o.Row.RestToUS = s.at(50), s.at(70)
		var got taken
		if result, err := got.fetch(t, source, o); err != nil || result != (backfill.Result{}) {
			t.Errorf("%+v, %v", result, err)
		}
		if want := between(47, 73); !slices.Equal(got.seqs, want) {
			t.Errorf("got %v, want %v", got.seqs, want)
		}
	})
}

// A writer that takes its time is no silence of the server.
func TestARepairThatWaitsForTheWriterGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sockets{began: time.Now(), hosts: map[string]*replayed{"a.example:443": {}}}
		source := s.source(t, "a.example")
		time.Sleep(200 * time.Second)
		got := taken{slow: time.Minute}
		result, err := got.fetch(t, source, backfill.Order{Row: s.gap("a.example:443", 20, 99)})
		if want := between(20, 99); err != nil || result != (backfill.Result{}) || !slices.Equal(got.seqs, want) {
			t.Errorf("%+v, %v; got %v", result, err, got.seqs)
		}
	})
}
