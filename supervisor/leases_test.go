package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// leaseStore is a store in memory that several daemons share.
type leaseStore struct {
	*store
	mu       sync.Mutex
	streams  map[string]*store     // by name; the embedded store is feedName's
	held     map[string]*heldLease // by stream
	nodes    map[string]announced
	away     bool
	refusal  error           // the answer to every call, nil for none
	acquired int             // calls of Acquire
	slow     time.Duration   // how long the answer to a renewal takes
	cut      map[string]bool // nodes that cannot reach it
}

type heldLease struct {
	messages.Owner
	until time.Time
}

type announced struct {
	messages.Node
	until time.Time
}

func newLeaseStore() *leaseStore {
	s := &leaseStore{store: &store{}, held: map[string]*heldLease{}, nodes: map[string]announced{}, cut: map[string]bool{}}
	s.streams = map[string]*store{feedName: s.store}
	return s
}

// stream is the store of a stream.
func (s *leaseStore) stream(name string) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[name] == nil {
		s.streams[name] = &store{}
	}
	return s.streams[name]
}

func (s *leaseStore) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	return s.stream(feed).SaveCheckpoint(ctx, feed, cp)
}

func (s *leaseStore) LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error) {
	return s.stream(feed).LoadCheckpoint(ctx, feed)
}

// cutOff makes the store unreachable for one node.
func (s *leaseStore) cutOff(node string, off bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[node] = off
}

// setAway makes every call fail as with an unreachable server.
func (s *leaseStore) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *leaseStore) unavailable(node ...string) error {
	if s.away || len(node) > 0 && s.cut[node[0]] {
		return &persistence.UnavailableError{Store: "valkey at test", Reason: "connection", Err: errors.New("refused")}
	}
	return s.refusal
}

// at is the stream's lease. The caller holds s.mu.
func (s *leaseStore) at(stream string) *heldLease {
	l := s.held[stream]
	if l == nil {
		l = &heldLease{Owner: messages.Owner{Stream: stream}}
		s.held[stream] = l
	}
	return l
}

func (l *heldLease) alive() bool { return l.Node != "" && time.Now().Before(l.until) }

func (s *leaseStore) Acquire(_ context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquired++
	if err := s.unavailable(node.ID); err != nil {
		return messages.Lease{}, err
	}
	l := s.at(stream)
	if l.alive() && l.Node != node.ID {
		o := l.Owner
		o.Left = time.Until(l.until)
		return messages.Lease{}, &persistence.HeldError{Owner: o}
	}
	l.Node, l.Name, l.until = node.ID, node.Name, time.Now().Add(ttl)
	l.Epoch++
	return messages.Lease{Stream: stream, Node: node.ID, Epoch: l.Epoch}, nil
}

// fenced is nil for the newest lease.
func (l *heldLease) fenced(lease messages.Lease) error {
	if l.Epoch == lease.Epoch && l.Node == lease.Node {
		return nil
	}
	return &persistence.FencedError{Stream: lease.Stream, Epoch: lease.Epoch, Current: l.Epoch, Owner: l.Name}
}

func (s *leaseStore) Renew(_ context.Context, lease messages.Lease, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(lease.Node); err != nil {
		return err
	}
	l := s.at(lease.Stream)
	if err := l.fenced(lease); err != nil {
		return err
	}
	l.until = time.Now().Add(ttl)
	slow := s.slow
	s.mu.Unlock()
	time.Sleep(slow)
	s.mu.Lock()
	return nil
}

func (s *leaseStore) Release(_ context.Context, lease messages.Lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(lease.Node); err != nil {
		return err
	}
	if l := s.at(lease.Stream); l.fenced(lease) == nil {
		l.Node = ""
	}
	return nil
}

func (s *leaseStore) Announce(_ context.Context, node messages.Node, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unavailable(node.ID); err != nil {
		return err
	}
	s.nodes[node.ID] = announced{node, time.Now().Add(ttl)}
	return nil
}

func (s *leaseStore) Withdraw(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, id)
	return s.unavailable()
}

func (s *leaseStore) Nodes(context.Context) ([]messages.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes []messages.Node
	for _, n := range s.nodes {
		if time.Now().Before(n.until) {
			nodes = append(nodes, n.Node)
		}
	}
	slices.SortFunc(nodes, func(a, b messages.Node) int { return compare(a.ID, b.ID) })
	return nodes, s.unavailable()
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *leaseStore) Owners(_ context.Context, streams []string) ([]messages.Owner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := make([]messages.Owner, len(streams))
	for i, stream := range streams {
		l := s.at(stream)
		owners[i] = messages.Owner{Stream: stream, Epoch: l.Epoch}
		if l.alive() {
			owners[i].Node, owners[i].Name, owners[i].Left = l.Node, l.Name, time.Until(l.until)
		}
	}
	return owners, s.unavailable()
}

// owner is the node that holds the stream's lease.
func (s *leaseStore) owner(stream string) string {
	owners, _ := s.Owners(context.Background(), []string{stream})
	return owners[0].Node
}

func (s *leaseStore) OpenStream(_ context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	return leasedStream{memStream{s: s.stream(name)}, s, opt.Lease}, nil
}

// leasedStream is a stream that was opened under a lease.
type leasedStream struct {
	memStream
	leases *leaseStore
	lease  messages.Lease
}

func (m leasedStream) Append(ctx context.Context, b *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	m.leases.mu.Lock()
	defer m.leases.mu.Unlock()
	if err := m.leases.unavailable(m.lease.Node); err != nil {
		return persistence.Appended{}, err
	}
	if err := m.leases.at(m.lease.Stream).fenced(m.lease); err != nil {
		return persistence.Appended{}, err
	}
	return m.memStream.Append(ctx, b, cp)
}

func (m leasedStream) Checkpoint(ctx context.Context) (messages.Checkpoint, error) {
	m.leases.mu.Lock()
	err := m.leases.unavailable()
	m.leases.mu.Unlock()
	if err != nil {
		return messages.Checkpoint{}, err
	}
	return m.memStream.Checkpoint(ctx)
}

// leaseTTL is how long leases last in these tests.
const leaseTTL = 10 * time.Second

// sharing makes a rig one of the daemons of a store.
func sharing(leases *leaseStore, name string) func(*rig) {
	return func(r *rig) {
		r.leases, r.store = leases, leases.store
		r.node = messages.Node{ID: "id of " + name, Name: name, Streams: []string{feedName}}
		r.cfg.HA.Candidate, r.cfg.HA.LeaseTTL = true, leaseTTL
	}
}

// newShared starts a daemon on a store of its own with leases.
func newShared(t *testing.T, more func(*rig)) *rig {
	return newRig(t, func(r *rig) {
		sharing(newLeaseStore(), "one")(r)
		if more != nil {
			more(r)
		}
	})
}

// beside starts another daemon on the same store and upstream.
func (r *rig) beside(name string) *rig {
	r.t.Helper()
	return newRig(r.t, func(other *rig) {
		sharing(r.leases, name)(other)
		other.cfg.HA.Enabled = r.cfg.HA.Enabled
		other.up = r.up
	})
}

// wantOnce fails unless an event was emitted once.
func (r *rig) wantOnce(e observe.Event) {
	r.t.Helper()
	if n := r.events(e); n != 1 {
		r.t.Errorf("%s was told %d times, want once\n%s", e, n, r.log)
	}
}

// wantState fails unless the feed is in the state.
func (r *rig) wantState(want messages.FeedState) {
	r.t.Helper()
	if s := r.status(); s.State != want {
		r.t.Fatalf("the feed is %s (%s), want %s\n%s", s.State, s.Reason, want, r.log)
	}
}
