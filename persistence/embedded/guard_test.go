package embedded_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// A panic in the background work is reported like any other failure of it, and the next round runs.
func TestAPanicInMaintenanceEndsNothing(t *testing.T) {
	clock := clockwork.NewFakeClock()
	failures := make(chan error, 8)
	var armed atomic.Bool
	rounds := make(chan struct{}, 64)
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{
		Clock: clock, Maintenance: time.Minute,
		FreeSpace: func(string) (uint64, error) {
			rounds <- struct{}{}
			if armed.CompareAndSwap(true, false) {
				panic("injected")
			}
			return 1 << 40, nil
		},
		OnNotice: func(e persistence.Notice) {
			if failed, ok := e.(persistence.MaintenanceFailed); ok {
				failures <- failed.Err
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	armed.Store(true)
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	if err := <-failures; !strings.Contains(err.Error(), "injected") || !strings.Contains(err.Error(), "guard_test.go") {
		t.Errorf("told %v, want the panic and where it was", err)
	}
	for len(rounds) > 0 {
		<-rounds
	}
	clock.Advance(time.Minute)
	<-rounds // the next round
	stream, err := store.OpenStream(context.Background(), "s", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Append(context.Background(), &messages.Batch{}, messages.Checkpoint{}); err != nil {
		t.Error(err)
	}
}
