package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// setup is the world that a seed gives, before any fault.
type setup struct {
	servers []jetsim.Options
	drift   []float64 // of the servers' clocks
	pace    time.Duration
	burst   int // events that come at once, at most
	latency time.Duration
	feed    config.Feed
	segment int64 // bytes of a segment of the store
	readers int
	repairs bool
}

// host is the address of a server.
func host(server int) string { return fmt.Sprintf("127.0.0.1:%d", 6001+server) }

func drawSetup(seed uint64) setup {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := setup{
		pace:    between(rnd, 300*time.Millisecond, 4*time.Second),
		burst:   1 + rnd.IntN(3),
		latency: between(rnd, time.Millisecond, 80*time.Millisecond),
		segment: 64 << 10,
		readers: 2,
	}
	if rnd.IntN(4) == 0 {
		s.pace, s.burst = 30*time.Second, 20 // a quiet feed
	}
	count := 1 + rnd.IntN(2)
	for i := range count {
		o := jetsim.Options{Seed: 1 + seed%1000, Accounts: 40, Backlog: int64(rnd.IntN(2) * 30), Block: 32, BlockAge: 20 * time.Second, Segment: []int{100, 65_536}[rnd.IntN(2)]}
		if i > 0 {
			o.Backlog = s.servers[0].Backlog
		}
		switch rnd.IntN(4) {
		case 0:
			o.Legacy = true
		case 1:
			o.Newer = jetsim.AllNewer()
		}
		o.NoDate = rnd.IntN(3) == 0
		if rnd.IntN(2) == 0 {
			o.Skew = between(rnd, -time.Hour, time.Hour)
		}
		if rnd.IntN(3) == 0 {
			o.Lag = between(rnd, 0, 2*time.Second)
		}
		drift := 0.0
		if rnd.IntN(3) == 0 {
			drift = (rnd.Float64() - 0.5) / 500
		}
		s.servers, s.drift = append(s.servers, o), append(s.drift, drift)
	}
	s.feed = config.Feed{
		Name: feedName, Backoff: []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second},
		ReplayWindow: 12 * time.Hour, ReplayWindowAuto: rnd.IntN(2) == 0, Rewind: 10 * time.Second,
		Dedupe:             []config.Dedupe{config.DedupeAlways, config.DedupeOverlap}[rnd.IntN(2)],
		DedupeHorizon:      config.DedupeHorizon{Entries: 1_000_000, Age: 48 * time.Hour},
		CheckpointInterval: 5 * time.Second, PingInterval: 15 * time.Second, MaxMessageSize: 1 << 20,
		BatchEvents: []int{1, 16, 256}[rnd.IntN(3)], BatchBytes: 1 << 20, BatchDelay: 25 * time.Millisecond,
		Compress: jetstream.CompressOff,
	}
	if s.repairs = rnd.IntN(2) == 0; s.repairs {
		s.feed.Repair = config.Repair{Policy: config.GapsRepair, Sources: []messages.GapSource{messages.SourceSocket, messages.SourceArchive}}
		for i := range s.servers {
			if !s.servers[i].Legacy {
				s.servers[i].Archive = &jetsim.ArchiveOptions{}
			}
		}
		if archived := slices.ContainsFunc(s.servers, func(o jetsim.Options) bool { return o.Archive != nil }); archived {
			// All servers are of one network, and an archived network has contents of its own.
			for i := range s.servers {
				if s.servers[i].Legacy {
					s.servers[i].Legacy, s.servers[i].Archive = false, &jetsim.ArchiveOptions{}
				}
			}
		}
	}
	for i := range count {
		e, err := config.ParseEndpoint("ws://" + host(i))
		if err != nil {
			panic(err)
		}
		s.feed.Endpoints = append(s.feed.Endpoints, e)
	}
	return s
}

const feedName = "bluesky"
