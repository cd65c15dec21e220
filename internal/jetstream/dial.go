package jetstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
)

// DefaultMaxMessageSize is the read limit where none is set: the largest record the network allows is 1 MiB of CBOR.
const DefaultMaxMessageSize = 4 << 20

// maxMessage keeps the offsets within a batch below 32 bits, with maxBatchBytes.
const maxMessage = 1 << 30

// maxResponseHeader bounds what an upstream may answer to a handshake, in bytes.
const maxResponseHeader = 64 << 10

// DialOptions are how to connect. Zero fields have defaults.
type DialOptions struct {
	Clock          clockwork.Clock // nil means the real one, which is virtual in a testing/synctest bubble
	MaxMessageSize int64           // bytes of one message, 1 GiB at most; a larger one ends the connection. DefaultMaxMessageSize if 0
	UserAgent      string
	TLS            *tls.Config
	// DialContext makes the TCP connection; a net.Dialer's by default. Deadlines of the connection it makes must run on Clock.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy is asked which proxy to use; http.ProxyFromEnvironment by default.
	Proxy func(*http.Request) (*url.URL, error)
}

// Dial opens a subscription. ctx bounds the dial, TLS and websocket handshakes together, and nothing after. An upstream that answers but does
// not accept gives a *[RefusedError]; whatever else fails is the network's doing. No error holds userinfo or the query.
func Dial(ctx context.Context, req Request, opt DialOptions) (*Conn, error) {
	target, err := req.url()
	if err != nil {
		return nil, err
	}
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	if opt.MaxMessageSize <= 0 {
		opt.MaxMessageSize = DefaultMaxMessageSize
	}
	opt.MaxMessageSize = min(opt.MaxMessageSize, maxMessage)
	if opt.DialContext == nil {
		opt.DialContext = (&net.Dialer{}).DialContext
	}
	if opt.Proxy == nil {
		opt.Proxy = http.ProxyFromEnvironment
	}
	// The buffer lies below TLS: a server that writes one frame at a time sends one TLS record a frame, and without it
	// each record is a system call. HTTP/2 is off because the transport has a DialContext of its own.
	var socket *wire
	transport := &http.Transport{
		Proxy: opt.Proxy,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := opt.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			socket = newWire(c, opt.Clock)
			return socket, nil
		},
		TLSClientConfig:        opt.TLS,
		DisableCompression:     true,
		DisableKeepAlives:      true, // a connection that is not needed after all is closed
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	header := http.Header{}
	if opt.UserAgent != "" {
		header.Set("User-Agent", opt.UserAgent)
	}
	ws, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport: transport,
			// Sequence numbers belong to the host that was asked: another one must be configured, not stumbled into.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader: header,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refused(resp, opt.Clock.Now())
		}
		return nil, fmt.Errorf("connect to %s: %w", req.Endpoint, withoutURL(err))
	}
	ws.SetReadLimit(opt.MaxMessageSize)
	return newConn(ws, socket, req.Endpoint, opt), nil
}

// withoutURL is the cause inside of net/http's error, whose text repeats the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
