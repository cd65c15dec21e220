package valkeysim_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/valkeysim"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

// The model of a server, on which the oracle searches for schedules of faults, keeps the contract
// that the real one keeps.
func TestTheModelOfAServerKeepsTheContract(t *testing.T) {
	if racing {
		t.Skip("make week runs it without the race detector")
	}
	server := valkeysim.New()
	defer server.Close()
	streamtest.Run(t, streamtest.Backend{Open: func(ctx context.Context, dir string) (persistence.Store, error) { return open(ctx, server, dir) }})
}

// open opens a store that takes the lease of every stream that it opens.
func open(ctx context.Context, server *valkeysim.Server, prefix string) (owned, error) {
	v, err := valkey.Open(ctx, valkey.Options{Addresses: []string{"127.0.0.1:1"}, Mode: valkey.ModeStandalone, Prefix: prefix + ":", Dial: server.Dial})
	return owned{v}, err
}

type owned struct{ *valkey.Store }

func (o owned) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	if opt.Lease.IsZero() {
		lease, err := o.Acquire(ctx, name, messages.Node{ID: "n", Name: "n"}, time.Minute)
		if err != nil {
			return nil, err
		}
		opt.Lease = lease
	}
	return o.Store.OpenStream(ctx, name, opt)
}

// The client library runs under virtual time.
func TestTheClientRunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := valkeysim.New()
		defer server.Close()
		v, err := open(t.Context(), server, "t")
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if page, err := s.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 10); err != nil || len(page.Entries) > 0 {
			t.Errorf("%v, %v", page, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}
