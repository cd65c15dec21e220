package jetsim_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atsim"
	"tempestd/internal/jetsim"
)

// The accounts' servers of a network learn everything from its Jetstream, before and after a crash,
// and hold records with the CIDs that it sends.
func TestAccountsServersFollowTheNetwork(t *testing.T) {
	sim, err := jetsim.New(jetsim.Options{Backlog: 500, Archive: &jetsim.ArchiveOptions{}, Segment: 100, Block: 50})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	around, err := atsim.New(atsim.Options{Clock: clockwork.NewRealClock()})
	if err != nil {
		t.Fatal(err)
	}
	defer around.Close()
	sim.Produce(500)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough, seen := errors.New("enough"), int64(0)
	err = sim.Follow(ctx, func(line []byte) error {
		if seen++; seen == sim.Stats().Contents {
			cancel(enough)
		}
		return around.ApplyLine(line)
	})
	if !errors.Is(err, enough) || seen < 1000 {
		t.Errorf("%v after %d events", err, seen)
	}
}
