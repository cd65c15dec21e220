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

	"tempestd/internal/atproto"
)

// DefaultMaxMessageSize is the default size limit of a message, in bytes. The largest record that
// the network allows is 1 MiB of CBOR.
const DefaultMaxMessageSize = 4 << 20

// maxMessage, together with maxBatchBytes, keeps the offsets within a batch below 32 bits.
const maxMessage = 1 << 30

// maxResponseHeader bounds the header of an upstream's answer to a handshake, in bytes.
const maxResponseHeader = 64 << 10

// DialOptions say how to connect. Zero fields have defaults.
type DialOptions struct {
	Clock clockwork.Clock // nil means the real clock, which is virtual in a testing/synctest bubble
	// MaxMessageSize is the limit of one message, decompressed, in bytes: at most 1 GiB,
	// DefaultMaxMessageSize if 0. Servers are asked to leave out larger events, which they do
	// silently. A larger message that is sent all the same is read and discarded, and becomes a
	// messages.OversizedEvent. A message of more than 64 times the limit and more than 64 MiB ends
	// the connection, and so does a frame that announces one.
	MaxMessageSize int64
	UserAgent      string // of every request; "" means that of net/http
	TLS            *tls.Config
	// DialContext makes the TCP connection; default: that of a net.Dialer. The deadlines of the
	// connection that it makes must run on Clock.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy chooses the proxy; default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)
	// Negotiator remembers what endpoints can do. Without it Dial tries no alternatives:
	// ProtocolAuto is v1 unless the endpoint's path says otherwise, and CompressAuto is
	// CompressOff.
	Negotiator *Negotiator
	// V1Dictionary is the zstd dictionary of v1 servers, which they do not give out. Without it v1
	// is never compressed with zstd.
	V1Dictionary []byte
}

// Dial opens a subscription. ctx bounds the whole dial, and nothing after it. An upstream that
// answers but does not accept gives a *[RefusedError]; any other error is a bad request
// (ErrBadRequest, ErrBadEndpoint, ErrForeignSeq, ErrLegacySeq) or comes from the network. No error
// contains userinfo or the query. Dial is safe for concurrent use.
//
// With ProtocolAuto and an endpoint without a path, Dial tries v2 first. It tries v1 if the server
// answers that it has no v2. That answer is remembered; a network error is not.
//
// With CompressAuto, Dial asks for compression over wss, but not over ws and not to this machine,
// where bytes cost less than the time to decompress them. The compression is zstd if there is a
// dictionary, which v2 servers give out. Otherwise there is none, because deflate takes two to
// three times the time of zstd. Dial falls back to no compression if the chosen one is not
// available. [Conn.Wire] returns the result.
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

// httpClient makes a client for one request within ctx. When that request is answered, socket is
// the connection of the answer. If the answer was the upgrade, frames is the layer above that
// connection.
func (d *dialer) httpClient(ctx context.Context) (client *http.Client, socket **wire, frames *link) {
	socket, frames = new(*wire), &link{frames: framing{most: skipLimit(d.opt.MaxMessageSize)}}
	// The buffer is below TLS: a server that writes one frame at a time sends one TLS record per
	// frame, and without the buffer each record is a system call. HTTP/2 is off because the
	// transport has its own DialContext.
	transport := &http.Transport{
		Proxy: d.opt.Proxy,
		// ctx is that of this request. With its own context the transport would go on connecting,
		// for later requests, after this one has ended.
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
		DisableKeepAlives:      true, // close a connection that turns out not to be needed
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	return &http.Client{
		Transport: &linked{transport, frames},
		// Sequence numbers belong to the host that was asked. Another host must be configured; a
		// redirection must not lead to it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, socket, frames
}

// try makes one attempt.
func (d *dialer) try(ctx context.Context, a attempt) (*Conn, error) {
	ask, local := d.req.Filter.split(a.protocol)
	if a.short {
		ask.DIDs, local.DIDs = nil, d.req.Filter.DIDs
	}
	handshake, err := d.req.handshake(a.protocol, ask, d.opt.MaxMessageSize, a.codec)
	if err != nil {
		return nil, err
	}
	if handshake.hello != nil {
		// The legacy server holds live events back for a subscriber that has not sent its hello,
		// and then sends them, unfiltered, with the first event that the subscriber wants. So the
		// whole filter is applied here.
		local = d.req.Filter
	}
	conn := &Conn{endpoint: d.req.Endpoint, clock: d.opt.Clock, maxSize: d.opt.MaxMessageSize, memory: d.memory, raw: d.req.Raw,
		spoken: Wire{Protocol: a.protocol, Compression: a.codec.compression, Fallback: a.fallback(), Local: !local.IsZero()},
		done:   make(chan struct{})}
	conn.filter.Store(NewMatcher(local))
	if a.codec.compression == CompressZstd {
		if conn.inflater, err = newInflater(a.codec.dictionary, d.opt.MaxMessageSize); err != nil {
			return nil, err // cannot happen: the dictionary was parsed before
		}
	}
	client, socket, frames := d.httpClient(ctx)
	how := &websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{}}
	if d.opt.UserAgent != "" {
		how.HTTPHeader.Set("User-Agent", d.opt.UserAgent)
	}
	if a.protocol == ProtocolV2 {
		how.Subprotocols = []string{atproto.Subprotocol}
	}
	if a.codec.compression == CompressDeflate {
		how.CompressionMode = websocket.CompressionContextTakeover
	}
	ws, resp, err := websocket.Dial(ctx, handshake.url, how)
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refused(resp, d.opt.Clock.Now())
		}
		return nil, fmt.Errorf("connect to %s: %w", d.req.Endpoint, withoutURL(err))
	}
	if a.codec.compression == CompressDeflate && resp.Header.Get("Sec-WebSocket-Extensions") == "" {
		conn.spoken.Compression = CompressOff
		conn.spoken.Fallback = join(conn.spoken.Fallback, "the server does not deflate")
	}
	if handshake.hello != nil {
		if err := ws.Write(ctx, websocket.MessageText, handshake.hello); err != nil {
			_ = ws.CloseNow() // the dial has failed anyway
			return nil, fmt.Errorf("send the filter to %s: %w", d.req.Endpoint, err)
		}
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && date.Unix() > 0 {
		conn.date = date
	}
	// The read loop counts the bytes itself: the library stops in the middle of a message that
	// exceeds its own limit.
	ws.SetReadLimit(-1)
	conn.ws, conn.wire, conn.link, conn.start = ws, *socket, frames, d.opt.Clock.Now()
	frames.hangUp = func() { _ = conn.wire.Close() }
	return conn, nil
}

// withoutURL returns the cause inside net/http's error, because the text of that error repeats the
// URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
