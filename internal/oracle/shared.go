package oracle

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// server is a store that several daemons share, and that outlives them: streams with leases. It
// keeps the contract of the Valkey store above its server, and none of its code.
type server struct {
	persistence.Store

	mu    sync.Mutex
	held  messages.Owner // of the only stream
	until time.Time
	nodes map[string]announced
	// doubt is the newest append whose answer was lost. Sent again it changes nothing.
	doubt struct {
		lease  messages.Lease
		buf    []byte
		stored persistence.Appended
	}
}

type announced struct {
	messages.Node
	until time.Time
}

// owner is the present owner. The caller holds s.mu.
func (s *server) owner() messages.Owner {
	o := s.held
	o.Stream, o.Left = feedName, time.Until(s.until)
	if o.Node == "" || o.Left <= 0 {
		o.Node, o.Name, o.Left = "", "", 0
	}
	return o
}

// fenced is nil for the newest lease. The caller holds s.mu.
func (s *server) fenced(l messages.Lease) error {
	if s.held.Epoch == l.Epoch && s.held.Node == l.Node {
		return nil
	}
	return &persistence.FencedError{Stream: l.Stream, Epoch: l.Epoch, Current: s.held.Epoch, Owner: s.held.Name}
}

// access is the server as one process reaches it.
type access struct {
	*server
	replies *replies
	run     *incarnation
	ledger  *ledger // nil if the stream keeps everything
	pace    *pace
}

var (
	_ persistence.Store      = (*access)(nil)
	_ persistence.LeaseStore = (*access)(nil)
)

// ask does one call. The call may wait before it, as on a frozen machine, and its answer may not
// arrive.
func ask[T any](ctx context.Context, a *access, do func() (T, error)) (answer T, err error) {
	if err := a.reach(ctx); err != nil {
		return answer, err
	}
	a.mu.Lock()
	answer, err = do()
	a.mu.Unlock()
	if after := a.reach(ctx); after != nil {
		return *new(T), after
	}
	return answer, err
}

// reach waits until the process can reach the server.
func (a *access) reach(ctx context.Context) error {
	n := a.run.node
	for {
		n.mu.Lock()
		frozen, cut := n.frozen, n.cut
		n.mu.Unlock()
		switch {
		case a.run.dead.Load():
			return errDead
		case frozen != nil:
			select {
			case <-frozen:
				continue
			case <-a.run.over:
				return errDead
			}
		case cut:
			return &persistence.UnavailableError{Store: "the server", Reason: "connection", Err: errReply}
		}
		return ctx.Err()
	}
}

// Acquire implements persistence.LeaseStore.
func (a *access) Acquire(ctx context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error) {
	return ask(ctx, a, func() (messages.Lease, error) {
		if o := a.owner(); o.Node != "" && o.Node != node.ID {
			return messages.Lease{}, &persistence.HeldError{Owner: o}
		}
		a.held = messages.Owner{Node: node.ID, Name: node.Name, Epoch: a.held.Epoch + 1}
		a.until = time.Now().Add(ttl)
		return messages.Lease{Stream: stream, Node: node.ID, Epoch: a.held.Epoch}, nil
	})
}

// Renew implements persistence.LeaseStore. A lease that is over can be renewed if nobody took it.
func (a *access) Renew(ctx context.Context, l messages.Lease, ttl time.Duration) error {
	_, err := ask(ctx, a, func() (struct{}, error) {
		err := a.fenced(l)
		if err == nil {
			a.until = time.Now().Add(ttl)
		}
		return struct{}{}, err
	})
	return err
}

// Release implements persistence.LeaseStore.
func (a *access) Release(ctx context.Context, l messages.Lease) error {
	_, err := ask(ctx, a, func() (struct{}, error) {
		if a.fenced(l) == nil {
			a.held.Node, a.until = "", time.Time{}
		}
		return struct{}{}, nil
	})
	return err
}

// Announce implements persistence.LeaseStore.
func (a *access) Announce(ctx context.Context, node messages.Node, ttl time.Duration) error {
	_, err := ask(ctx, a, func() (struct{}, error) {
		a.nodes[node.ID] = announced{node, time.Now().Add(ttl)}
		return struct{}{}, nil
	})
	return err
}

// Withdraw implements persistence.LeaseStore.
func (a *access) Withdraw(ctx context.Context, id string) error {
	_, err := ask(ctx, a, func() (struct{}, error) {
		delete(a.nodes, id)
		return struct{}{}, nil
	})
	return err
}

// Nodes implements persistence.LeaseStore.
func (a *access) Nodes(ctx context.Context) ([]messages.Node, error) {
	return ask(ctx, a, func() (all []messages.Node, err error) {
		for _, n := range a.nodes {
			if time.Now().Before(n.until) {
				all = append(all, n.Node)
			}
		}
		slices.SortFunc(all, func(a, b messages.Node) int { return strings.Compare(a.ID, b.ID) })
		return all, nil
	})
}

// Owners implements persistence.LeaseStore.
func (a *access) Owners(ctx context.Context, streams []string) ([]messages.Owner, error) {
	return ask(ctx, a, func() (all []messages.Owner, err error) {
		for range streams {
			all = append(all, a.owner())
		}
		return all, nil
	})
}

// Health implements persistence.Store.
func (a *access) Health() error { return a.reach(context.Background()) }

// Close implements persistence.Store. The server stays.
func (a *access) Close() error { return nil }

// OpenStream implements persistence.Store.
func (a *access) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	if err := a.reach(ctx); err != nil {
		return nil, err
	}
	s, err := a.Store.OpenStream(ctx, name, persistence.StreamOptions{Retention: opt.Retention})
	if err != nil {
		return nil, err
	}
	return &leasedStream{s, a, opt.Lease}, nil
}

// leasedStream is the stream as the holder of a lease has it.
type leasedStream struct {
	persistence.Stream
	at    *access
	lease messages.Lease
}

// Append implements persistence.Stream.
func (s *leasedStream) Append(ctx context.Context, b *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	lost, err := s.at.replies.before(ctx)
	if err != nil {
		return persistence.Appended{}, err
	}
	stored, err := ask(ctx, s.at, func() (persistence.Appended, error) {
		if err := s.at.fenced(s.lease); err != nil {
			return persistence.Appended{}, err
		}
		doubt := &s.at.doubt
		if doubt.lease == s.lease && doubt.buf != nil && bytes.Equal(doubt.buf, b.Buf) {
			return doubt.stored, nil
		}
		stored, err := s.at.pace.append(func() (persistence.Appended, error) { return s.Stream.Append(ctx, b, cp) })
		if s.at.ledger != nil {
			s.at.ledger.follow(s.at.Store)
		}
		if doubt.buf = nil; err == nil && len(b.Events) > 0 {
			doubt.lease, doubt.buf, doubt.stored = s.lease, bytes.Clone(b.Buf), stored
			doubt.stored.Blocks = slices.Clone(stored.Blocks)
		}
		return stored, err
	})
	s.at.replies.after()
	if lost && err == nil {
		return persistence.Appended{}, &persistence.UnavailableError{Store: "the server", Reason: "connection", Err: errReply}
	}
	if err == nil {
		s.at.mu.Lock()
		s.at.doubt.buf = nil // the answer has arrived
		s.at.mu.Unlock()
	}
	return stored, err
}

// Checkpoint implements persistence.Stream.
func (s *leasedStream) Checkpoint(ctx context.Context) (messages.Checkpoint, error) {
	if err := s.at.reach(ctx); err != nil {
		return messages.Checkpoint{}, err
	}
	return s.Stream.Checkpoint(ctx)
}

// SaveGaps implements persistence.Stream.
func (s *leasedStream) SaveGaps(ctx context.Context, rows []messages.GapRow) error {
	_, err := ask(ctx, s.at, func() (struct{}, error) {
		if err := s.at.fenced(s.lease); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, s.Stream.SaveGaps(ctx, rows)
	})
	return err
}

// checkpoints are the checkpoints that a daemon keeps beside a shared store.
type checkpoints struct {
	mu    sync.Mutex
	saved *messages.Checkpoint
}

// SaveCheckpoint implements persistence.CheckpointStore.
func (c *checkpoints) SaveCheckpoint(_ context.Context, _ string, cp messages.Checkpoint) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saved = &cp
	return nil
}

// LoadCheckpoint implements persistence.CheckpointStore.
func (c *checkpoints) LoadCheckpoint(context.Context, string) (messages.Checkpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saved == nil {
		return messages.Checkpoint{}, persistence.ErrNoCheckpoint
	}
	return *c.saved, nil
}
