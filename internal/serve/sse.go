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
	// heartbeat is how long an event stream is silent at the most: proxies take longer ones for dead.
	heartbeat = 10 * time.Second
	ssePage   = 1000 // frames
	// sseRetry is what clients are told to wait before they connect again.
	sseRetry = "retry: 1000\n\n"
)

// sseParams are what an event stream takes: a tail's, but for what bounds one response.
var sseParams = append([]string{"after", "live"}, filterParams...)

// wantsEvents says whether a tail is to be an event stream (Server-Sent Events of the HTML standard).
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

// lastEventID is the exclusive cursor that a client comes back with; it is newer than the one in the URL, which does not change.
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

// events answers a tail as an event stream: an entry's ID is its event's id, its bytes are the data. When the stream ends there is an event "closed", and a client that
// comes back after it is answered 204, which ends an EventSource; when retention overtakes the reader, an event "expired" with the body of a 410. An event of an
// id alone, which is dispatched to nobody, moves the client's position past entries that its filter left out.
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

	// What is wrong with the cursor is answered as it is to every tail.
	found, err := f.next(0, ssePage)
	if err != nil {
		return err
	}
	if resumed && found.ended() && len(found.Frames) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // a proxy's, which would hold events back
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
			// What is not the cursor's fault is over, or told, when the client comes back.
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

// eventWriter writes events, through a buffer that it has only while there is something to write.
type eventWriter struct {
	chunks
	server *Server
	w      http.ResponseWriter
	stream string
	id     persistence.EntryID // what the client knows as its last id
	pooled *[]byte
}

func (e *eventWriter) begin() {
	e.pooled = e.server.bufs.Get().(*[]byte)
	e.chunks = chunks{w: e.w, buf: (*e.pooled)[:0], before: func() { e.server.allow(e.w, 0) }}
}

// end sends what was written. A client that has left, or does not take it in time, has lost its connection.
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
	for _, f := range p.Frames {
		e.text("id: ")
		e.chunks.id(f.ID)
		e.text("\ndata: ")
		e.data(f.Event)
		e.text("\n\n")
		e.id = f.ID
	}
	e.server.observer.Metrics().Served.WithLabelValues(e.stream).Add(float64(len(p.Frames)))
	switch {
	case p.Cursor != e.id: // past what the filter left out
		e.text("id: ")
		e.chunks.id(p.Cursor)
		e.text("\n\n")
		e.id = p.Cursor
	case len(p.Frames) == 0:
		e.text(":\n\n")
	}
}

// data writes an event. Line ends between the tokens of its JSON are the only ones it can have: each begins another line of data.
func (e *eventWriter) data(event []byte) {
	for i := lineEnd(event); i >= 0; i = lineEnd(event) {
		e.bytes(event[:i])
		e.text("\ndata: ")
		event = event[i+1:]
	}
	e.bytes(event)
}

// lineEnd is the index of the first line feed or carriage return, -1 for none.
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
	body, _ := json.Marshal(struct { // always has a JSON form
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
