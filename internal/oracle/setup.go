package oracle

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Setup is the world of a run, before any fault.
type Setup struct {
	Servers  []Server
	Archived bool          // the servers have archives; all of them are v2 then
	Backlog  int64         // events from before the run
	Pace     time.Duration // of the network: how often something happens
	Burst    int           // and how many events come then, at most
	Latency  time.Duration // of connections, one way, at most
	Batch    int           // events in a batch, at most
	Overlap  bool          // dedupe = "overlap"
	Auto     bool          // replay_window = "auto"
	Repairs  bool          // gaps are repaired
	Commits  bool          // the feed wants commits alone
	Early    bool          // faults begin before the first event
	Youth    int64         `json:",omitempty"` // events of the stream before faults begin, 40 if 0; none in an early world
	Large    bool          `json:",omitempty"` // some events are too large, and servers send them all the same
	Nodes    int           // daemons that share a store; 0 for one with a store of its own

	Readers []string         `json:",omitempty"` // who reads over HTTP, by the names of ways
	Keep    config.Retention `json:",omitzero"`  // what the stream keeps
	Valkey  bool             `json:",omitempty"` // the shared store is that of package valkey, on a model of a server
}

// Server is one simulated server.
type Server struct {
	Legacy  bool          `json:",omitempty"` // v1 alone
	Newer   bool          `json:",omitempty"` // with the newer behaviours
	Undated bool          `json:",omitempty"` // its answers have no Date
	Exact   bool          `json:",omitempty"` // segments are small
	Skew    time.Duration `json:",omitempty"` // how far its clock is ahead
	Drift   float64       `json:",omitempty"` // of its clock
	Lag     time.Duration `json:",omitempty"` // from the network to the server
}

const feedName = "bluesky"

// host is the address of a server.
func host(server int) string { return fmt.Sprintf("127.0.0.1:%d", 6001+server) }

// drawSetup draws the world of a seed.
func drawSetup(seed uint64) Setup {
	rnd := rand.New(rand.NewPCG(seed, 1))
	likely := func(one int) bool { return rnd.IntN(one) == 0 }
	s := Setup{
		Pace:    between(rnd, 300*time.Millisecond, 4*time.Second),
		Burst:   1 + rnd.IntN(3),
		Latency: between(rnd, time.Millisecond, 80*time.Millisecond),
		Backlog: int64(rnd.IntN(2) * 30),
		Batch:   []int{1, 16, 256}[rnd.IntN(3)],
		Overlap: likely(2), Auto: likely(2), Repairs: likely(2),
	}
	s.Archived = s.Repairs && likely(3)
	s.Commits, s.Early = likely(4), likely(3)
	if likely(3) {
		s.Nodes = 1 + rnd.IntN(2)
	}
	switch rnd.IntN(12) {
	case 0, 1:
		s.Pace, s.Burst = 30*time.Second, 20 // a quiet feed
	case 2:
		s.Pace, s.Burst = 2*time.Minute, 4 // one that is silent for longer than a feed takes to trust a silence
	}
	s.Large = likely(8)
	for range 1 + rnd.IntN(2) {
		server := Server{Undated: likely(3), Exact: likely(2)}
		switch rnd.IntN(4) {
		case 0:
			server.Legacy = !s.Archived
		case 1:
			server.Newer = true
		}
		if likely(2) {
			server.Skew = between(rnd, -time.Hour, time.Hour)
		}
		if likely(3) {
			server.Lag = between(rnd, 0, 2*time.Second)
		}
		if likely(3) {
			server.Drift = float64(rnd.IntN(2001)-1000) / 1e6
		}
		s.Servers = append(s.Servers, server)
	}
	// What is too large leaves an entry that no replay can be compared with, and an archive has it all
	// the same.
	s.Large = s.Large && len(s.Servers) == 1 && !s.Archived
	if s.Early {
		s.Backlog = 0
		for i := range s.Servers {
			// A feed that has no event yet asks a host whose clock it does not know for a quarter of an hour
			// before it began. In the future of such a host nothing can be asked for.
			if o := &s.Servers[i]; o.Undated {
				o.Skew = max(o.Skew, -10*time.Minute)
			}
		}
	} else {
		s.Youth = []int64{1, 4, 40}[rnd.IntN(3)]
	}
	return s
}

// options are the options of the simulated servers. Call it within a bubble.
func (s *Setup) options(seed uint64) (all []jetsim.Options) {
	for _, server := range s.Servers {
		o := jetsim.Options{Clock: newWallClock(server.Drift), Seed: 1 + seed%1000, Accounts: 40, Backlog: s.Backlog, Block: 32, BlockAge: 20 * time.Second,
			Legacy: server.Legacy, NoDate: server.Undated, Skew: server.Skew, Lag: server.Lag}
		if server.Newer {
			o.Newer = jetsim.AllNewer()
		}
		if server.Exact {
			o.Segment = 100
		}
		if s.Large {
			o.LargeEvery, o.LargeBytes, o.IgnoreSize = 4, mostBytes, true
		}
		if s.Archived {
			o.Archive = &jetsim.ArchiveOptions{}
		}
		all = append(all, o)
	}
	return all
}

// quiet is how long no fault begins. Only in an early world the feed may have no event by then.
func (s *Setup) quiet() time.Duration {
	if s.Early {
		return time.Second
	}
	return warmUp
}

// mostBytes is the largest message of a world with large events. No other event is so large.
const mostBytes = 8 << 10

// query is what the feed wants, for the comparison.
func (s *Setup) query() url.Values {
	q := url.Values{}
	if s.Commits {
		q.Set("kinds", "commit")
	}
	if s.Large {
		q.Set("maxMessageSizeBytes", strconv.Itoa(mostBytes))
	}
	return q
}

// feed is the feed's configuration.
func (s *Setup) feed() config.Feed {
	f := config.Feed{
		Name: feedName, Backoff: []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second},
		ReplayWindow: 12 * time.Hour, ReplayWindowAuto: s.Auto, Rewind: 10 * time.Second,
		Dedupe: config.DedupeAlways, DedupeHorizon: config.DedupeHorizon{Entries: 1_000_000, Age: 48 * time.Hour},
		CheckpointInterval: 5 * time.Second, PingInterval: 15 * time.Second, MaxMessageSize: 1 << 20,
		BatchEvents: s.Batch, BatchBytes: 1 << 20, BatchDelay: 25 * time.Millisecond, Compress: jetstream.CompressOff, Retention: s.Keep,
	}
	if s.Overlap {
		f.Dedupe = config.DedupeOverlap
	}
	if s.Commits {
		f.Kinds = []string{"commit"}
	}
	if s.Large {
		f.MaxMessageSize = mostBytes
	}
	if s.Repairs {
		f.Repair = config.Repair{Policy: config.GapsRepair, Sources: []messages.GapSource{messages.SourceSocket}}
		if s.Archived {
			f.Repair.Sources = append(f.Repair.Sources, messages.SourceArchive)
		}
	}
	for i := range s.Servers {
		e, err := config.ParseEndpoint("ws://" + host(i))
		if err != nil {
			panic(err)
		}
		f.Endpoints = append(f.Endpoints, e)
	}
	return f
}
