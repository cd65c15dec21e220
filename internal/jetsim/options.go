package jetsim

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/subscribe"
)

// Options say what a simulator simulates. The zero value, but for a Clock, is a ready server that produces nothing by itself.
type Options struct {
	// Clock is the server's. Nil is the real one.
	Clock clockwork.Clock

	// Seed chooses the network: the same seed produces the same contents. 0 is the seed of the history at Path, or 1.
	Seed uint64

	// Accounts is how many accounts the network has, 1…1 000 000; 0 is 20 000 (or the history's).
	Accounts int

	// Syncs has the network send sync events, 2 or 3 in a thousand. v1 subscribers never see them and get fewer frames
	// than there are events.
	Syncs bool

	// Rate is how many events a second the network produces in real time, as long as the simulator runs: from 0.000001, one in
	// eleven days, to 1 000 000. 0 produces none: see Produce.
	Rate float64

	// Flood produces events as fast as the fastest subscriber takes them, instead of at a rate.
	Flood bool

	// Count ends production with this many events in all, those of an existing history included. 0 sets no bound.
	Count int64

	// Backlog is how many events a new history begins with. Their times lie before the start, 1/Rate apart (1 ms without one).
	Backlog int64

	// Path is the history's file; "" keeps it in memory alone. An existing file is continued, under the same Seed and Accounts.
	Path string

	// FirstSeq is the first sequence number of a new history; 0 is 1. With any other the server is another one of the same network: it
	// also ingests events in an order of its own.
	FirstSeq int64

	// Skew is how far the server's clock is ahead of Clock, or behind it when negative. StepClock changes it.
	Skew time.Duration

	// NoDate leaves out the header that tells the server's clock, in whatever it answers.
	NoDate bool

	// Newer is what the server does as newer ones do; AllNewer is everything. Nil is a server of the older generation.
	Newer []Newer

	// Readers is how many readers of one archive are behind the server's name, and answer in turns: 1 to 100, 0 is 1.
	Readers int

	// IgnoreSize sends what is larger than a subscriber asks for, as some servers do.
	IgnoreSize bool

	// LargeEvery makes one in so many events large: its record has LargeBytes more, 1 MiB if 0. 0 makes none. A history's file does not keep either.
	LargeEvery int64
	LargeBytes int

	// Lag is how much later than the network produced them the server ingests events.
	Lag time.Duration

	// Protocol is the only one that is served, "" both. A legacy server serves v1 in any case.
	Protocol Protocol

	// V1Dictionary is the zstd dictionary of the v1 endpoint; nil is one of the simulator's own: see Sim.V1Dictionary.
	V1Dictionary []byte

	// Legacy behaves as the legacy server: no cursor field, times that are unique, cursors compared as strings.
	Legacy bool

	// Segment is how many events make a segment of the server's archive; 0 is 65 536. A cursor that is a time newer than the last
	// full segment replays the active one from its start.
	Segment int

	// Lookback is how far back full segments are served; 0 is 36 h.
	Lookback time.Duration

	// NoReplay ignores every cursor, as a server with a lookback of 0 does.
	NoReplay bool

	// Block and BlockAge bound what a crash forgets: events are durable once there are Block of them (0 is 4 096) or the oldest
	// is BlockAge old (0 is 30 s).
	Block    int
	BlockAge time.Duration

	// NotReady starts the server in bootstrap: see SetReady.
	NotReady bool

	// Faults happen by themselves. Others can be injected at any time: see Inject.
	Faults []Fault
}

// order is the order of the server's own in which it ingests; 0 is the network's.
func (o *Options) order() uint64 { return mix(uint64(o.FirstSeq - 1)) }

// skewedClock is a clock that is wrong.
type skewedClock struct {
	clockwork.Clock
	skew *atomic.Int64 // ns
}

func (c skewedClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.skew.Load())) }

func (o Options) withDefaults() (Options, error) {
	if o.Clock == nil {
		o.Clock = clockwork.NewRealClock()
	}
	if o.Legacy {
		o.Protocol = ProtocolV1
	}
	setDefault(&o.FirstSeq, 1)
	setDefault(&o.Segment, 65_536)
	setDefault(&o.Lookback, 36*time.Hour)
	setDefault(&o.Block, 4096)
	setDefault(&o.Readers, 1)
	setDefault(&o.LargeBytes, 1<<20)
	setDefault(&o.BlockAge, 30*time.Second)
	switch {
	case o.Accounts < 0 || o.Accounts > 1_000_000:
		return o, fmt.Errorf("jetsim: %d accounts; 1 to 1000000 are accepted", o.Accounts)
	case o.Rate != 0 && !(o.Rate >= 1e-6 && o.Rate <= 1e6):
		return o, fmt.Errorf("jetsim: a rate of %v events/s; 0 or 0.000001 to 1000000 is accepted", o.Rate)
	case o.Rate > 0 && o.Flood:
		return o, fmt.Errorf("jetsim: a flood has no rate")
	case o.Count < 0 || o.Backlog < 0:
		return o, fmt.Errorf("jetsim: a number of events is negative")
	case o.Readers < 1 || o.Readers > 100:
		return o, fmt.Errorf("jetsim: %d readers; 1 to 100 are accepted", o.Readers)
	case o.LargeEvery < 0 || o.LargeBytes < 0 || o.LargeBytes > maxLarge:
		return o, fmt.Errorf("jetsim: a large event every %d of %d bytes; from 0, and to %d bytes, are accepted", o.LargeEvery, o.LargeBytes, maxLarge)
	case o.Segment < 1 || o.Block < 1:
		return o, fmt.Errorf("jetsim: a segment and a block hold at least one event")
	case o.FirstSeq < 1 || o.FirstSeq >= subscribe.FirstTime:
		return o, fmt.Errorf("jetsim: a first seq of %d; 1 to %d are accepted", o.FirstSeq, int64(subscribe.FirstTime-1))
	case o.Lookback < 0 || o.BlockAge < 0 || o.Lag < 0:
		return o, fmt.Errorf("jetsim: a duration is negative")
	}
	for _, n := range o.Newer {
		if !slices.Contains(AllNewer(), n) {
			return o, fmt.Errorf("jetsim: there is no %q; there are %s", n, strings.Join(NewerNames(), ", "))
		}
	}
	if err := o.Protocol.validate(); err != nil {
		return o, fmt.Errorf("jetsim: %w", err)
	}
	if o.V1Dictionary != nil {
		if _, err := newDictionary(o.V1Dictionary); err != nil {
			return o, err
		}
	}
	for _, f := range o.Faults {
		if err := f.validate(); err != nil {
			return o, fmt.Errorf("jetsim: %w", err)
		}
	}
	return o, nil
}

// maxLarge bounds a large event, in bytes.
const maxLarge = 1 << 28

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
