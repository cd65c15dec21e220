package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/valkey"
)

// stores holds the stores of a daemon.
type stores struct {
	streams     persistence.Store
	checkpoints persistence.CheckpointStore // nil means streams
	remote      string                      // the address of streams, "" if they are under data_dir
	node        messages.Node               // this daemon, among those that share the streams

	local *embedded.Store // the store under data_dir, nil without one
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

// stuck returns the stream whose appends do not end, and since when.
func (s *stores) stuck() (stream string, since time.Duration) {
	if s.local == nil {
		return "", 0
	}
	return s.local.Stuck()
}

// openStores opens the configured stores. The caller must close the result, after an error too.
//
// If the streams are in Valkey, the store under data_dir holds the checkpoints of the feeds: a
// second copy of each feed's position. It also holds the lock of the directory, so that one daemon
// has one identity.
func (d *daemon) openStores(ctx context.Context) (*stores, error) {
	began := d.clock.Now()
	s := &stores{}
	remote := d.config().Stream.Backend == config.BackendValkey
	if !remote || d.config().HA.Candidate {
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
		d.observer.Emit(observe.StoreOpened, "", "dir", d.embeddedDir(), "backend", string(d.config().Stream.Backend), "streams", len(streams), "took", d.clock.Since(began))
		return s, nil
	}
	s.node = messages.Node{Name: d.nodeName()}
	if s.local != nil {
		s.checkpoints = s.local
		var err error
		if s.node.ID, err = nodeID(d.config().DataDir); err != nil {
			return s, err
		}
		for _, f := range d.config().Feeds {
			s.node.Streams = append(s.node.Streams, f.Name)
		}
	}
	valkey, err := d.openValkey(ctx)
	if err != nil {
		return s, err
	}
	s.streams, s.remote = valkey, strings.Join(d.config().Valkey.Addresses, ",")
	fields := []any{"server", s.remote, "backend", string(d.config().Stream.Backend)}
	// An unreachable server does not prevent the start: watchStore reports it, and the daemon waits
	// for it.
	if streams, err := valkey.Streams(ctx); err == nil {
		fields = append(fields, "streams", len(streams))
	}
	d.observer.Emit(observe.StoreOpened, "", append(fields, "took", d.clock.Since(began))...)
	return s, nil
}

// nodeName returns the name of this daemon.
func (d *daemon) nodeName() string {
	if d.config().HA.Name != "" {
		return d.config().HA.Name
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "tempestd"
	}
	return name
}

// openValkey opens the store in a Valkey server. It succeeds even if the server is unreachable.
func (d *daemon) openValkey(ctx context.Context) (*valkey.Store, error) {
	opt, err := d.config().Valkey.Options()
	if err != nil {
		return nil, err
	}
	opt.Clock, opt.OnNotice = d.clock, d.storeNotice
	return valkey.Open(ctx, opt)
}

// storeEvery is the interval of the health checks of a remote store.
const storeEvery = 2 * time.Second

// watchStore reports when a remote store becomes unreachable and when it is back, until ctx ends.
// Meanwhile it also reports every new error that an operator can act on.
func (d *daemon) watchStore(ctx context.Context, server string, store persistence.Store) {
	var away time.Time
	var told string
	for {
		err := store.Health()
		if ctx.Err() != nil {
			return
		}
		d.storeUp(err == nil)
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

// answered reports whether err is the server's own answer about a fault, not only that it is away.
func answered(err error) bool {
	away, ok := errors.AsType[*persistence.UnavailableError](err)
	return !ok || away.Repairable()
}
