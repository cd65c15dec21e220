package persistence

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
)

// turnedAway is what a server says to a new connection that it does not want, before it is asked anything; then it hangs up. The client library, which awaits
// the answers to its greeting, would only tell that the connection ended.
type turnedAway string

func (t turnedAway) Error() string { return string(t) }

// Whom a server turns away: a client more than it may have, and, where no password is set, one from another machine.
var turningAway = [][]byte{[]byte("-ERR max number of clients reached"), []byte("-DENIED ")}

// dial connects as the client library does by itself.
func dial(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (conn net.Conn, err error) {
	if secure == nil {
		conn, err = d.DialContext(ctx, "tcp", addr)
	} else {
		conn, err = (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	return &greeted{Conn: conn}, nil
}

// greeted is a connection on which being turned away is an error.
type greeted struct {
	net.Conn
	heard bool // the server has said something; of the one goroutine that reads
}

func (g *greeted) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.heard || n == 0 {
		return n, err
	}
	g.heard = true
	for _, begin := range turningAway {
		if bytes.HasPrefix(p[:n], begin) {
			line, _, _ := bytes.Cut(p[1:n], []byte("\r"))
			return 0, turnedAway(line[:min(len(line), 200)])
		}
	}
	return n, err
}
