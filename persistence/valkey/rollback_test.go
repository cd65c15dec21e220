package valkey_test

import (
	"errors"
	"testing"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// A writer reads the checkpoint, and the stream ends elsewhere when it first appends: the server came
// back with older data, or a replica with another history took its place. The epoch can be the same
// in both. The writer's position and index are of the other history, so nothing is appended.
func TestI2_AWriterAppendsOnlyToTheHistoryThatItKnows(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, v *valkey.Store, lease messages.Lease) persistence.Stream {
		t.Helper()
		s, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	put := func(t *testing.T, s persistence.Stream, b *messages.Batch) {
		t.Helper()
		if _, err := appendThrough(t.Context(), s, b); err != nil {
			t.Fatal(err)
		}
	}
	for name, move := range map[string]func(*testing.T, *valkeytest.Server, *valkey.Store, messages.Lease, *sender){
		"older": func(t *testing.T, server *valkeytest.Server, _ *valkey.Store, _ messages.Lease, _ *sender) {
			server.Kill() // it loses everything since it was saved
			server.Restart()
		},
		"longer": func(t *testing.T, _ *valkeytest.Server, v *valkey.Store, lease messages.Lease, send *sender) {
			put(t, open(t, v, lease), send.batch(3))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{})
			v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
			first, lease := openOwned(t, v, "a")
			send := newSender()
			put(t, first, send.batch(5))
			server.CLI("SAVE")
			put(t, first, send.batch(2))

			second := open(t, v, lease)
			cp, err := second.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			move(t, server, v, lease, send)
			before := server.CLI("XLEN", "tempestd:{feed}")
			_, err = appendThrough(t.Context(), second, send.batch(1))
			if moved, ok := errors.AsType[*persistence.ConflictError](err); !ok || moved.Expected != cp.LastID {
				t.Errorf("the first append of a writer that knows another history: %v", err)
			}
			if after := server.CLI("XLEN", "tempestd:{feed}"); after != before {
				t.Errorf("%s entries became %s", before, after)
			}
		})
	}
}
