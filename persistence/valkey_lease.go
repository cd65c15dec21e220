package persistence

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

// Acquire implements LeaseStore.
func (v *Valkey) Acquire(ctx context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error) {
	if err := checkName(stream); err != nil {
		return messages.Lease{}, err
	}
	k := newValkeyKeys(v.opt.Prefix, stream)
	m, err := v.run(ctx, scriptAcquire, []string{k.meta, k.lease}, node.ID, node.Name, millis(ttl), valkeyLayout)
	if err != nil {
		return messages.Lease{}, err
	}
	f := stringsOf(m)
	if f[0] != "1" {
		left := time.Duration(max(number(f[3]), 0)) * time.Millisecond
		return messages.Lease{}, &HeldError{messages.Owner{Stream: stream, Node: f[4], Name: f[2], Epoch: uint64(number(f[1])), Left: left}}
	}
	return messages.Lease{Stream: stream, Node: node.ID, Epoch: uint64(number(f[1]))}, nil
}

// millis is d as the scripts take it, at least one.
func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// Renew implements LeaseStore.
func (v *Valkey) Renew(ctx context.Context, lease messages.Lease, ttl time.Duration) error {
	k := newValkeyKeys(v.opt.Prefix, lease.Stream)
	m, err := v.run(ctx, scriptRenew, []string{k.meta, k.lease}, lease.Node, strconv.FormatUint(lease.Epoch, 10), millis(ttl))
	if err != nil {
		return err
	}
	if f := stringsOf(m); f[0] != "1" {
		return &FencedError{Stream: lease.Stream, Epoch: lease.Epoch, Current: uint64(number(f[1])), Owner: f[2]}
	}
	return nil
}

// Release implements LeaseStore.
func (v *Valkey) Release(ctx context.Context, lease messages.Lease) error {
	k := newValkeyKeys(v.opt.Prefix, lease.Stream)
	_, err := v.run(ctx, scriptRelease, []string{k.meta, k.lease}, lease.Node, strconv.FormatUint(lease.Epoch, 10))
	return err
}

// Announce implements LeaseStore.
func (v *Valkey) Announce(ctx context.Context, node messages.Node, ttl time.Duration) error {
	value, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("encode a node: %w", err)
	}
	_, err = v.run(ctx, scriptAnnounce, nodeKeys(v.opt.Prefix), node.ID, string(value), millis(ttl))
	return err
}

// Withdraw implements LeaseStore.
func (v *Valkey) Withdraw(ctx context.Context, nodeID string) error {
	_, err := v.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Zrem().Key(nodeKeys(v.opt.Prefix)[1]).Member(nodeID).Build()
	})
	if err == nil {
		_, err = v.do(ctx, func(b valkey.Builder) valkey.Completed {
			return b.Hdel().Key(nodeKeys(v.opt.Prefix)[0]).Field(nodeID).Build()
		})
	}
	return err
}

// Nodes implements LeaseStore.
func (v *Valkey) Nodes(ctx context.Context) ([]messages.Node, error) {
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
			return nil, fmt.Errorf("decode a node: %w", err)
		}
	}
	slices.SortFunc(nodes, func(a, b messages.Node) int { return strings.Compare(a.ID, b.ID) })
	return nodes, nil
}

// Owners implements LeaseStore.
func (v *Valkey) Owners(ctx context.Context, streams []string) ([]messages.Owner, error) {
	limited, release, err := v.use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	client, err := v.commands.get()
	if err != nil {
		return nil, v.failure(ctx, err)
	}
	commands := make([]valkey.Completed, 0, 2*len(streams))
	for _, stream := range streams {
		k := newValkeyKeys(v.opt.Prefix, stream)
		commands = append(commands,
			client.B().Pttl().Key(k.lease).Build(), // before the holder: one that comes in between is told with no time left
			client.B().Hmget().Key(k.meta).Field("epoch", "node", "owner").Build())
	}
	answers := client.DoMulti(limited, commands...)
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
		f := stringsOf(m)
		owners[i] = messages.Owner{Stream: stream, Epoch: uint64(number(f[0]))}
		if left > 0 && f[1] != "" {
			owners[i].Node, owners[i].Name, owners[i].Left = f[1], f[2], time.Duration(left)*time.Millisecond
		}
	}
	return owners, nil
}
