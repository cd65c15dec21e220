package atsim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts/guard"
)

// Options are of a Sim.
type Options struct {
	Hosts int    // servers of accounts; 0 for one
	Seed  uint64 // of the accounts' keys
	Clock clockwork.Clock
	// Happened is told of each fault as it happens. It may be nil.
	Happened func(fault Fault, did, method string)
}

// Sim is a simulated part of the network. It is safe for concurrent use.
type Sim struct {
	opt       Options
	directory *server
	relay     *server
	web       *server
	inside    *server // what a redirect must not reach
	hosts     []*server
	serving   sync.WaitGroup

	mu       sync.Mutex
	accounts map[string]*account
	handles  map[string]string    // to DIDs
	feed     []shown              // what timelines show, the newest last
	indexed  map[string]time.Time // by URI, of the same
	sessions map[string]grant     // by token
	tokens   int
	faults   []Fault
	requests map[string]int
	viewer   string // a DID, "" for none
}

// server is one HTTP server.
type server struct {
	http   http.Server
	origin string
	addr   netip.AddrPort
}

// New starts the servers, on free ports of 127.0.0.1.
func New(opt Options) (*Sim, error) {
	opt.Hosts = cmp.Or(opt.Hosts, 1)
	if opt.Happened == nil {
		opt.Happened = func(Fault, string, string) {}
	}
	s := &Sim{opt: opt, accounts: map[string]*account{}, handles: map[string]string{}, indexed: map[string]time.Time{}, sessions: map[string]grant{}, requests: map[string]int{}}
	start := func(handler http.HandlerFunc) *server {
		srv, err := s.start(handler)
		if err != nil {
			panic(err)
		}
		return srv
	}
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("start a simulated server: %v", r)
			}
		}()
		s.directory, s.relay, s.web = start(s.serveDirectory), start(s.serveRelay), start(s.serveWeb)
		s.inside = start(func(http.ResponseWriter, *http.Request) { s.count("inside") })
		for n := range opt.Hosts {
			s.hosts = append(s.hosts, start(func(w http.ResponseWriter, r *http.Request) { s.serveHost(w, r, n) }))
		}
		return nil
	}()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sim) start(handler http.HandlerFunc) (*server, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &server{origin: "http://" + l.Addr().String(), addr: netip.MustParseAddrPort(l.Addr().String())}
	srv.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", s.opt.Clock.Now().UTC().Format(http.TimeFormat))
		handler(w, r)
	})
	s.serving.Go(func() { _ = srv.http.Serve(l) })
	return srv, nil
}

// Close ends the servers, and every request there is.
func (s *Sim) Close() error {
	var err error
	for _, srv := range append([]*server{s.directory, s.relay, s.web, s.inside}, s.hosts...) {
		if srv != nil {
			err = errors.Join(err, srv.http.Close())
		}
	}
	s.serving.Wait()
	return err
}

// PLC is the origin of the directory of did:plc.
func (s *Sim) PLC() string { return s.directory.origin }

// Relay is the origin of the relay.
func (s *Sim) Relay() string { return s.relay.origin }

// Host is the origin of an account's server.
func (s *Sim) Host(n int) string { return s.hosts[n].origin }

// Addresses names each part and its origin: the directory "plc", the relay, the web, and the
// accounts' servers "host0", "host1" …. "viewer" is the DID of the viewer, if there is one.
func (s *Sim) Addresses() map[string]string {
	all := map[string]string{"plc": s.PLC(), "relay": s.Relay(), "web": s.web.origin}
	for n := range s.hosts {
		all[fmt.Sprintf("host%d", n)] = s.Host(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.viewer != "" {
		all["viewer"] = s.viewer
	}
	return all
}

// Policy lets a client call the Sim, and nothing else on this machine.
func (s *Sim) Policy() guard.Policy {
	known := map[netip.AddrPort]bool{s.directory.addr: true, s.relay.addr: true, s.web.addr: true}
	for _, srv := range s.hosts {
		known[srv.addr] = true
	}
	return guard.Policy{Local: func(a netip.AddrPort) bool { return known[a] }}
}

// Requests is how often each method was called: the last part of its name, such as "listRecords",
// or "did.json", "plc" and the like; "inside" for what a redirect reached and must not.
func (s *Sim) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

func (s *Sim) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[what]++
}

// TXT answers for DNS.
func (s *Sim) TXT(ctx context.Context, name string) ([]string, error) { return s.lookupTXT(ctx, name) }
