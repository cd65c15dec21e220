package valkey

import (
	"hash/maphash"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence/streamtest"
)

// An append may be cut short between two chunks. Its checkpoint is in the last one, so it never
// covers entries that are not stored.
func TestI1_TheLastChunkHasTheCheckpoint(t *testing.T) {
	s := &stream{store: &Store{clock: clockwork.NewFakeClock(), seed: maphash.MakeSeed()}}
	p, err := s.prepare(streamtest.NewEvents(1, 1_795_000_000_000_000).Fill(new(messages.Batch), 2*chunkEntries+1), messages.Checkpoint{})
	if err != nil || len(p.chunks) != 3 {
		t.Fatalf("%d chunks, %v", len(p.chunks), err)
	}
	for i := range p.chunks {
		if has := p.chunks[i].args[argCheckpoint] != ""; has != (i == 2) {
			t.Errorf("chunk %d has the checkpoint: %v", i, has)
		}
	}
}
