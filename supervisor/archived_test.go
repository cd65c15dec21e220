package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// archived is a simulated server with a socket and an archive, which a rig reaches through pipes.
type archived struct {
	t   *testing.T
	r   *rig
	sim *jetsim.Sim
	tr  *http.Transport

	compact sync.Once

	mu    sync.Mutex
	conns chan net.Conn
	done  chan struct{}
	hosts map[string]int           // how often each host was dialled
	calls map[string]int           // of the archive, by name
	on    func(call string, n int) // before the n-th call
}

const (
	simHost = "127.0.0.1:6008"
	simKey  = "secret-of-this-test"
)

func (a *archived) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	a.mu.Lock()
	a.hosts[addr]++
	a.mu.Unlock()
	if addr != simHost {
		return nil, errors.New("connection refused")
	}
	near, far := bufferedPipe()
	select {
	case a.conns <- far:
		return near, nil
	case <-a.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept, Close and Addr implement net.Listener.
func (a *archived) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.done:
		return nil, net.ErrClosed
	}
}
func (a *archived) Close() error { close(a.done); return nil }
func (a *archived) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6008}
}

// RoundTrip implements http.RoundTripper for the calls of the archive.
func (a *archived) RoundTrip(r *http.Request) (*http.Response, error) {
	name := path.Base(r.URL.Path)
	name = name[strings.LastIndex(name, ".")+1:]
	a.mu.Lock()
	a.calls[name]++
	n, on := a.calls[name], a.on
	a.mu.Unlock()
	if on != nil {
		on(name, n)
	}
	return a.tr.RoundTrip(r)
}

// during has do called before each call of the archive, with how often it was made.
func (a *archived) during(do func(call string, n int)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = do
}

// newArchived starts a simulator, and a daemon that reads it. Call it within a synctest bubble, and
// end it there.
func newArchived(t *testing.T, opt jetsim.Options, change func(r *rig)) *archived {
	a := newServer(t, opt)
	a.read(change)
	return a
}

// newServer starts a simulator.
func newServer(t *testing.T, opt jetsim.Options) *archived {
	time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
	opt.Segment, opt.Block, opt.Newer, opt.Syncs = 100, 20, jetsim.AllNewer(), true
	opt.Archive = &jetsim.ArchiveOptions{Key: simKey}
	sim, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	a := &archived{t: t, sim: sim, conns: make(chan net.Conn), done: make(chan struct{}), hosts: map[string]int{}, calls: map[string]int{}}
	a.tr = &http.Transport{DialContext: a.dial}
	if err := sim.Serve(a); err != nil {
		t.Fatal(err)
	}
	return a
}

// read starts the daemon.
func (a *archived) read(change func(r *rig)) {
	a.r = newRig(a.t, func(r *rig) {
		r.cfg.Feeds[0].Endpoints = endpoints("ws://" + simHost + "/xrpc/network.bsky.jetstream.subscribeEvents")
		r.http = &http.Client{Transport: a}
		negotiator := jetstream.NewNegotiator("", clockwork.NewRealClock())
		r.dial = func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
			return jetstream.Dial(ctx, req, jetstream.DialOptions{Negotiator: negotiator, DialContext: a.dial,
				Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
		}
		repairing(r, config.GapsRepair, messages.SourceArchive)
		r.cfg.Feeds[0].Repair.ArchiveKeys = map[string]config.Secret{simHost: config.NewSecret(simKey)}
		if change != nil {
			change(r)
		}
	})
}

// end ends the daemon and the simulator, whose goroutines the bubble waits for.
func (a *archived) end() {
	if err := a.r.stop(); err != nil {
		a.r.t.Error(err)
	}
	if err := a.sim.Close(); err != nil {
		a.r.t.Error(err)
	}
	a.tr.CloseIdleConnections()
}

// produce lets time pass, with n events a second.
func (a *archived) produce(n int64, seconds int) {
	for range seconds {
		a.sim.Produce(n)
		a.r.after(time.Second)
	}
}

// awayFor stops the daemon for longer than the replay window, while events are produced.
func (a *archived) awayFor(n int64, seconds int) {
	a.r.t.Helper()
	if err := a.r.stop(); err != nil {
		a.r.t.Fatal(err)
	}
	a.produce(n, seconds)
	a.r.after(13 * time.Hour)
}

// inject makes a fault happen once, or for a time, as in "archive-quota:6h".
func (a *archived) inject(text string) {
	a.t.Helper()
	f, err := jetsim.ParseFault(text)
	if err == nil {
		err = a.sim.Inject(f)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// stored says whether the newest event is stored.
func (a *archived) stored() bool {
	newest := fmt.Appendf(nil, `"cursor":%d,`, a.sim.Stats().NewestSeq)
	found := false
	a.r.store.set(func() {
		for _, b := range slices.Backward(a.r.store.blocks) {
			if found = slices.ContainsFunc(b.events, func(e []byte) bool { return bytes.Contains(e, newest) }); found {
				return
			}
		}
	})
	return found
}

// verify compares the stream with everything sent, in the order of the server's numbers.
func (a *archived) verify() jetsim.Report {
	a.r.t.Helper()
	report, err := a.sim.Verify(func(yield func([]byte, error) bool) {
		for _, e := range a.r.store.all() {
			if !yield(e, nil) {
				return
			}
		}
	}, jetsim.VerifyOptions{FromFirstStored: true})
	if err != nil {
		a.r.t.Fatal(err)
	}
	return report
}

// said are the log events with a prefix, in their order, with how often each came in a row.
func (r *rig) said(prefix string) (all []string) {
	last, n := "", 0
	add := func() {
		if n > 1 {
			last += fmt.Sprintf(" ×%d", n)
		}
		if n > 0 {
			all = append(all, last)
		}
	}
	for line := range strings.Lines(r.log.String()) {
		var e struct{ Event string }
		if json.Unmarshal([]byte(line), &e) != nil || !strings.HasPrefix(e.Event, prefix) {
			continue
		}
		if e.Event == last {
			n++
			continue
		}
		add()
		last, n = e.Event, 1
	}
	add()
	return all
}
