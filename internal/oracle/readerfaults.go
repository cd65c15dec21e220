package oracle

import (
	"math/rand/v2"
	"slices"
	"time"

	"tempestd/internal/config"
)

// What happens to readers, and what the stream keeps for them.

func readOver(s *Setup) bool { return len(s.Readers) > 0 }

// readerFaults are the faults of readers.
func readerFaults() map[Kind]fault {
	return map[Kind]fault{
		// Every connection of a reader ends, in the middle of what it is sent.
		"readers-cut": {fits: readOver, do: func(w *world, _ Step) {
			for _, r := range w.readers {
				w.net.reset(r)
			}
			for _, c := range w.consumers {
				w.net.reset(c)
			}
		}},
		// Nobody reads for a while. Connections stay open.
		"readers-away": {fits: func(s *Setup) bool { return readOver(s) || s.Keep != (config.Retention{}) }, draw: lasting(time.Second, 4*time.Minute),
			do: func(w *world, _ Step) { w.gate.close() }, undo: func(w *world, _ Step) { w.gate.open() }},
	}
}

// drawReaders draws who reads over HTTP, what the stream keeps, and which store is shared. The rest of
// the setup is drawn from other numbers.
func (s *Setup) drawReaders(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 6))
	if rnd.IntN(3) > 0 {
		all := wayNames()
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		s.Readers = all[:1+rnd.IntN(3)]
	}
	s.Valkey = s.Nodes > 0 && rnd.IntN(2) == 0 && !s.Early
	// What a stream no longer holds is told from a new event by time, and so by one clock alone. What an
	// older server may have left out, and what one that crashed repeats, comes again, and a stream that
	// keeps less than that has it twice.
	first := s.Servers[0]
	if slices.ContainsFunc(s.Servers, func(o Server) bool {
		return o.Legacy || o.Undated && len(s.Servers) > 1 || o.Skew != first.Skew || o.Drift != first.Drift || o.Lag != first.Lag
	}) {
		return
	}
	switch rnd.IntN(4) {
	case 0:
		s.Keep.Entries = int64(150 + rnd.IntN(200))
	case 1:
		s.Keep.Age = between(rnd, 3*time.Minute, 6*time.Minute)
	case 2:
		s.Keep.Bytes = int64(100+rnd.IntN(100)) << 10
	}
}

// wayNames are the names of the ways to read over HTTP.
func wayNames() []string {
	names := []string{"consumer"}
	for name := range ways {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
