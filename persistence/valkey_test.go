package persistence_test

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
)

// owned is a Valkey store of one daemon that takes the lease of every stream that it opens.
type owned struct {
	*persistence.Valkey
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
	return o.Valkey.OpenStream(ctx, name, opt)
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

func contract(t *testing.T, opt persistence.ValkeyOptions) {
	prefix := prefixes()
	streamtest.Run(t, streamtest.Backend{Open: func(ctx context.Context, dir string) (persistence.Store, error) {
		o := opt
		o.Prefix = prefix(dir)
		// The time-out is long, because five servers send pages of megabytes at the same time, on a
		// machine of any speed.
		o.CommandTimeout = 30 * time.Second
		v, err := persistence.OpenValkey(ctx, o)
		return owned{v, "n"}, err
	}})
}

func TestValkeyContract(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) persistence.ValkeyOptions{
		"valkey": func(t *testing.T) persistence.ValkeyOptions {
			return persistence.ValkeyOptions{Addresses: []string{valkeytest.Start(t, valkeytest.Options{}).Addr}}
		},
		"redis": func(t *testing.T) persistence.ValkeyOptions {
			return persistence.ValkeyOptions{Addresses: []string{valkeytest.Start(t, valkeytest.Options{Engine: valkeytest.Redis}).Addr}, Mode: "standalone"}
		},
		"cluster": func(t *testing.T) persistence.ValkeyOptions {
			return persistence.ValkeyOptions{Addresses: valkeytest.Addresses(valkeytest.Cluster(t, valkeytest.Valkey, 3))}
		},
		"sentinel": func(t *testing.T) persistence.ValkeyOptions {
			pair := valkeytest.Sentinel(t, valkeytest.Valkey)
			// A machine that is busy for a second is no reason for a failover.
			for _, s := range pair.Sentinels {
				s.CLI("SENTINEL", "SET", valkeytest.SentinelMaster, "down-after-milliseconds", "60000")
			}
			return persistence.ValkeyOptions{Addresses: pair.Addresses(), SentinelMaster: valkeytest.SentinelMaster}
		},
		"tls": func(t *testing.T) persistence.ValkeyOptions {
			c := valkeytest.NewCertificates(t)
			s := valkeytest.Start(t, valkeytest.Options{TLS: c, Args: []string{"--requirepass", "secret"}})
			return persistence.ValkeyOptions{Addresses: []string{s.Addr}, TLS: c.Client(t), Password: "secret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contract(t, start(t))
		})
	}
}
