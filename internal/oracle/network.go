package oracle

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// network connects the daemon with the servers, in memory. Its connections carry bytes in order, take
// a latency for each way and hold a bounded number of bytes, as TCP does. All waiting is on
// channels and timers, so that virtual time passes while a goroutine waits.
//
// A host that is cut off keeps its connections: what is sent to it or by it is lost, and nobody is
// told. The two sides learn of it by their own timeouts, or when a connection is used after the
// host is back and has been reset.
type network struct {
	latency func() time.Duration // of the next connection, one way

	mu        sync.Mutex
	listeners map[string]*listener
	away      map[string]bool // hosts that are cut off
	held      map[any]bool    // who is frozen: what it sends and is sent arrives later
	severed   map[any]bool    // who is cut off
	open      map[*pipe]peers
}

// peers are the two sides of a connection.
type peers struct {
	from any // who dialled
	host string
}

func newNetwork(latency func() time.Duration) *network {
	return &network{latency: latency, listeners: map[string]*listener{}, away: map[string]bool{}, held: map[any]bool{}, severed: map[any]bool{}, open: map[*pipe]peers{}}
}

// listen makes the listener of a host, "127.0.0.1:6001".
func (n *network) listen(host string) net.Listener {
	l := &listener{host: address(host), incoming: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[host] = l
	return l
}

// close closes the listener of a host.
func (n *network) close(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = n.listeners[host].Close()
}

// dial connects from somebody to a host. A host that is cut off does not answer.
func (n *network) dial(ctx context.Context, from any, host string) (net.Conn, error) {
	n.mu.Lock()
	latency := n.latency()
	n.mu.Unlock()
	return n.connect(ctx, from, host, latency, windowBytes)
}

// dialTimeout is how long a system waits for the answer to a dial.
const dialTimeout = 2 * time.Minute

// connect is dial with a given latency, one way, and bytes under way in one direction.
func (n *network) connect(ctx context.Context, from any, host string, latency time.Duration, window int) (net.Conn, error) {
	n.mu.Lock()
	l, away := n.listeners[host], n.away[host] || n.held[from] || n.severed[from]
	n.mu.Unlock()
	if away {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(dialTimeout): // the HTTP client does not end a dial that nobody waits for
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(host), Err: syscall.ETIMEDOUT}
		}
	}
	if l == nil {
		return nil, refused(host)
	}
	p := newPipe(latency, window)
	n.mu.Lock()
	n.open[p] = peers{from, host}
	n.mu.Unlock()
	p.closed = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.open, p)
	}
	select {
	case <-time.After(2 * latency):
	case <-ctx.Done():
		p.ends[0].Close()
		return nil, context.Cause(ctx)
	}
	select {
	case l.incoming <- p.ends[1]:
		return p.ends[0], nil
	case <-l.done:
		p.ends[0].Close()
		return nil, refused(host)
	case <-ctx.Done():
		p.ends[0].Close()
		return nil, context.Cause(ctx)
	}
}

func refused(host string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: address(host), Err: syscall.ECONNREFUSED}
}

// cutOff cuts a host off.
func (n *network) cutOff(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away[host] = true
	for p, to := range n.open {
		if to.host == host {
			p.lose()
		}
	}
}

// bringBack ends a cutOff. Connections from before it stay lost.
func (n *network) bringBack(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.away, host)
}

// hold freezes somebody, or lets it go on.
func (n *network) hold(from any, held bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[from] = held
	for p, of := range n.open {
		if of.from == from {
			for _, e := range p.ends {
				e.in.do(func(d *direction) { d.held = held })
			}
		}
	}
}

// sever cuts somebody off, as cutOff does with a host, or ends that.
func (n *network) sever(from any, severed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.severed[from] = severed
	for p, of := range n.open {
		if severed && of.from == from {
			p.lose()
		}
	}
}

// reset ends all connections that somebody has dialled, or those of everybody with nil, as the death
// of a process does. To the side that lives it looks like a reset.
func (n *network) reset(from any) {
	n.end(0, func(p peers) bool { return from == nil || p.from == from })
}

// resetHost ends all connections to a host, as the death of its process does.
func (n *network) resetHost(host string) {
	n.end(1, func(p peers) bool { return p.host == host })
}

// end ends connections from one of their sides.
func (n *network) end(side int, which func(peers) bool) {
	n.mu.Lock()
	var open []*pipe
	for p, of := range n.open {
		if which(of) {
			open = append(open, p)
		}
	}
	n.mu.Unlock()
	for _, p := range open {
		_ = p.ends[side].SetLinger(0)
		p.ends[side].Close()
	}
}

// address is the address of a host.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// listener accepts the connections of one host.
type listener struct {
	host     address
	incoming chan net.Conn
	done     chan struct{}
	once     sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return l.host }
