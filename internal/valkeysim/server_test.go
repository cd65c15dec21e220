package valkeysim_test

import (
	"context"
	"sync"
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

// inBubble runs a test with a server and a store on it, under virtual time.
func inBubble(t *testing.T, test func(t *testing.T, server *valkeysim.Server, v owned)) {
	synctest.Test(t, func(t *testing.T) {
		server := valkeysim.New()
		defer server.Close()
		v, err := open(t.Context(), server, "t")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(t, server, v)
	})
}

// The client library runs under virtual time.
func TestTheClientRunsInABubble(t *testing.T) {
	inBubble(t, func(t *testing.T, server *valkeysim.Server, v owned) {
		s, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if page, err := s.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 10); err != nil || len(page.Entries) > 0 {
			t.Errorf("%v, %v", page, err)
		}
	})
}

// An answer that is lost on the way leaves each later one at the wrong command. As long as commands
// follow each other, none of them times out. The client notices that answers do not fit, and connects
// anew.
func TestI9_AnswersOutOfStepAreNoticed(t *testing.T) {
	inBubble(t, func(t *testing.T, server *valkeysim.Server, v owned) {
		node := messages.Node{ID: "n", Name: "n"}
		lease, err := v.Acquire(t.Context(), "feed", node, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		healthy := func(call func() error) func() {
			return func() {
				for time.Since(began) < 30*time.Second {
					if err := call(); err != nil && time.Since(began) > 15*time.Second {
						t.Errorf("after %v: %v", time.Since(began), err)
						return
					}
					time.Sleep(70 * time.Millisecond)
				}
			}
		}
		var calls sync.WaitGroup
		calls.Go(healthy(func() error { return v.Renew(t.Context(), lease, time.Minute) }))
		calls.Go(healthy(func() error { return v.Announce(t.Context(), node, time.Minute) }))
		calls.Go(healthy(func() error { _, err := v.Nodes(t.Context()); return err }))
		time.Sleep(time.Second)
		server.Inject(func(f *valkeysim.Faults) { f.Swallow++ })
		calls.Wait()
	})
}
