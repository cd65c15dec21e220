package archive_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/archive"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server starts a simulator with an archive of small segments and blocks.
func server(t testing.TB, opt jetsim.Options) *jetsim.Sim {
	t.Helper()
	if opt.Archive == nil {
		opt.Archive = &jetsim.ArchiveOptions{}
	}
	opt.Syncs = true
	if opt.Segment == 0 {
		opt.Segment, opt.Block = 200, 20
	}
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// client returns a client of the simulator, with a clock that does not make tests wait.
func client(t testing.TB, s *jetsim.Sim, change ...func(*archive.Options)) *archive.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(tr.CloseIdleConnections)
	opt := archive.Options{BaseURL: "http://" + s.Addr(), HTTP: &http.Client{Transport: tr}, Clock: hasty{clockwork.NewRealClock()}, Rand: rand.New(rand.NewPCG(1, 2))}
	for _, c := range change {
		c(&opt)
	}
	c, err := archive.NewClient(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hasty is the real clock, whose timers of up to an hour fire at once. Longer ones, and calls by
// AfterFunc, are real.
type hasty struct{ clockwork.Clock }

func (h hasty) NewTimer(d time.Duration) clockwork.Timer {
	if d <= time.Hour {
		d = time.Microsecond
	}
	return h.Clock.NewTimer(d)
}

// notes are what a Watcher was told.
type notes struct {
	mu         sync.Mutex
	planned    []archive.Planned
	downloaded int64
	events     int
	through    uint64
	skipped    map[archive.Reason][]uint64
	widened    []string
	replanned  []error
}

func (n *notes) Planned(p archive.Planned) { n.note(func() { n.planned = append(n.planned, p) }) }
func (n *notes) Downloaded(bytes int)      { n.note(func() { n.downloaded += int64(bytes) }) }
func (n *notes) Delivered(events int, through uint64) {
	n.note(func() { n.events, n.through = n.events+events, through })
}
func (n *notes) Skipped(seq uint64, why archive.Reason, _ error) {
	n.note(func() {
		if n.skipped == nil {
			n.skipped = map[archive.Reason][]uint64{}
		}
		n.skipped[why] = append(n.skipped[why], seq)
	})
}
func (n *notes) Widened(lists []string) { n.note(func() { n.widened = lists }) }
func (n *notes) Replanned(why error)    { n.note(func() { n.replanned = append(n.replanned, why) }) }

func (n *notes) note(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
}

// taken is what a consumer stored: entries, and the point that came with the last of them.
type taken struct {
	entries [][]byte
	events  []messages.Event
	point   archive.Point
	batches int
	stop    int // refuse the batch with this number
}

var errKilled = errors.New("the consumer was killed")

// deliver stores a batch, as a consumer does that commits entries and point together.
func (s *taken) deliver(_ context.Context, b *messages.Batch, at archive.Point) (*messages.Batch, error) {
	if s.batches++; s.batches == s.stop {
		return nil, errKilled
	}
	for i := range b.Events {
		s.entries = append(s.entries, bytes.Clone(b.Bytes(i)))
		s.events = append(s.events, b.Events[i])
	}
	s.point = at
	b.Reset()
	return b, nil
}

// sweep runs a sweep that is expected to end well.
func sweep(t testing.TB, s archive.Sweep) (taken, archive.Result) {
	t.Helper()
	var got taken
	s.Deliver = got.deliver
	r, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got, r
}

// socket returns the frames that the simulator's v2 socket sends from its oldest event on.
func socket(t testing.TB, s *jetsim.Sim, n int) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URLv2()+"?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	frames := make([][]byte, n)
	for i := range frames {
		if _, frames[i], err = conn.Read(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return frames
}

// same compares two lists of entries.
func same(t testing.TB, got, want [][]byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("entry %d:\n got %s\nwant %s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
}

// seqs are the sequence numbers of the events.
func (s *taken) seqs() (out []int64) {
	for i := range s.events {
		out = append(out, s.events[i].Seq)
	}
	return out
}

func rising(seqs []int64) bool {
	return slices.IsSorted(seqs) && len(slices.Compact(slices.Clone(seqs))) == len(seqs)
}

// waits are what a client waits for on a fake clock.
type waits struct {
	mu    sync.Mutex
	until time.Time
	clock clockwork.Clock
	said  []time.Duration // for the quota
}

func (w *waits) wait(until time.Time, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = until
	if errors.Is(why, archive.ErrQuota) {
		w.said = append(w.said, until.Sub(w.clock.Now()))
	}
}

// pass lets the time pass that is waited for, until stop is called.
func (w *waits) pass(clock *clockwork.FakeClock) (stop func()) {
	w.clock = clock
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			w.mu.Lock()
			d := w.until.Sub(clock.Now())
			w.mu.Unlock()
			if d > 0 {
				clock.Advance(d)
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (w *waits) quotas() (n int, longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.said), slices.Max(w.said)
}
