package conns

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tempestd/internal/observe"
	"tempestd/internal/serve/peer"
)

// Gate counts the connections of a server. It is safe for concurrent use.
type Gate struct {
	peers       *peer.Peers
	observer    *observe.Observer
	headTimeout time.Duration // for a head, or the rest of it after a wait
	longHeads   chan struct{} // has an element for each long head that is read

	mu               sync.Mutex
	total, perClient int
	open             int
	clients          map[netip.Addr]*client
	idle             *list.List // of *Conn, the one that has been idle for the longest time in front
}

// client is the connections of one address.
type client struct {
	open      int
	idle      *list.List    // the same, of this client
	longHeads chan struct{} // the same
}

// New returns a gate for total connections, and perClient of one address. A client has headTimeout to
// send the head of a request.
func New(total, perClient int, headTimeout time.Duration, peers *peer.Peers, observer *observe.Observer) *Gate {
	return &Gate{peers: peers, observer: observer, headTimeout: headTimeout, longHeads: make(chan struct{}, longHeads), total: total, perClient: perClient, clients: make(map[netip.Addr]*client), idle: list.New()}
}

// Configure changes the bounds. Open connections stay.
func (g *Gate) Configure(total, perClient int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total, g.perClient = total, perClient
}

// The causes for which a connection is refused, in the event and the metric.
const (
	causeTotal  = "connections"
	causeClient = "client_connections"
)

// admit counts a connection. If there is no place for it, it returns the cause, and a connection to
// be closed that has to make room, if there is one: then it has counted the new one in its place.
func (g *Gate) admit(inner net.Conn) (c, leaves *Conn, cause string) {
	addr, proxy := g.peers.OfConn(inner.RemoteAddr())
	g.mu.Lock()
	defer g.mu.Unlock()
	of := g.clients[addr]
	if of == nil {
		n := longHeadsClient
		if proxy {
			n = longHeads
		}
		of = &client{idle: list.New(), longHeads: make(chan struct{}, n)}
	}
	var among *list.List
	switch {
	case !proxy && of.open >= g.perClient:
		cause, among = causeClient, of.idle
	case g.open >= g.total:
		cause, among = causeTotal, g.idle
	}
	if cause != "" {
		if among.Len() == 0 {
			return nil, nil, cause
		}
		leaves = among.Front().Value.(*Conn)
		g.forget(leaves)
	}
	c = &Conn{Conn: inner, gate: g, addr: addr, client: of, gone: make(chan struct{})}
	g.clients[addr] = of
	of.open++
	g.open++
	return c, leaves, ""
}

// forget counts a connection no longer.
func (g *Gate) forget(c *Conn) {
	if c.forgotten {
		return
	}
	c.forgotten = true
	close(c.gone)
	g.busy(c)
	g.open--
	if c.client.open--; c.client.open == 0 {
		delete(g.clients, c.addr)
	}
}

// busy takes a connection from the idle ones.
func (g *Gate) busy(c *Conn) {
	if c.amongAll != nil {
		g.idle.Remove(c.amongAll)
		c.client.idle.Remove(c.amongClient)
		c.amongAll, c.amongClient = nil, nil
	}
}

// State follows the states of the server's connections: net/http calls it.
func (g *Gate) State(conn net.Conn, state http.ConnState) {
	c := inside(conn)
	if c == nil {
		return
	}
	c.idle.Store(state == http.StateIdle)
	c.follow(state)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy(c)
	if state == http.StateIdle && !c.forgotten {
		c.amongAll, c.amongClient = g.idle.PushBack(c), c.client.idle.PushBack(c)
	}
}

// Listener returns a listener of the connections that are let in.
func (g *Gate) Listener(inner net.Listener, tls bool) net.Listener {
	return &listener{Listener: inner, gate: g, tls: tls}
}

type listener struct {
	net.Listener
	gate *Gate
	tls  bool // the answer to a connection that is refused could not be read
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, leaves, cause := l.gate.admit(inner)
		if leaves != nil {
			_ = leaves.Conn.Close()
		}
		if cause == "" {
			c.on = l.Addr()
			return c, nil
		}
		l.gate.refuse(inner, cause, l.tls)
	}
}
