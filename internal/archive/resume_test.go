package archive_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"tempestd/internal/archive"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// resume runs a sweep again and again from the point that was stored last, as a daemon that is killed
// at its batch number kill(run) does. It returns how often it ran.
func (s *taken) resume(t testing.TB, sw archive.Sweep, kill func(run int) int) int {
	t.Helper()
	for run := 0; ; run++ {
		point, err := archive.ParsePoint(s.point.Text())
		if err != nil {
			t.Fatal(err)
		}
		s.batches, s.stop = 0, kill(run)
		sw.From, sw.Batch, sw.Deliver = point, nil, s.deliver
		if run == 0 {
			sw.From = archive.Point{}
		}
		if _, err := sw.Run(t.Context()); err == nil {
			return run
		} else if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
}

var filters = map[string]jetstream.Filter{
	"everything": {},
	"blocks":     {Collections: []string{"app.bsky.graph.follow", "com.example.*"}, Kinds: []string{"commit"}},
	"markers":    {Kinds: []string{"identity", "account", "sync"}},
}

// A sweep that is killed at any of its batches and goes on from the stored point brings everything
// once.
func TestI2_KilledAtEveryBatch(t *testing.T) {
	const n = 400
	s := server(t, jetsim.Options{Backlog: n})
	all, _ := sweep(t, archive.Sweep{Client: client(t, s)})
	for name, filter := range filters {
		t.Run(name, func(t *testing.T) {
			sw := archive.Sweep{Client: client(t, s), Filter: filter, BatchEvents: 9, Parallel: 3}
			want, _ := sweep(t, sw)
			matcher := jetstream.NewMatcher(filter)
			same(t, want.entries, slices.DeleteFunc(slices.Clone(all.entries), func(e []byte) bool { return !matcher.WantsEvent(e) }))
			for k := 1; k <= want.batches; k++ {
				var got taken
				if runs := got.resume(t, sw, func(run int) int { return k * (1 - min(run, 1)) }); runs > 1 {
					t.Fatalf("killed %d times", runs)
				}
				same(t, got.entries, want.entries)
			}
			var got taken
			got.resume(t, sw, func(run int) int { return 1 + run%3 }) // and again and again
			same(t, got.entries, want.entries)
		})
	}
}

// Whatever the sizes, and wherever it is killed, the union is the whole.
func TestI2_KilledAnywhere(t *testing.T) {
	const n = 400
	servers := []*jetsim.Sim{
		server(t, jetsim.Options{Backlog: n}),
		server(t, jetsim.Options{Backlog: n, Archive: &jetsim.ArchiveOptions{PlanEntries: 1}}),
		server(t, jetsim.Options{Backlog: n, Segment: 50, Block: 50}),
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := servers[rapid.IntRange(0, len(servers)-1).Draw(rt, "server")]
		name := rapid.SampledFrom([]string{"everything", "blocks", "markers"}).Draw(rt, "filter")
		sw := archive.Sweep{
			Client: client(t, s), Filter: filters[name],
			BatchEvents: rapid.IntRange(1, 150).Draw(rt, "events"), BatchBytes: rapid.IntRange(1, 100_000).Draw(rt, "bytes"),
			Parallel: rapid.IntRange(1, 9).Draw(rt, "parallel"), Window: int64(rapid.IntRange(1, 200_000).Draw(rt, "window")),
		}
		if rapid.Bool().Draw(rt, "bounds") {
			sw.After = uint64(rapid.IntRange(0, 350).Draw(rt, "after"))
			sw.Before = sw.After + uint64(rapid.IntRange(1, 250).Draw(rt, "length"))
		}
		want, _ := sweep(t, sw)
		for _, seq := range want.seqs() {
			if seq <= int64(sw.After) || sw.Before > 0 && seq > int64(sw.Before) {
				rt.Fatalf("event %d, asked for were those after %d, up to %d", seq, sw.After, sw.Before)
			}
		}
		kills := rapid.SliceOfN(rapid.IntRange(1, 30), 0, 5).Draw(rt, "kills")
		var got taken
		got.resume(t, sw, func(run int) int {
			if run < len(kills) {
				return kills[run]
			}
			return 0
		})
		same(t, got.entries, want.entries)
	})
}

// A compaction between plan and fetch: what the sweep brings is what was archived before or after it,
// every event once, and nothing is missing that is still there.
func TestCompactionBetweenPlanAndFetch(t *testing.T) {
	const n = 3000
	for name, filter := range filters {
		t.Run(name, func(t *testing.T) {
			s := server(t, jetsim.Options{Backlog: n, Accounts: 40})
			c := client(t, s)
			sw := archive.Sweep{Client: c, Filter: filter, BatchEvents: 50, Parallel: 2}
			before, _ := sweep(t, sw)
			notes := &notes{}
			sw.Watcher = notes
			var got taken
			sw.Deliver = func(ctx context.Context, b *messages.Batch, at archive.Point) (*messages.Batch, error) {
				if got.batches == 3 {
					if err := s.Compact(); err != nil {
						t.Error(err)
					}
				}
				return got.deliver(ctx, b, at)
			}
			if name == "markers" {
				sw.BatchEvents = 3
			}
			if _, err := sw.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			after, _ := sweep(t, archive.Sweep{Client: c, Filter: filter})
			if !rising(got.seqs()) {
				t.Error("the events are out of order, or doubled")
			}
			if len(notes.replanned) == 0 {
				t.Error("nothing was planned anew")
			}
			if name != "markers" && len(after.entries) >= len(before.entries) {
				t.Errorf("the compaction left %d of %d", len(after.entries), len(before.entries))
			}
			within := func(what string, a, b [][]byte) {
				has := make(map[string]bool, len(b))
				for _, e := range b {
					has[string(e)] = true
				}
				for _, e := range a {
					if !has[string(e)] {
						t.Fatalf("%s: %s", what, e)
					}
				}
			}
			within("never archived", got.entries, before.entries)
			within("missing", after.entries, got.entries)
		})
	}
}

// A quota of six hours is waited out, and shown, in each form in which servers tell of it.
func TestAQuotaIsWaitedOut(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC))
	const n = 3000
	s := server(t, jetsim.Options{Backlog: n, Clock: clock, Archive: &jetsim.ArchiveOptions{Quota: 60_000, QuotaEvery: 6 * time.Hour}})
	var waits waits
	c := client(t, s, func(o *archive.Options) {
		o.Clock = clock
		o.Waiting = waits.wait
	})
	stop := waits.pass(clock)
	defer stop()
	got, r := sweep(t, archive.Sweep{Client: c, Parallel: 3})
	if len(got.entries) != n || !rising(got.seqs()) {
		t.Errorf("%d entries", len(got.entries))
	}
	quotas, longest := waits.quotas()
	if quotas < 3 || longest < 6*time.Hour-time.Second || longest > 6*time.Hour+time.Second {
		t.Errorf("waited %d times for the quota, %v at most; downloaded %d bytes", quotas, longest, r.Downloaded)
	}
}

// A budget is never exceeded, and a sweep with a new one goes on where the old one ended.
func TestABudgetHolds(t *testing.T) {
	const n, budget = 2000, 60_000
	s := server(t, jetsim.Options{Backlog: n})
	for name, filter := range filters {
		sw := archive.Sweep{Client: client(t, s), Filter: filter}
		want, whole := sweep(t, sw)
		var got taken
		sw.Budget, sw.Deliver = budget, got.deliver
		for runs := 0; ; runs++ {
			r, err := sw.Run(t.Context())
			if r.Downloaded > budget || runs > 200 {
				t.Fatalf("%s: %d bytes in run %d", name, r.Downloaded, runs)
			}
			if err == nil {
				if whole.Downloaded > budget && runs == 0 {
					t.Errorf("%s: %d bytes with one budget", name, whole.Downloaded)
				}
				break
			}
			if !errors.Is(err, archive.ErrBudget) {
				t.Fatal(err)
			}
			sw.From = got.point
		}
		same(t, got.entries, want.entries)
	}
}

// The numbers of another instance mean something else: a sweep does not go on there.
func TestI4_AReplacedInstanceIsNoticed(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 2000})
	c := client(t, s)
	var got taken
	got.stop = 9
	sw := archive.Sweep{Client: c, Deliver: got.deliver, BatchEvents: 100}
	if _, err := sw.Run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	if err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	sw.From, got.stop, got.batches = got.point, 5, 0
	if _, err := sw.Run(t.Context()); !errors.Is(err, errKilled) {
		t.Fatalf("after a compaction: %v", err)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultReplaced}); err != nil {
		t.Fatal(err)
	}
	sw.From, got.stop = got.point, 0
	had := len(got.entries)
	if _, err := sw.Run(t.Context()); !errors.Is(err, archive.ErrReplaced) || len(got.entries) != had {
		t.Fatalf("on a rebuilt server: %v, %d entries", err, len(got.entries)-had)
	}
	// While the sweep runs, too.
	fresh := server(t, jetsim.Options{Backlog: 4000})
	sw = archive.Sweep{Client: client(t, fresh), BatchEvents: 100, Parallel: 1}
	sw.Deliver = func(_ context.Context, b *messages.Batch, _ archive.Point) (*messages.Batch, error) {
		if err := fresh.Inject(jetsim.Fault{Name: jetsim.FaultReplaced}); err != nil {
			t.Error(err)
		}
		b.Reset()
		return b, nil
	}
	if _, err := sw.Run(t.Context()); !errors.Is(err, archive.ErrReplaced) {
		t.Fatalf("replaced while the sweep runs: %v", err)
	}
}

// Numbers that were never given are no loss, and no reason to stop.
func TestAHoleInTheNumbersIsNoLoss(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 1000})
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultSeqHole}); err != nil {
		t.Fatal(err)
	}
	s.Produce(1000)
	n := s.Stats().Served / 200 * 200
	got, r := sweep(t, archive.Sweep{Client: client(t, s)})
	seqs := got.seqs()
	if len(seqs) != n || !rising(seqs) || seqs[1000]-seqs[999] < 4096 || r.Through != uint64(seqs[n-1]) {
		t.Errorf("%d events of %d, through %d", len(seqs), n, r.Through)
	}
}

// A sweep whose end is not sealed yet says how far it came, and goes on later from its point.
func TestWhatIsNotSealedYetComesLater(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 500})
	c := client(t, s)
	var got taken
	sw := archive.Sweep{Client: c, Before: 800, Deliver: got.deliver}
	r, err := sw.Run(t.Context())
	if err != nil || len(got.entries) != 400 || r.Through >= 800 {
		t.Fatalf("%d entries, %+v, %v", len(got.entries), r, err)
	}
	sw.From = got.point
	if r, err := sw.Run(t.Context()); err != nil || len(got.entries) != 400 || r.Through != got.point.Seq {
		t.Fatalf("nothing new: %d entries, %+v, %v", len(got.entries), r, err)
	}
	s.Produce(500)
	if r, err = sw.Run(t.Context()); err != nil || r.Through != 800 || got.point.Seq != 800 {
		t.Fatalf("%+v, %v", r, err)
	}
	seqs := got.seqs()
	if !rising(seqs) || seqs[len(seqs)-1] > 800 {
		t.Errorf("the last of %d events is %d", len(seqs), seqs[len(seqs)-1])
	}
	if r, err := (&archive.Sweep{Client: client(t, server(t, jetsim.Options{Backlog: 10})), After: 5, Deliver: got.deliver}).Run(t.Context()); err != nil || r.Through != 5 {
		t.Errorf("an archive without segments: %+v, %v", r, err)
	}
}

// The price is known before anything is downloaded.
func TestThePriceIsKnownBefore(t *testing.T) {
	s := server(t, jetsim.Options{Backlog: 3000})
	for name, filter := range filters {
		sw := archive.Sweep{Client: client(t, s), Filter: filter}
		price, err := sw.Price(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := s.Stats().Archive["getBlock"]
		_, r := sweep(t, sw)
		if low, high := r.Downloaded*8/10, r.Downloaded*13/10; price.Bytes < low || price.Bytes > high || price.Through != r.Through || name == "everything" && !price.Exact {
			t.Errorf("%s: %+v, downloaded were %d bytes up to %d; %d blocks were asked for before", name, price, r.Downloaded, r.Through, n)
		}
	}
}

// The last event before a time is found without a download of events.
func TestATimeIsFoundInTheList(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC))
	s := server(t, jetsim.Options{Backlog: 2000, Clock: clock})
	c := client(t, s)
	all, _ := sweep(t, archive.Sweep{Client: c})
	for back := range 25 {
		at := clock.Now().Add(-time.Duration(back) * 100 * time.Millisecond)
		seq, known, err := c.SeqBefore(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := sweep(t, archive.Sweep{Client: c, After: seq})
		missed := 0
		for i := range all.events {
			if all.events[i].TimeUS >= at.UnixMicro() {
				missed++
			}
		}
		for i := range got.events {
			if got.events[i].TimeUS >= at.UnixMicro() {
				missed--
			}
		}
		if missed != 0 || known != (back > 0) || known && len(got.events)-back*100 > 210 {
			t.Errorf("%d ms back: after %d, %v; %d of %d events, %d missed", back*100, seq, known, len(got.events), len(all.events), missed)
		}
	}
}
