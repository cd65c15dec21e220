package valkeytest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes bytes between clients and a server, until a method changes that. It is safe for
// concurrent use.
type Proxy struct {
	Addr string

	ln net.Listener

	mu     sync.Mutex
	target string
	conns  map[net.Conn]struct{}
	done   sync.WaitGroup

	swallow   atomic.Int64 // replies to swallow before the connection is cut
	blackhole atomic.Bool
	Swallowed atomic.Int64 // the number of swallowed replies
}

// NewProxy starts a proxy in front of the server at target.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), target: target, ln: ln, conns: make(map[net.Conn]struct{})}
	p.done.Go(p.accept)
	tb.Cleanup(p.Close)
	return p
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.ln.Close()
	p.Cut()
	p.done.Wait()
}

// Cut ends all current connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// LeadTo leads all connections to another server. It ends the current ones.
func (p *Proxy) LeadTo(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Cut()
}

// SwallowNext loses the next answer of the server: the server has executed the command, but the
// client's connection is cut before the answer.
func (p *Proxy) SwallowNext() { p.swallow.Store(1) }

// BlackHole(true) drops every byte in both directions, but keeps the connections open.
// BlackHole(false) ends that.
func (p *Proxy) BlackHole(on bool) { p.blackhole.Store(on) }

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, false) })
	both.Go(func() { p.copy(client, server, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// copy moves bytes until either end closes. answers is true for the direction from the server.
func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if answers && p.swallow.CompareAndSwap(1, 0) {
				p.Swallowed.Add(1)
				return
			}
			if !p.blackhole.Load() {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
