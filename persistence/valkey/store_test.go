package valkey_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

// owned is a Valkey store of one daemon that takes the lease of every stream that it opens.
type owned struct {
	*valkey.Store
	node string
}

func (o owned) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	if opt.Lease.IsZero() {
		lease, err := o.Acquire(ctx, name, messages.Node{ID: o.node, Name: o.node}, time.Minute)
		if err != nil {
			return nil, err
		}
		opt.Lease = lease
	}
	return o.Store.OpenStream(ctx, name, opt)
}

// prefixes gives every directory of a suite its own prefix.
func prefixes() func(dir string) string {
	var mu sync.Mutex
	known := make(map[string]string)
	return func(dir string) string {
		mu.Lock()
		defer mu.Unlock()
		if known[dir] == "" {
			known[dir] = fmt.Sprintf("t%d:", len(known))
		}
		return known[dir]
	}
}

func contract(t *testing.T, opt valkey.Options) {
	prefix := prefixes()
	streamtest.Run(t, streamtest.Backend{Open: func(ctx context.Context, dir string) (persistence.Store, error) {
		o := opt
		o.Prefix = prefix(dir)
		// The time-out is long, because five servers send pages of megabytes at the same time, on a
		// machine of any speed.
		o.CommandTimeout = 30 * time.Second
		v, err := valkey.Open(ctx, o)
		return owned{v, "n"}, err
	}})
}

func TestValkeyContract(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) valkey.Options{
		"valkey": func(t *testing.T) valkey.Options {
			return valkey.Options{Addresses: []string{valkeytest.Start(t, valkeytest.Options{}).Addr}}
		},
		"cluster, synced": func(t *testing.T) valkey.Options {
			nodes := valkeytest.Cluster(t, valkeytest.Options{AOF: "always", InMemory: true}, 3)
			return valkey.Options{Addresses: valkeytest.Addresses(nodes), Durability: valkey.DurabilityAOF}
		},
		"sentinel, replicated": func(t *testing.T) valkey.Options {
			pair := valkeytest.Sentinel(t, valkeytest.Options{AOF: "always", InMemory: true})
			// A machine that is busy for a second is no reason for a failover.
			for _, s := range pair.Sentinels {
				s.CLI("SENTINEL", "SET", valkeytest.SentinelMaster, "down-after-milliseconds", "60000")
			}
			return valkey.Options{Addresses: pair.Addresses(), SentinelMaster: valkeytest.SentinelMaster, Durability: valkey.DurabilityReplicas}
		},
		"tls": func(t *testing.T) valkey.Options {
			c := valkeytest.NewCertificates(t)
			s := valkeytest.Start(t, valkeytest.Options{TLS: c, Args: []string{"--requirepass", "secret"}})
			return valkey.Options{Addresses: []string{s.Addr}, TLS: c.Client(t), Password: "secret", Mode: "standalone"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contract(t, start(t))
		})
	}
}
