package mirror

import (
	"context"
	"net/netip"
	"sync"
)

// seekers lets each client search for one cursor at a time. A search reads the stream; without this
// an address that asks for many would have the store for itself. The zero value is ready to use, and
// it is safe for concurrent use.
type seekers struct {
	mu      sync.Mutex
	clients map[netip.Addr]*turn
}

// turn is held by the search of a client.
type turn struct {
	held  chan struct{}
	users int // that hold it, or wait for it
}

// enter waits for the client's turn until ctx ends. The caller must call leave.
func (s *seekers) enter(ctx context.Context, client netip.Addr) (leave func(), err error) {
	s.mu.Lock()
	t := s.clients[client]
	if t == nil {
		if s.clients == nil {
			s.clients = make(map[netip.Addr]*turn)
		}
		t = &turn{held: make(chan struct{}, 1)}
		s.clients[client] = t
	}
	t.users++
	s.mu.Unlock()
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.clients, client)
		}
	}
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
