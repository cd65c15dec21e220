package accounts_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/atsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const seed = 7

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// rig is a client and what it calls, on one clock. A wait that a host asks for is over at once by
// that clock, and so is the patience with a response that does not come.
type rig struct {
	*accounts.Client
	sim       *atsim.Sim
	clock     *clockwork.FakeClock
	directory *identity.Directory

	mu      sync.Mutex
	waits   []pace.Wait
	skipped []accounts.Skipped
}

func newRig(t *testing.T, hosts int, change ...func(*accounts.Options)) *rig {
	t.Helper()
	r := &rig{clock: clockwork.NewFakeClockAt(epoch)}
	var beside sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	advance := func(d time.Duration) {
		beside.Go(func() {
			if r.clock.BlockUntilContext(ctx, 1) == nil {
				r.clock.Advance(d)
			}
		})
	}
	var err error
	r.sim, err = atsim.New(atsim.Options{Hosts: hosts, Seed: seed, Clock: r.clock, Happened: func(f atsim.Fault, _, _ string) {
		if f.Name == atsim.FaultSlowBody {
			advance(time.Hour)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	client := guard.New(r.sim.Policy())
	calls := xrpc.New(xrpc.Options{HTTP: client, Clock: r.clock, UserAgent: "tempestd-test", Pace: pace.New(pace.Options{
		Clock: r.clock, Start: math.MaxFloat64, Told: func(w pace.Wait) {
			r.mu.Lock()
			r.waits = append(r.waits, w)
			r.mu.Unlock()
			advance(w.Until.Sub(r.clock.Now()))
		}})})
	r.directory = identity.New(identity.Options{Calls: calls, Clock: r.clock, PLC: r.sim.PLC(), TXT: r.sim.TXT, Origin: r.sim.Origin})
	opt := accounts.Options{Calls: calls, Directory: r.directory, Dir: t.TempDir(), Skipped: func(s accounts.Skipped) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.skipped = append(r.skipped, s)
	}}
	for _, f := range change {
		f(&opt)
	}
	r.Client = accounts.New(opt)
	t.Cleanup(func() {
		cancel()
		beside.Wait()
		client.CloseIdleConnections()
		if err := r.sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// fill gives accounts of the seed n events each.
func (r *rig) fill(t *testing.T, accounts, n int) {
	t.Helper()
	for _, e := range atsim.Generate(seed, accounts, n, epoch.Add(-24*time.Hour)) {
		if err := r.sim.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
}

// posts gives one account n posts, a minute apart, the last one a minute ago.
func (r *rig) posts(t *testing.T, did string, n int) {
	t.Helper()
	for i := range n {
		at := epoch.Add(-time.Duration(n-i) * time.Minute)
		r.apply(t, atsim.Event{DID: did, Time: at, Rev: atsim.TID(at, 0), Operation: "create", Collection: posts, RKey: atsim.TID(at, 0),
			Record: []byte(`{"$type":"app.bsky.feed.post","text":"` + at.String() + `"}`)})
	}
}

func (r *rig) apply(t *testing.T, e atsim.Event) {
	t.Helper()
	if err := r.sim.Apply(e); err != nil {
		t.Fatal(err)
	}
}

const posts = "app.bsky.feed.post"
