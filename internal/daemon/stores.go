package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// stores is what a daemon keeps things in.
type stores struct {
	streams     persistence.Store
	checkpoints persistence.CheckpointStore // nil: streams
	remote      string                      // where streams is, "" when it is under data_dir
	node        messages.Node               // this daemon, among those that share streams

	local *embedded.Store // what is under data_dir, nil for a daemon that keeps nothing of its own
}

func (s *stores) close() error {
	var errs []error
	if s.remote != "" && s.streams != nil {
		errs = append(errs, s.streams.Close())
	}
	if s.local != nil {
		errs = append(errs, s.local.Close())
	}
	return errors.Join(errs...)
}

// openStores opens what the configuration says. What it returns is to be closed, after an error too.
//
// Where the streams are in Valkey, the store under data_dir has the cursors' checkpoints, a second opinion on where each feed stands, and with it the
// directory's lock: one daemon has one identity.
func (d *daemon) openStores(ctx context.Context) (*stores, error) {
	began := d.clock.Now()
	s := &stores{}
	remote := d.cfg.Stream.Backend == "valkey"
	if !remote || d.cfg.HA.Candidate {
		local, err := d.openEmbedded(ctx)
		if err != nil {
			return s, err
		}
		s.local = local
	}
	if !remote {
		s.streams = s.local
		streams, err := s.local.Streams(ctx)
		if err != nil {
			return s, err
		}
		d.observer.Emit(observe.StoreOpened, "", "dir", d.embeddedDir(), "backend", d.cfg.Stream.Backend, "streams", len(streams), "took", d.clock.Since(began))
		return s, nil
	}
	s.node = messages.Node{Name: d.nodeName()}
	if s.local != nil {
		s.checkpoints = s.local
		var err error
		if s.node.ID, err = nodeID(d.cfg.DataDir); err != nil {
			return s, err
		}
		for _, f := range d.cfg.Feeds {
			s.node.Streams = append(s.node.Streams, f.Name)
		}
	}
	valkey, err := d.openValkey(ctx)
	if err != nil {
		return s, err
	}
	s.streams, s.remote = valkey, strings.Join(d.cfg.Valkey.Addresses, ",")
	fields := []any{"server", s.remote, "backend", d.cfg.Stream.Backend}
	// That the server is away is no reason to stay away oneself: it is told, and waited for.
	if streams, err := valkey.Streams(ctx); err == nil {
		fields = append(fields, "streams", len(streams))
	}
	d.observer.Emit(observe.StoreOpened, "", append(fields, "took", d.clock.Since(began))...)
	return s, nil
}

// nodeName is what this daemon is called.
func (d *daemon) nodeName() string {
	if d.cfg.HA.Name != "" {
		return d.cfg.HA.Name
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "tempestd"
	}
	return name
}

// openValkey opens the store in a Valkey server. It succeeds while the server is away.
func (d *daemon) openValkey(ctx context.Context) (*persistence.Valkey, error) {
	c := &d.cfg.Valkey
	tls, err := c.ClientTLS()
	if err != nil {
		return nil, fmt.Errorf("valkey: %w", err)
	}
	return persistence.OpenValkey(ctx, persistence.ValkeyOptions{
		Addresses: c.Addresses, Mode: c.Mode, SentinelMaster: c.SentinelMaster,
		Username: c.Username, Password: c.Password.Reveal(), SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword.Reveal(),
		DB: c.Database, Prefix: c.Prefix, TLS: tls, ConnectTimeout: c.ConnectTimeout, CommandTimeout: c.CommandTimeout,
		Fields: c.Fields, Describe: jetstream.Describe,
		Clock: d.clock, OnEvent: d.storeEvent,
	})
}

// storeEvery is how often a remote store is asked whether it is there.
const storeEvery = 2 * time.Second

// watchStore tells when a remote store goes away and when it is back, until ctx ends. While it is
// away, every other answer that an operator can act on is told too.
func (d *daemon) watchStore(ctx context.Context, server string, store persistence.Store) {
	var away time.Time
	var told string
	for {
		err := store.Health()
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil && !away.IsZero():
			d.observer.Emit(observe.StoreBack, "", "server", server, "after", d.clock.Since(away))
			away, told = time.Time{}, ""
		case err != nil && (away.IsZero() || answered(err) && err.Error() != told):
			if away.IsZero() {
				away = d.clock.Now()
			}
			told = err.Error()
			d.observer.Emit(observe.StoreAway, "", "server", server, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.clock.After(storeEvery):
		}
	}
}

// answered says whether the server said what is wrong, which another state of its connection does not.
func answered(err error) bool {
	away, ok := errors.AsType[*persistence.UnavailableError](err)
	return !ok || away.Reason == "refused" || away.Reason == "full" || away.Reason == "readonly"
}
