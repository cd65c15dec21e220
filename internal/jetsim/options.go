package jetsim

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
)

// Options say what a simulator simulates. With the zero value the simulator is ready and serves
// both protocols, but produces nothing by itself.
type Options struct {
	// Clock is the server's clock. Nil is the real clock.
	Clock clockwork.Clock

	// Seed chooses the network: the same seed produces the same contents. 0 means the seed of the
	// history at Path, or 1.
	Seed uint64

	// Accounts is the number of the network's accounts, 1…1 000 000. 0 means the history's number,
	// or 20 000.
	Accounts int

	// Syncs makes the network send sync events, 2 or 3 in a thousand. v1 subscribers never see
	// them, so they get fewer frames than there are events.
	Syncs bool

	// Rate is the number of events that the network produces per second of real time, as long as
	// the simulator runs: from 0.000001, one in eleven days, to 1 000 000. With 0 it produces none;
	// see Produce.
	Rate float64

	// Flood produces events as fast as the fastest subscriber takes them, instead of at a rate.
	Flood bool

	// Count ends production at this total number of events, with those of an existing history. 0
	// sets no bound.
	Count int64

	// Backlog is the number of events that a new history begins with. Their times are before the
	// start, 1/Rate apart (1 ms without a rate).
	Backlog int64

	// Began is when the network made its first content. The times in revs and keys then follow from it
	// and from Rate alone, so servers in several processes can be of one network. The zero time is for
	// one process: revs and keys have the time of Clock at which their contents were made.
	Began time.Time

	// Path is the history's file. With "" the history is only in memory. An existing file is
	// continued; its Seed and Accounts must be the same.
	Path string

	// FirstSeq is the first sequence number of a new history; 0 means 1. With a number above 1 the
	// simulator is another server of the same network: it also ingests events in its own order.
	FirstSeq int64

	// Skew is how far the server's clock is ahead of Clock, or behind it when negative. StepClock
	// changes it.
	Skew time.Duration

	// NoDate leaves out the Date header, which tells the server's clock, in all answers.
	NoDate bool

	// Newer lists the newer server's behaviours that this server has. AllNewer returns all of them.
	// Nil is a server of the older generation.
	Newer []Newer

	// Readers is the number of readers of one archive that are behind the server's name and answer
	// in turns: 1 to 100; 0 means 1.
	Readers int

	// IgnoreSize sends events that are larger than the subscriber's limit, as some servers do.
	IgnoreSize bool

	// LargeEvery makes one in LargeEvery events large: its record has LargeBytes more (1 MiB if 0).
	// 0 makes none. The history's file keeps neither number.
	LargeEvery int64
	LargeBytes int

	// Lag is the delay between the production of an event and its ingestion by the server.
	Lag time.Duration

	// Protocol is the only protocol that is served; "" means both. A legacy server serves only v1.
	Protocol Protocol

	// V1Dictionary is the zstd dictionary of the v1 endpoint. With nil the simulator trains its
	// own; see Sim.V1Dictionary.
	V1Dictionary []byte

	// Legacy makes the server behave as the legacy server: no cursor member, unique times, and
	// cursors compared as strings.
	Legacy bool

	// Segment is the number of events in a segment of the server's archive; 0 means 65 536. A
	// cursor that is a time after the last full segment replays the active segment from its start,
	// unless the server has NewerExact.
	Segment int

	// Lookback is how far back full segments are served; 0 means 36 h.
	Lookback time.Duration

	// NoReplay ignores every cursor, as a server with a lookback of 0 does.
	NoReplay bool

	// Block and BlockAge bound what a crash forgets: events become durable when there are Block of
	// them (0 means 4 096) or when the oldest is BlockAge old (0 means 30 s).
	Block    int
	BlockAge time.Duration

	// Archive is the archive of full segments that the server serves over HTTP; nil is none. The
	// network of an archived server has other contents, see newNetwork.
	Archive *ArchiveOptions

	// NotReady starts the server in bootstrap; see SetReady.
	NotReady bool

	// Network is what is around the server, for the control endpoint; nil for nothing.
	Network Network

	// Faults happen by themselves at their times. Inject makes other faults happen at any time.
	Faults []Fault

	made *made // of the fleet; nil for one's own
}

// Network is what is around a simulated server: accounts' servers, directory and relay.
type Network interface {
	// Addresses names each part and its origin, as "http://127.0.0.1:1".
	Addresses() map[string]string
	// InjectNamed makes one of its faults happen, for once.
	InjectNamed(fault string) error
}

// spacing is the time between two contents of the network, µs.
func (o *Options) spacing() float64 {
	if o.Rate > 0 {
		return 1e6 / o.Rate
	}
	return 1000
}

// order selects the server's own order of ingestion; 0 is the network's order.
func (o *Options) order() uint64 { return mix(uint64(o.FirstSeq - 1)) }

// skewedClock is a clock that deviates from the real one by skew.
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
	case o.FirstSeq < 1 || o.FirstSeq >= atproto.FirstTime:
		return o, fmt.Errorf("jetsim: a first seq of %d; 1 to %d are accepted", o.FirstSeq, int64(atproto.FirstTime-1))
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
	if err := o.archive(); err != nil {
		return o, fmt.Errorf("jetsim: %w", err)
	}
	for _, f := range o.Faults {
		if err := f.validate(); err != nil {
			return o, fmt.Errorf("jetsim: %w", err)
		}
		if f.info().Archive && o.Archive == nil {
			return o, fmt.Errorf("jetsim: %w", errNoArchive(f.Name))
		}
	}
	return o, nil
}

// maxLarge bounds LargeBytes.
const maxLarge = 1 << 28

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
