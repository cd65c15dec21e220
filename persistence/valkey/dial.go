package valkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
)

// rejection is the message of a server that refuses a new connection. The server sends it before
// any command, and then hangs up. The client library, which waits for the answers to its handshake,
// would only report that the connection ended.
type rejection string

func (t rejection) Error() string { return string(t) }

// The beginnings of such messages. A server refuses a client beyond its limit. Without a password
// it also refuses a client from another machine.
var rejections = [][]byte{[]byte("-ERR max number of clients reached"), []byte("-DENIED ")}

// dial connects in the same way as the client library, or by other if that is not nil.
func dial(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config, other dialer) (conn net.Conn, err error) {
	switch {
	case other != nil:
		conn, err = other(ctx, "tcp", addr)
	case secure == nil:
		conn, err = d.DialContext(ctx, "tcp", addr)
	default:
		conn, err = (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	return &greetedConn{Conn: conn}, nil
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// greetedConn is a connection whose Read returns a refusal as an error.
type greetedConn struct {
	net.Conn
	heard bool // the server has sent something; used only by the goroutine that reads
}

func (g *greetedConn) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.heard || n == 0 {
		return n, err
	}
	g.heard = true
	for _, begin := range rejections {
		if bytes.HasPrefix(p[:n], begin) {
			line, _, _ := bytes.Cut(p[1:n], []byte("\r"))
			return 0, rejection(line[:min(len(line), 200)])
		}
	}
	return n, err
}
