package valkey

import (
	"cmp"
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
	r, err := decodeAcquire(m)
	if err != nil {
		return messages.Lease{}, v.refuse("the lease of stream %s: %v", stream, err)
	}
	if !r.granted {
		return messages.Lease{}, &persistence.HeldError{Owner: messages.Owner{Stream: stream, Epoch: r.epoch, Node: r.node, Name: r.name, Left: r.left}}
	}
	return messages.Lease{Stream: stream, Node: node.ID, Epoch: r.epoch}, nil
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
	r, err := decodeRenew(m)
	if err != nil {
		return v.refuse("the lease of stream %s: %v", lease.Stream, err)
	}
	if !r.renewed {
		return &persistence.FencedError{Stream: lease.Stream, Epoch: lease.Epoch, Current: r.epoch, Owner: r.owner}
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
	values, err := decodeTexts("the list of daemons", m)
	if err != nil {
		return nil, v.refuse("%v", err)
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
	type lease struct{ left, owner valkeygo.ValkeyMessage }
	leases, err := call(ctx, v, v.commands, func(ctx context.Context, client valkeygo.Client) ([]lease, error) {
		commands := make([]valkeygo.Completed, 0, 2*len(streams))
		for _, stream := range streams {
			k := newStreamKeys(v.opt.Prefix, stream)
			commands = append(commands,
				// PTTL comes before the holder: a holder that takes the lease between the two
				// commands is returned with no time left.
				client.B().Pttl().Key(k.lease).Build(),
				client.B().Hmget().Key(k.meta).Field(ownerFields...).Build())
		}
		leases := make([]lease, 0, len(streams))
		for pair := range slices.Chunk(client.DoMulti(ctx, commands...), 2) {
			left, errLeft := answer(pair[0])
			owner, errOwner := answer(pair[1])
			if err := cmp.Or(errLeft, errOwner); err != nil {
				return nil, err
			}
			leases = append(leases, lease{left, owner})
		}
		return leases, nil
	})
	if err != nil {
		return nil, err
	}
	owners := make([]messages.Owner, len(leases))
	for i, l := range leases {
		left, err := decodeNumber("the time left", l.left)
		if err != nil {
			return nil, v.refuse("the lease of stream %s: %v", streams[i], err)
		}
		r, err := decodeOwner(l.owner)
		if err != nil {
			return nil, v.refuse("the lease of stream %s: %v", streams[i], err)
		}
		owners[i] = r.owner(streams[i], time.Duration(left)*time.Millisecond)
	}
	return owners, nil
}
