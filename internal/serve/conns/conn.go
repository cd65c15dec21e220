package conns

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tempestd/internal/observe"
)

// unknownIdle is how long a connection may be idle on which no request was allowed.
const unknownIdle = 5 * time.Second

// Conn is a connection that was let in.
type Conn struct {
	net.Conn
	gate   *Gate
	on     net.Addr // of the listener
	addr   netip.Addr
	client *client

	known, idle atomic.Bool
	inHead      atomic.Bool // net/http reads the head of a request
	head        head
	gone        chan struct{} // closed when it is forgotten

	// Guarded by Gate.mu.
	forgotten             bool
	amongAll, amongClient *list.Element // nil while it is not idle
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.gate.mu.Lock()
	c.gate.forget(c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// SetReadDeadline implements net.Conn. net/http sets the time that a connection may be idle this way.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.idle.Load() && !c.known.Load() {
		if soon := time.Now().Add(unknownIdle); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// inside returns the connection that the gate let in, nil if conn is another.
func inside(conn net.Conn) *Conn {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }: // TLS
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// ListenerOf returns the address of the listener of a connection, nil if that is not known.
func ListenerOf(conn net.Conn) net.Addr {
	if c := inside(conn); c != nil {
		return c.on
	}
	return nil
}

// connKey is the key of the connection in the context of its requests.
type connKey struct{}

// Context is for http.Server.ConnContext.
func (g *Gate) Context(ctx context.Context, conn net.Conn) context.Context {
	if c := inside(conn); c != nil {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// Known says that the connection of a request was allowed one. ctx is the request's.
func Known(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*Conn); ok {
		c.known.Store(true)
	}
}

// IsKnown reports whether the connection of a request was allowed one before.
func IsKnown(ctx context.Context) bool {
	c, ok := ctx.Value(connKey{}).(*Conn)
	return ok && c.known.Load()
}

// refusal is the answer to a connection for which there is no place. It fits into the buffer of a
// new connection, so that to write it waits for nobody.
const refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: 91\r\n\r\n" +
	`{"error":"TooManyConnections","message":"too many connections are open; try again in 2 s"}` + "\n"

// refuse closes a connection that has no place.
func (g *Gate) refuse(inner net.Conn, cause string, tls bool) {
	g.observer.Metrics().Refused.WithLabelValues(cause).Inc()
	g.observer.Emit(observe.HTTPFull, "", "cause", cause)
	if !tls {
		_ = inner.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = inner.Write([]byte(refusal))
	}
	_ = inner.Close()
}
