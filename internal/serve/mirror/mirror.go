package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/beside"
	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/guard"
	"tempestd/internal/serve/tail"
	"tempestd/internal/subscribe"
	"tempestd/persistence"
)

const (
	seekTimeout = 30 * time.Second // of the search for a cursor
	// deflateSize is the memory, in bytes, of a connection that uses permessage-deflate. Where there
	// is no room for it, a connection gets uncompressed text, which the extension allows.
	deflateSize = 1 << 20
)

// Options configure a Mirror. All fields are required, except those whose comment says what zero or
// nil means.
type Options struct {
	Store    persistence.Store
	Tails    *tail.Tails
	Guard    *guard.Guard
	Clock    clockwork.Clock
	Observer *observe.Observer
	// DefaultStream is the stream of subscribers that name none. "" stands for the daemon's stream
	// if it has only one.
	DefaultStream string
	// Dictionaries returns the zstd dictionaries for compressing the messages of a stream's
	// subscribers, nil where there is none. The function may be nil: then no stream has one.
	Dictionaries func(stream string) (v1, v2 []byte)
	Fault        beside.Fault // nil, except in tests of faults
}

// Mirror is a Jetstream server whose events are the daemon's streams. It is safe for concurrent
// use.
type Mirror struct {
	store         persistence.Store
	tails         *tail.Tails
	guard         *guard.Guard
	clock         clockwork.Clock
	observer      *observe.Observer
	fault         beside.Fault
	defaultStream atomic.Pointer[string]
	compressors   compressors
	seeks         seekers
	large         chan struct{} // a slot for each large message that is being read
}

// New returns a mirror.
func New(o Options) *Mirror {
	m := &Mirror{store: o.Store, tails: o.Tails, guard: o.Guard, clock: o.Clock, observer: o.Observer, fault: o.Fault,
		compressors: compressors{of: o.Dictionaries}, large: make(chan struct{}, maxLarge)}
	m.Configure(o.DefaultStream)
	return m
}

// Configure changes the stream of subscribers that name none.
func (m *Mirror) Configure(defaultStream string) { m.defaultStream.Store(&defaultStream) }

// Routes returns the routes of a Jetstream server, and a stream's own.
func (m *Mirror) Routes() []api.Route {
	return []api.Route{
		{Pattern: "/v1/streams/{stream}/subscribe", Methods: api.Methods{"GET": m.subscribe(subscribe.V1)}},
		{Pattern: atproto.SubscribePath, Methods: api.Methods{"GET": m.subscribe(subscribe.V1)}},
		{Pattern: atproto.EventsPath, Methods: api.Methods{"GET": m.subscribe(subscribe.V2)}},
		{Pattern: atproto.DictionaryPath, Methods: api.Methods{"GET": m.dictionary}},
	}
}

// subscribe answers a subscription request as a Jetstream server does, and refuses in the same
// form.
func (m *Mirror) subscribe(v subscribe.Version) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := m.accept(w, r, v)
		var refusal *subscribe.Refusal
		if err == nil || r.Context().Err() != nil {
			return err
		}
		if !errors.As(err, &refusal) {
			e := api.Resolve(m.observer, r, err)
			for k, value := range e.Header {
				w.Header().Set(k, value)
			}
			refusal = &subscribe.Refusal{Status: e.Status, Name: e.Name, Message: e.Message}
		}
		refusal.Answer(w, v)
		return nil
	}
}

// parse reads a subscription's request when it is its turn.
func parse(r *http.Request, v subscribe.Version, zstd func(id uint32) *subscribe.Refusal) (req subscribe.Request, err error) {
	leave, err := api.TakeTurn(r)
	if err != nil {
		return req, err
	}
	defer leave()
	req, refusal := subscribe.Parse(r, v, zstd)
	if refusal != nil {
		err = refusal
	}
	return req, err
}

// accept serves a subscription until it ends. When it returns an error, no response was sent yet.
func (m *Mirror) accept(w http.ResponseWriter, r *http.Request, v subscribe.Version) error {
	if err := m.guard.CheckOrigin(r); err != nil {
		return err
	}
	c := &subscription{mirror: m}
	var err error
	if c.stream, err = m.streamOf(r); err != nil {
		return err
	}
	if c.share, err = m.tails.Share(r); err != nil {
		return err
	}
	defer c.share.Close()
	req, err := parse(r, v, func(id uint32) *subscribe.Refusal { return c.chooseCompressor(v, id) })
	if err != nil {
		return err
	}
	if c.unrepaired, err = unrepaired(r); err != nil {
		return err
	}
	deflate := v == subscribe.V1 && !req.Zstd && strings.Contains(strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ","), "permessage-deflate")
	release, err := m.tails.Admit(r, c.stream.Name(), 0)
	if err != nil {
		return err
	}
	defer release()
	if !c.keepFilter(req.Filter) {
		return api.Overloaded()
	}
	tail.Allow(w, seekTimeout)
	if err := c.seek(r.Context(), m.tails.Client(r), &req); err != nil {
		return err
	}

	leave, err := m.tails.Join()
	if err != nil {
		return err
	}
	defer leave()
	upgrade := &hijack{ResponseWriter: w, buffers: &m.tails.Buffers}
	// CheckOrigin has checked the origin already, so the library must not.
	opt := &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{guard.PlainProtocol}}
	if req.Subprotocol != "" {
		opt.Subprotocols = []string{req.Subprotocol}
	}
	if deflate && c.share.Keep(deflateSize) {
		opt.CompressionMode = websocket.CompressionContextTakeover
	}
	conn, err := websocket.Accept(upgrade, r, opt)
	if err != nil {
		return nil // the library has answered the request
	}
	c.serve(r.Context(), conn, upgrade.conn, &req)
	return nil
}

// unrepaired reports whether the request excludes the events that were fetched to close gaps. The
// parameter is tempestd's own. Another server ignores it.
func unrepaired(r *http.Request) (bool, error) {
	p := api.ParseKnown(r, api.RepairedParam)
	return p.Unrepaired(), p.Err
}

// streamOf finds the stream of a request: the one in the path, in the parameter, in the
// configuration, or else the daemon's only stream.
func (m *Mirror) streamOf(r *http.Request) (persistence.Stream, error) {
	name := r.PathValue("stream")
	if name == "" {
		name = r.URL.Query().Get("stream")
	}
	if name == "" {
		name = *m.defaultStream.Load()
	}
	if name == "" {
		streams, err := m.store.Streams(r.Context())
		if err != nil {
			return nil, err
		}
		names := make([]string, len(streams))
		for i, info := range streams {
			names[i] = info.Name
		}
		if len(names) != 1 {
			return nil, &api.Error{Status: http.StatusBadRequest, Name: api.NameInvalidRequest,
				Message: fmt.Sprintf("stream: missing, and this daemon has %d; accepted: %s (http.default_stream can name one)", len(names), strings.Join(names, ", "))}
		}
		name = names[0]
	}
	return m.store.Stream(r.Context(), name)
}

// chooseCompressor selects the compressor for a subscriber that wants zstd. id is the dictionary
// that a v2 client has; it is 0 for a v1 client.
func (c *subscription) chooseCompressor(v subscribe.Version, id uint32) *subscribe.Refusal {
	known := &c.mirror.compressors
	if v == subscribe.V1 {
		p, err := known.v1(c.stream.Name())
		if err != nil {
			return subscribe.Unavailable(err.Error())
		}
		c.compressor = p
		return nil
	}
	p, err := known.v2(c.stream.Name())
	switch {
	case err != nil:
		return subscribe.Unavailable(err.Error())
	case p == nil:
		return &subscribe.Refusal{Status: http.StatusBadRequest, Name: atproto.UnknownDictionary,
			Message: fmt.Sprintf("unknown zstd dictionary id %d; this daemon has none at hand: connect without zstdDictionary", id)}
	case p.id != id:
		return subscribe.UnknownDictionary(id, p.id)
	}
	c.compressor = p
	return nil
}

// seek finds where the subscription begins. v2 refuses a sequence number that is too old. The tip is
// at hand; for any other place the subscriptions of one address search one after the other.
func (c *subscription) seek(ctx context.Context, client netip.Addr, req *subscribe.Request) error {
	ctx, cancel := context.WithTimeout(ctx, seekTimeout)
	defer cancel()
	info, err := c.stream.Info(ctx)
	if err != nil {
		return err
	}
	now := c.mirror.clock.Now()
	if isTip(info, req.Cursor, now) {
		c.start = tip(info)
		return nil
	}
	leave, err := c.mirror.seeks.enter(ctx, client)
	if err != nil {
		return err
	}
	defer leave()
	if c.share.Await(ctx, seekBytes) == 0 {
		return api.Overloaded()
	}
	defer c.share.Use(0)
	c.start, err = search(ctx, c.stream, info, req.Cursor, now)
	if err == nil && c.start.below && req.Version == subscribe.V2 && !req.Cursor.IsTime() {
		return subscribe.CursorTooOld(req.Cursor.Value, c.start.first)
	}
	return err
}
