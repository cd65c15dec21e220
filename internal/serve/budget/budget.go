package budget

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// Least is the smallest room, in bytes, that is granted for a page. One entry is always read, so a
// page may need more.
const Least = 64 << 10

const (
	// favor is how much a client may use for each byte that is free: one client alone gets three
	// quarters of the budget, two get three sevenths each.
	favor = 3
	// portion is the part of what a client may still take that one page is granted: further pages of
	// the same client have room beside it.
	portion = 100
)

// Budget is the memory that the clients of a server may use together. It is safe for concurrent
// use.
type Budget struct {
	observe func(used int64) // called after each change

	mu      sync.Mutex
	total   int64
	used    int64
	clients map[netip.Addr]*client
	freed   chan struct{} // closed when something was given back; nil while nobody waits
}

// client is what the requests of one address use.
type client struct {
	used   int64
	shares int // that are open
	same   map[[32]byte]*common
}

// common is what several shares of a client keep together.
type common struct {
	value any
	size  int64
	users int
}

// New returns a budget of total bytes. observe is called with the bytes in use after each change; it
// must not block, and may be nil.
func New(total int64, observe func(used int64)) *Budget {
	if observe == nil {
		observe = func(int64) {}
	}
	return &Budget{observe: observe, total: total, clients: make(map[netip.Addr]*client)}
}

// Resize changes the total. What is in use stays in use.
func (b *Budget) Resize(total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total = total
	b.wake()
}

// Open returns a share for a request of a client. The caller must close it.
func (b *Budget) Open(addr netip.Addr) *Share {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[addr]
	if c == nil {
		c = new(client)
		b.clients[addr] = c
	}
	c.shares++
	return &Share{budget: b, addr: addr, client: c}
}

// room returns how many bytes the client may still take: afterwards it has favor times what is then
// free.
func (b *Budget) room(c *client) int64 { return (favor*(b.total-b.used) - c.used) / (favor + 1) }

// change adds n bytes to what a client uses.
func (b *Budget) change(c *client, n int64) {
	b.used += n
	c.used += n
	if n < 0 {
		b.wake()
	}
	b.observe(b.used)
}

func (b *Budget) wake() {
	if b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// Share is what one request uses. It has one page at a time. It is safe for concurrent use.
type Share struct {
	budget *Budget
	addr   netip.Addr
	client *client
	page   int64 // taken for the page that is being read or written
	kept   int64 // taken for as long as the share is open
	same   [][32]byte
}

// Take takes room for a page of up to want bytes, at least Least, and returns how much it got: less
// than want where the client nears its bound. It gives back what the last page held. When there is
// no room, it takes nothing and returns 0.
func (s *Share) Take(want int64) (got int64) {
	got, _ = s.take(want)
	return got
}

func (s *Share) take(want int64) (got int64, freed <-chan struct{}) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.use(0)
	room := b.room(s.client)
	if room < Least {
		if b.freed == nil {
			b.freed = make(chan struct{})
		}
		return 0, b.freed
	}
	got = max(min(want, room/portion), Least)
	s.use(got)
	return got, nil
}

// Await is Take that waits for room until ctx ends. Then it returns 0.
func (s *Share) Await(ctx context.Context, want int64) (got int64) {
	for {
		got, freed := s.take(want)
		if got > 0 {
			return got
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return 0
		}
	}
}

// Use says how many bytes the page really holds: usually less than was taken, and more if one entry
// needs it. 0 gives everything back.
func (s *Share) Use(page int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.use(page)
}

func (s *Share) use(page int64) {
	if page != s.page {
		s.budget.change(s.client, page-s.page)
		s.page = page
	}
}

// Keep takes n more bytes for as long as the share is open. When there is no room for them, it takes
// nothing and returns false. A negative n gives back what was kept.
func (s *Share) Keep(n int64) bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && n > b.room(s.client) {
		return false
	}
	b.change(s.client, n)
	s.kept += n
	return true
}

// KeepShared takes size bytes for a value that does not change, and that other shares of the client
// may keep as well, under the same key. It returns the value that was kept first: the client takes
// its size once. When there is no room for it, KeepShared returns false.
func (s *Share) KeepShared(key [32]byte, size int64, value any) (kept any, ok bool) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	c := s.client.same[key]
	if c == nil {
		if size > b.room(s.client) {
			return nil, false
		}
		b.change(s.client, size)
		if s.client.same == nil {
			s.client.same = make(map[[32]byte]*common)
		}
		c = &common{value: value, size: size}
		s.client.same[key] = c
	}
	c.users++
	s.same = append(s.same, key)
	return c.value, true
}

// Leave gives back what KeepShared kept under the key, once.
func (s *Share) Leave(key [32]byte) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(s.same, key); i >= 0 {
		s.same = slices.Delete(s.same, i, i+1)
		s.leave(key)
	}
}

func (s *Share) leave(key [32]byte) {
	c := s.client.same[key]
	if c.users--; c.users == 0 {
		s.budget.change(s.client, -c.size)
		delete(s.client.same, key)
	}
}

// Close gives everything back.
func (s *Share) Close() {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if held := s.page + s.kept; held > 0 {
		b.change(s.client, -held)
	}
	for _, key := range s.same {
		s.leave(key)
	}
	s.page, s.kept, s.same = 0, 0, nil
	if s.client.shares--; s.client.shares == 0 {
		delete(b.clients, s.addr)
	}
}
