package archive_test

import (
	"testing"

	"tempestd/internal/archive"
	"tempestd/internal/jetsim"
)

// Every event comes from the archive with the bytes that the same server's socket sends.
func TestTheArchiveHasTheBytesOfTheSocket(t *testing.T) {
	const n = 4_400
	for name, newer := range map[string][]jetsim.Newer{"an older server": nil, "a newer server": jetsim.AllNewer()} {
		t.Run(name, func(t *testing.T) {
			s := server(t, jetsim.Options{Backlog: n, Segment: 2200, Block: 512, Newer: newer})
			got, r := sweep(t, archive.Sweep{Client: client(t, s), Witnessed: newer != nil, Raw: true})
			if r.Events != n || r.Through != uint64(s.Stats().NewestSeq) {
				t.Fatalf("%+v of %d events up to %d", r, n, s.Stats().NewestSeq)
			}
			same(t, got.entries, socket(t, s, n))
		})
	}
}
