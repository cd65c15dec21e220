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

// DefaultMaxMessageSize is the size limit where none is set: the largest record the network allows is 1 MiB of CBOR.
const DefaultMaxMessageSize = 4 << 20

// maxMessage keeps the offsets within a batch below 32 bits, with maxBatchBytes.
const maxMessage = 1 << 30

// maxResponseHeader bounds what an upstream may answer to a handshake, in bytes.
const maxResponseHeader = 64 << 10

// subprotocol is what a v2 client offers: the framing that is spoken there anyway.
const subprotocol = "xrpc.v1.json"

// DialOptions are how to connect. Zero fields have defaults.
type DialOptions struct {
	Clock clockwork.Clock // nil means the real one, which is virtual in a testing/synctest bubble
	// MaxMessageSize is the most bytes of one message, unpacked; 1 GiB at most, DefaultMaxMessageSize if 0. Servers are asked to leave larger events
	// out, which they do without a word. A message that is larger all the same is passed over and becomes a messages.SkippedEvent, unless it has more than 64 times as
	// much, and more than 64 MiB: that, or a frame that announces it, ends the connection.
	MaxMessageSize int64
	UserAgent      string
	TLS            *tls.Config
	// DialContext makes the TCP connection; a net.Dialer's by default. Deadlines of the connection it makes must run on Clock.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy is asked which proxy to use; http.ProxyFromEnvironment by default.
	Proxy func(*http.Request) (*url.URL, error)
	// Negotiator remembers what endpoints can do. Without one nothing is tried out: ProtocolAuto is v1 where the path does not say otherwise, and
	// CompressAuto is CompressOff.
	Negotiator *Negotiator
	// V1Dictionary is the zstd dictionary of v1 servers, which they do not give out. Without it v1 has no zstd.
	V1Dictionary []byte
}

// Dial opens a subscription. ctx bounds everything it takes together, and nothing after. An upstream that answers but does not accept gives a
// *[RefusedError]; whatever else fails is the network's doing. No error holds userinfo or the query.
//
// With ProtocolAuto and an endpoint without a path v2 is tried first, and v1 when the answer is that there is no such thing. The answer is
// remembered, a fault of the network is none.
//
// With CompressAuto messages are packed over wss, and not over ws or to this machine, where bytes are cheaper than the time to unpack them: with zstd
// where there is a dictionary, which v2 servers give out, or else not at all: deflate takes two to three times the time of zstd. A compression that
// cannot be had degrades to none. [Conn.Wire] tells what came of it.
func Dial(ctx context.Context, req Request, opt DialOptions) (*Conn, error) {
	if req.Endpoint.IsZero() {
		return nil, badEndpoint("it is empty")
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
	d := &dialer{req: req, opt: opt, memory: opt.Negotiator}
	return d.dial(ctx)
}

// dialer is the state of one Dial.
type dialer struct {
	req    Request
	opt    DialOptions
	memory *Negotiator
}

// httpClient makes a client for one request within ctx. Once that has been answered, socket is the connection it was answered on, and
// frames, where that was the upgrade, what is above it.
func (d *dialer) httpClient(ctx context.Context) (client *http.Client, socket **wire, frames *link) {
	socket, frames = new(*wire), &link{frames: framing{most: skipLimit(d.opt.MaxMessageSize)}}
	// The buffer lies below TLS: a server that writes one frame at a time sends one TLS record a frame, and without it
	// each record is a system call. HTTP/2 is off because the transport has a DialContext of its own.
	transport := &http.Transport{
		Proxy: d.opt.Proxy,
		// The transport would go on connecting, for other requests to come, when this one has ended.
		DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			c, err := d.opt.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			*socket = newWire(c, d.opt.Clock)
			return *socket, nil
		},
		TLSClientConfig:        d.opt.TLS,
		DisableCompression:     true,
		DisableKeepAlives:      true, // a connection that is not needed after all is closed
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	return &http.Client{
		Transport: &linked{transport, frames},
		// Sequence numbers belong to the host that was asked: another one must be configured, not stumbled into.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, socket, frames
}

// try makes one attempt.
func (d *dialer) try(ctx context.Context, a attempt) (*Conn, error) {
	ask, local := d.req.Filter.split(a.protocol)
	if a.short {
		ask.DIDs, local.DIDs = nil, d.req.Filter.DIDs
	}
	hail, err := d.req.hail(a.protocol, ask, d.opt.MaxMessageSize, a.packing)
	if err != nil {
		return nil, err
	}
	if hail.hello != nil {
		// The legacy server keeps live events for a subscriber that has not said hello, and sends them with the first of those that it wants.
		local = d.req.Filter
	}
	conn := &Conn{endpoint: d.req.Endpoint, clock: d.opt.Clock, maxSize: d.opt.MaxMessageSize, memory: d.memory, raw: d.req.Raw,
		spoken: Wire{Protocol: a.protocol, Compression: a.packing.compression, Fallback: a.fallback(), Local: !local.IsZero()},
		done:   make(chan struct{})}
	conn.filter.Store(NewMatcher(local))
	if a.packing.compression == CompressZstd {
		if conn.inflater, err = newInflater(a.packing.dictionary, d.opt.MaxMessageSize); err != nil {
			return nil, err // it was parsed before
		}
	}
	client, socket, frames := d.httpClient(ctx)
	how := &websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{}}
	if d.opt.UserAgent != "" {
		how.HTTPHeader.Set("User-Agent", d.opt.UserAgent)
	}
	if a.protocol == ProtocolV2 {
		how.Subprotocols = []string{subprotocol}
	}
	if a.packing.compression == CompressDeflate {
		how.CompressionMode = websocket.CompressionContextTakeover
	}
	ws, resp, err := websocket.Dial(ctx, hail.url, how)
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refused(resp, d.opt.Clock.Now())
		}
		return nil, fmt.Errorf("connect to %s: %w", d.req.Endpoint, withoutURL(err))
	}
	if a.packing.compression == CompressDeflate && resp.Header.Get("Sec-WebSocket-Extensions") == "" {
		conn.spoken.Compression = CompressOff
		conn.spoken.Fallback = join(conn.spoken.Fallback, "the server does not deflate")
	}
	if hail.hello != nil {
		if err := ws.Write(ctx, websocket.MessageText, hail.hello); err != nil {
			_ = ws.CloseNow() // it is over either way
			return nil, fmt.Errorf("send the filter to %s: %w", d.req.Endpoint, err)
		}
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && date.Unix() > 0 {
		conn.date = date
	}
	ws.SetReadLimit(-1) // the read loop counts: what the library refuses it leaves in the middle of
	conn.ws, conn.wire, conn.link, conn.start = ws, *socket, frames, d.opt.Clock.Now()
	frames.hangUp = func() { _ = conn.wire.Close() }
	return conn, nil
}

// withoutURL is the cause inside of net/http's error, whose text repeats the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
