package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
	"tempestd/persistence"
)

const (
	// seekTimeout bounds the search for a cursor. maxSeeks is how many searches run at one time.
	seekTimeout = 30 * time.Second
	maxSeeks    = 4
	// maxDeflate is how many connections may use permessage-deflate at one time: each takes about a
	// megabyte. Further connections get uncompressed text, which the extension allows.
	maxDeflate = 128
)

// subscribe answers a subscription request as a Jetstream server does, and refuses in the same
// form.
func (s *Server) subscribe(v subscribe.Version) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.accept(w, r, v)
		var refusal *subscribe.Refusal
		if err == nil || r.Context().Err() != nil {
			return err
		}
		if !errors.As(err, &refusal) {
			api, ours := toAPI(err)
			if ours {
				s.tellFault(r, api, err)
			}
			for k, value := range api.header {
				w.Header().Set(k, value)
			}
			refusal = &subscribe.Refusal{Status: api.status, Name: api.name, Message: api.message}
		}
		refusal.Answer(w, v)
		return nil
	}
}

// accept serves a subscription until it ends. When it returns an error, no response was sent yet.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, v subscribe.Version) error {
	if err := s.checkOrigin(r); err != nil {
		return err
	}
	c := &subscription{server: s}
	var err error
	if c.stream, err = s.streamOf(r); err != nil {
		return err
	}
	req, refusal := subscribe.Parse(r, v, func(id uint32) *subscribe.Refusal { return c.choosePacker(v, id) })
	if refusal != nil {
		return refusal
	}
	release, err := s.admit(r, c.stream.Name(), 0)
	if err != nil {
		return err
	}
	defer release()
	s.allow(w, seekTimeout)
	if err := c.seek(r.Context(), &req); err != nil {
		return err
	}

	leave, err := s.join()
	if err != nil {
		return err
	}
	defer leave()
	upgrade := &hijack{ResponseWriter: w, bufs: &s.bufs}
	// checkOrigin has checked the origin already, so the library must not.
	opt := &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{plainProtocol}}
	if req.Subprotocol != "" {
		opt.Subprotocols = []string{req.Subprotocol}
	}
	if v == subscribe.V1 && !req.Zstd && strings.Contains(strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ","), "permessage-deflate") {
		select {
		case s.deflating <- struct{}{}:
			defer func() { <-s.deflating }()
			opt.CompressionMode = websocket.CompressionContextTakeover
		default:
		}
	}
	conn, err := websocket.Accept(upgrade, r, opt)
	if err != nil {
		return nil // the library has answered the request
	}
	c.serve(r.Context(), conn, upgrade.conn, &req)
	return nil
}

// streamOf finds the stream of a request: the one in the path, in the parameter, in the
// configuration, or else the daemon's only stream.
func (s *Server) streamOf(r *http.Request) (persistence.Stream, error) {
	name := r.PathValue("stream")
	if name == "" {
		name = r.URL.Query().Get("stream")
	}
	if name == "" {
		name = s.defaultStream
	}
	if name == "" {
		streams, err := s.store.Streams(r.Context())
		if err != nil {
			return nil, err
		}
		names := make([]string, len(streams))
		for i, info := range streams {
			names[i] = info.Name
		}
		if len(names) != 1 {
			return nil, &apiError{status: http.StatusBadRequest, name: nameInvalidRequest,
				message: fmt.Sprintf("stream: missing, and this daemon has %d; accepted: %s (http.default_stream can name one)", len(names), strings.Join(names, ", "))}
		}
		name = names[0]
	}
	return s.store.Stream(r.Context(), name)
}

// choosePacker selects the packer for a subscriber that wants zstd. id is the dictionary that a v2
// client has; it is 0 for a v1 client.
func (c *subscription) choosePacker(v subscribe.Version, id uint32) *subscribe.Refusal {
	packers := &c.server.packers
	if v == subscribe.V1 {
		p, err := packers.v1(c.stream.Name())
		if err != nil {
			return subscribe.Unavailable(err.Error())
		}
		c.packer = p
		return nil
	}
	p, err := packers.v2(c.stream.Name())
	switch {
	case err != nil:
		return subscribe.Unavailable(err.Error())
	case p == nil:
		return &subscribe.Refusal{Status: http.StatusBadRequest, Name: atproto.UnknownDictionary,
			Message: fmt.Sprintf("unknown zstd dictionary id %d; this daemon has none at hand: connect without zstdDictionary", id)}
	case p.id != id:
		return subscribe.UnknownDictionary(id, p.id)
	}
	c.packer = p
	return nil
}

// seek finds the place where the subscription begins. v2 refuses a sequence number that is too old.
func (c *subscription) seek(ctx context.Context, req *subscribe.Request) error {
	ctx, cancel := context.WithTimeout(ctx, seekTimeout)
	defer cancel()
	select {
	case c.server.seeks <- struct{}{}:
		defer func() { <-c.server.seeks }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var err error
	c.place, err = seek(ctx, c.stream, req.Cursor, c.server.clock.Now())
	if err == nil && c.place.below && req.Version == subscribe.V2 && !req.Cursor.IsTime() {
		return subscribe.CursorTooOld(req.Cursor.Value, c.place.first)
	}
	return err
}

// dictionary serves the zstd dictionary of v2.
func (s *Server) dictionary(w http.ResponseWriter, r *http.Request) error {
	err := s.writeDictionary(w, r)
	if refusal, ok := errors.AsType[*subscribe.Refusal](err); ok {
		refusal.Answer(w, subscribe.V2)
		return nil
	}
	return err
}

func (s *Server) writeDictionary(w http.ResponseWriter, r *http.Request) error {
	stream, err := s.streamOf(r)
	if err != nil {
		return err
	}
	p, err := s.packers.v2(stream.Name())
	if err != nil {
		return err
	}
	if p == nil {
		return &subscribe.Refusal{Status: http.StatusNotFound, Name: atproto.DictionaryNotFound, Message: "this daemon has no zstd dictionary at hand"}
	}
	if q := r.URL.Query(); q.Has("id") {
		id, err := strconv.ParseInt(q.Get("id"), 10, 64)
		if err != nil {
			return subscribe.Invalid("id must be an integer zstd dictionary ID")
		}
		if id != int64(p.id) {
			return subscribe.DictionaryNotFound(id, p.id)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(p.data)))
	h.Set("Etag", fmt.Sprintf(`"zstd-dict-%d"`, p.id))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set(atproto.DictionaryHeader, strconv.FormatUint(uint64(p.id), 10))
	_, _ = w.Write(p.data) // the HTTP server handles a failed write
	return nil
}
