package valkey

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// Acquire implements persistence.LeaseStore.
func (v *Store) Acquire(ctx context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error) {
	if err := persistence.CheckName(stream); err != nil {
		return messages.Lease{}, err
	}
	k := newStreamKeys(v.opt.Prefix, stream)
	m, err := v.run(ctx, scriptAcquire, []string{k.meta, k.lease}, node.ID, node.Name, millis(ttl), layoutVersion)
	v.note("lease of stream "+stream, err)
	if err != nil {
		return messages.Lease{}, err
	}
	r := read("the answer to a claim", m)
	granted := r.number() == 1
	owner := messages.Owner{Stream: stream, Epoch: r.count(), Node: r.text(), Name: r.text(), Left: r.millis()}
	if err := r.end(); err != nil {
		return messages.Lease{}, v.refuse("the lease of stream %s: %v", stream, err)
	}
	if !granted {
		return messages.Lease{}, &persistence.HeldError{Owner: owner}
	}
	return messages.Lease{Stream: stream, Node: node.ID, Epoch: owner.Epoch}, nil
}

// millis returns d in milliseconds, as the scripts take it, at least 1.
func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// Renew implements persistence.LeaseStore.
func (v *Store) Renew(ctx context.Context, lease messages.Lease, ttl time.Duration) error {
	k := newStreamKeys(v.opt.Prefix, lease.Stream)
	m, err := v.run(ctx, scriptRenew, []string{k.meta, k.lease}, lease.Node, strconv.FormatUint(lease.Epoch, 10), millis(ttl))
	v.note("lease of stream "+lease.Stream, err)
	if err != nil {
		return err
	}
	r := read("the answer to a renewal", m)
	renewed, fenced := r.number() == 1, &persistence.FencedError{Stream: lease.Stream, Epoch: lease.Epoch, Current: r.count(), Owner: r.text()}
	if err := r.end(); err != nil {
		return v.refuse("the lease of stream %s: %v", lease.Stream, err)
	}
	if !renewed {
		return fenced
	}
	return nil
}

// Release implements persistence.LeaseStore.
func (v *Store) Release(ctx context.Context, lease messages.Lease) error {
	k := newStreamKeys(v.opt.Prefix, lease.Stream)
	_, err := v.run(ctx, scriptRelease, []string{k.meta, k.lease}, lease.Node, strconv.FormatUint(lease.Epoch, 10))
	return err
}

// Announce implements persistence.LeaseStore.
func (v *Store) Announce(ctx context.Context, node messages.Node, ttl time.Duration) error {
	value, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("encode a node: %w", err)
	}
	_, err = v.run(ctx, scriptAnnounce, nodeKeys(v.opt.Prefix), node.ID, string(value), millis(ttl))
	return err
}

// Withdraw implements persistence.LeaseStore.
func (v *Store) Withdraw(ctx context.Context, nodeID string) error {
	_, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Zrem().Key(nodeKeys(v.opt.Prefix)[1]).Member(nodeID).Build()
	})
	if err == nil {
		_, err = v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
			return b.Hdel().Key(nodeKeys(v.opt.Prefix)[0]).Field(nodeID).Build()
		})
	}
	return err
}

// Nodes implements persistence.LeaseStore.
func (v *Store) Nodes(ctx context.Context) ([]messages.Node, error) {
	m, err := v.run(ctx, scriptNodes, nodeKeys(v.opt.Prefix))
	if err != nil {
		return nil, err
	}
	values, err := m.AsStrSlice()
	if err != nil {
		return nil, v.failure(ctx, err)
	}
	nodes := make([]messages.Node, len(values))
	for i, value := range values {
		if err := json.Unmarshal([]byte(value), &nodes[i]); err != nil {
			return nil, v.refuse("the list of daemons: %v", err)
		}
	}
	slices.SortFunc(nodes, func(a, b messages.Node) int { return strings.Compare(a.ID, b.ID) })
	return nodes, nil
}

// Owners implements persistence.LeaseStore.
func (v *Store) Owners(ctx context.Context, streams []string) ([]messages.Owner, error) {
	if len(streams) == 0 {
		return nil, nil
	}
	answers, err := call(ctx, v, v.commands, func(ctx context.Context, client valkeygo.Client) ([]valkeygo.ValkeyResult, error) {
		commands := make([]valkeygo.Completed, 0, 2*len(streams))
		for _, stream := range streams {
			k := newStreamKeys(v.opt.Prefix, stream)
			commands = append(commands,
				// PTTL comes before the holder: a holder that takes the lease between the two
				// commands is returned with no time left.
				client.B().Pttl().Key(k.lease).Build(),
				client.B().Hmget().Key(k.meta).Field("epoch", "node", "owner").Build())
		}
		return client.DoMulti(ctx, commands...), nil
	})
	if err != nil {
		return nil, err
	}
	owners := make([]messages.Owner, len(streams))
	for i, stream := range streams {
		left, err := answers[2*i].AsInt64()
		if err != nil {
			return nil, v.failure(ctx, err)
		}
		m, err := answers[2*i+1].ToMessage()
		if err != nil {
			return nil, v.failure(ctx, err)
		}
		r := read("the owner", m)
		epoch, node, name := r.count(), r.text(), r.text()
		if err := r.end(); err != nil {
			return nil, v.refuse("the lease of stream %s: %v", stream, err)
		}
		owners[i] = messages.Owner{Stream: stream, Epoch: epoch}
		if left > 0 && node != "" {
			owners[i].Node, owners[i].Name, owners[i].Left = node, name, time.Duration(left)*time.Millisecond
		}
	}
	return owners, nil
}
