package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/plain"
	"tempestd/persistence"
)

const (
	eventStream = "text/event-stream"
	// heartbeat is the longest silence of an event stream: proxies cut a connection that is silent
	// for longer.
	heartbeat = 10 * time.Second
	ssePage   = 1000 // entries of one read
	// sseRetry tells clients how long to wait before they connect again: 1000 ms.
	sseRetry = "retry: 1000\n\n"
)

// sseParams are the parameters of an event stream: those of a tail, except the ones that bound a
// single response.
var sseParams = append([]string{"after", "live"}, filterParams...)

// wantsEvents reports whether a tail is to be an event stream (Server-Sent Events of the HTML
// standard).
func wantsEvents(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "live=") {
		return true
	}
	for _, accept := range r.Header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			name, _, _ := strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(name), eventStream) {
				return true
			}
		}
	}
	return false
}

// lastEventID returns the exclusive cursor of a client that reconnects. It is newer than the cursor
// in the URL, which does not change.
func (p *params) lastEventID(r *http.Request) (id persistence.EntryID, ok bool) {
	given := r.Header.Get("Last-Event-ID")
	if given == "" {
		return id, false
	}
	if err := id.UnmarshalText([]byte(given)); err != nil {
		p.fail(invalid("Last-Event-ID", given, `"<ms>-<seq>", the last id received`))
	}
	return id, true
}

// events answers a tail as an event stream. The entry's ID is the id of its event, and the entry's
// bytes are the data. When the stream ends, an event "closed" is sent; a client that reconnects
// after it gets a 204, which stops an EventSource. When retention overtakes the reader, an event
// "expired" is sent with the body of a 410. An event that has only an id calls no handler in the
// client: it moves the client's last event ID past entries that the filter left out.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	p := parseParams(r, sseParams...)
	if live := p.values.Get("live"); p.values.Has("live") && live != "sse" {
		p.fail(invalid("live", live, "sse"))
	}
	after, resumed := p.lastEventID(r)
	if !resumed {
		after = p.after()
	}
	filter := p.filter()
	if p.err != nil {
		return p.err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	release, err := s.admit(r, stream.Name(), 0)
	if err != nil {
		return err
	}
	defer release()
	f := s.follow(r.Context(), stream, after, jetstream.NewMatcher(filter))
	defer f.close()

	// An error of the cursor is answered with a status, as for every tail.
	found, err := f.next(0, ssePage)
	if err != nil {
		return err
	}
	if resumed && found.ended() && len(found.Entries) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // or a proxy would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	out := eventWriter{server: s, w: w, stream: stream.Name(), id: after}
	out.begin()
	out.text(sseRetry)
	for {
		out.page(&found)
		switch {
		case found.ended():
			out.closed(&found)
			out.end()
			return nil
		case found.drained:
			out.text(": the daemon is stopping\n\n")
			out.end()
			return nil
		}
		if !out.end() {
			return nil
		}
		found, err = f.next(heartbeat, ssePage)
		out.begin()
		if err != nil {
			// Other errors are over, or answered with a status, when the client reconnects.
			if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
				out.expired(expired)
			} else {
				s.tooLate(r, err)
			}
			out.end()
			return nil
		}
	}
}

// eventWriter writes events. It has a buffer only while there is something to write.
type eventWriter struct {
	chunks
	server *Server
	w      http.ResponseWriter
	stream string
	id     persistence.EntryID // the last id that the client knows
	pooled *[]byte
}

func (e *eventWriter) begin() {
	e.pooled = e.server.bufs.Get().(*[]byte)
	e.chunks = chunks{w: e.w, buf: (*e.pooled)[:0], before: func() { e.server.allow(e.w, 0) }}
}

// end sends the buffered events. When it returns false, the client has left or was too slow, and
// the connection is lost.
func (e *eventWriter) end() (taken bool) {
	e.flush()
	e.server.bufs.Put(e.pooled)
	e.pooled = nil
	if e.err == nil {
		e.err = http.NewResponseController(e.w).Flush()
	}
	return e.err == nil
}

func (e *eventWriter) page(p *tailPage) {
	for _, f := range p.Entries {
		e.text("id: ")
		e.chunks.id(f.ID)
		e.text("\ndata: ")
		e.data(f.Event)
		e.text("\n\n")
		e.id = f.ID
	}
	e.server.observer.Metrics().Served.WithLabelValues(e.stream).Add(float64(len(p.Entries)))
	switch {
	case p.Cursor != e.id: // past entries that the filter left out
		e.text("id: ")
		e.chunks.id(p.Cursor)
		e.text("\n\n")
		e.id = p.Cursor
	case len(p.Entries) == 0:
		e.text(":\n\n")
	}
}

// data writes an event. JSON has line ends only between its tokens; after each of them a new data
// line begins.
func (e *eventWriter) data(event []byte) {
	for i := lineEnd(event); i >= 0; i = lineEnd(event) {
		e.bytes(event[:i])
		e.text("\ndata: ")
		event = event[i+1:]
	}
	e.bytes(event)
}

// lineEnd returns the index of the first line feed or carriage return, -1 if there is none.
func lineEnd(b []byte) int {
	feed := bytes.IndexByte(b, '\n')
	if feed >= 0 {
		b = b[:feed]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return feed
}

func (e *eventWriter) closed(p *tailPage) {
	body, _ := json.Marshal(struct { // cannot fail
		ClosedAt     time.Time `json:"closed_at"`
		ClosedReason string    `json:"closed_reason"`
	}{p.ClosedAt.UTC(), p.ClosedReason})
	e.text("event: closed\ndata: ")
	e.bytes(plain.Escape(nil, body))
	e.text("\n\n")
}

func (e *eventWriter) expired(err *persistence.CursorExpiredError) {
	body, _ := json.Marshal(errorBody{Error: nameCursorExpired, Message: err.Error(), OldestCursor: err.Oldest})
	e.text("event: expired\ndata: ")
	e.bytes(plain.Escape(nil, body))
	e.text("\n\n")
}
