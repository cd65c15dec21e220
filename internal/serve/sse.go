package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"tempestd/internal/plain"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/persistence"
)

// sseRetry tells clients how long to wait before they connect again: 1000 ms.
const sseRetry = "retry: 1000\n\n"

// sseParams are the parameters of an event stream: those of a tail, except the ones that bound a
// single response.
var sseParams = append([]string{"after", "live", lastEventParam, api.RepairedParam}, api.FilterParams...)

// wantsEvents reports whether a tail is to be an event stream (Server-Sent Events of the HTML
// standard).
func wantsEvents(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "live=") {
		return true
	}
	for _, accept := range r.Header.Values("Accept") {
		for media := range strings.SplitSeq(accept, ",") {
			name, _, _ := strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(name), tail.EventStream) {
				return true
			}
		}
	}
	return false
}

// lastEventParam is where clients that cannot send a header have the last ID: event-source-polyfill
// and others put it into the query.
const lastEventParam = "lastEventId"

// lastEventID returns the exclusive cursor of a client that reconnects. It is newer than the cursor
// in the URL, which does not change.
func lastEventID(p *api.Params, r *http.Request) (id persistence.EntryID, ok bool) {
	name, given := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if given == "" {
		name, given = lastEventParam, p.Values.Get(lastEventParam)
	}
	if given == "" {
		return id, false
	}
	if err := id.UnmarshalText([]byte(given)); err != nil {
		p.Fail(api.Invalid(name, given, `"<ms>-<seq>", the last id received`))
	}
	return id, true
}

// events answers a tail as an event stream. The entry's ID is the id of its event, and the entry's
// bytes are the data. When the stream ends, an event "closed" is sent; a client that reconnects
// after it gets a 204, which stops an EventSource. When retention overtakes the reader, an event
// "expired" is sent with the body of a 410. An event that has only an id calls no handler in the
// client: it moves the client's last event ID past entries that the filter left out.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	share, err := s.tails.Share(r)
	if err != nil {
		return err
	}
	defer share.Close()
	p := api.ParseParams(r, sseParams...)
	if live := p.Values.Get("live"); p.Values.Has("live") && live != "sse" {
		p.Fail(api.Invalid("live", live, "sse"))
	}
	after, resumed := lastEventID(p, r)
	if !resumed {
		after = p.After()
	}
	matcher := p.Matcher()
	if p.Err != nil {
		return p.Err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	release, err := s.tails.Admit(r, stream.Name(), 0)
	if err != nil {
		return err
	}
	defer release()
	f, err := s.tails.Follow(r.Context(), share, stream, after, matcher)
	if err != nil {
		return err
	}
	defer f.Close()

	// An error of the cursor is answered with a status, as for every tail.
	found, err := f.Next(0, tail.EventPage)
	if err != nil {
		return err
	}
	if resumed && found.Ended() && len(found.Entries) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	out := eventWriter{s.tails.Events(w), after}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	f.Patient = true
	out.Begin(found.Size + len(sseRetry))
	out.Text(sseRetry)
	for {
		out.page(&found)
		s.observer.Metrics().Served.WithLabelValues(stream.Name()).Add(float64(len(found.Entries)))
		switch {
		case found.Ended():
			out.closed(&found)
			out.End()
			return nil
		case found.Drained:
			out.Text(": the daemon is stopping\n\n")
			out.End()
			return nil
		}
		if !out.End() {
			return nil
		}
		found = tail.Page{} // or the page would stay in memory while the next one is waited for
		found, err = f.Next(tail.Heartbeat, tail.EventPage)
		out.Begin(found.Size)
		if err != nil {
			// Other errors are over, or answered with a status, when the client reconnects.
			if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
				out.expired(expired)
			} else {
				api.TooLate(s.observer, r, err)
			}
			out.End()
			return nil
		}
	}
}

// eventWriter writes the events of a tail.
type eventWriter struct {
	*tail.Events
	id persistence.EntryID // the last id that the client knows
}

func (e *eventWriter) page(p *tail.Page) {
	for _, f := range p.Entries {
		e.Text("id: ")
		e.ID(f.ID)
		e.Text("\ndata: ")
		e.Data(f.Event)
		e.Text("\n\n")
		e.id = f.ID
	}
	switch {
	case p.Cursor != e.id: // past entries that the filter left out
		e.Text("id: ")
		e.ID(p.Cursor)
		e.Text("\n\n")
		e.id = p.Cursor
	case len(p.Entries) == 0:
		e.Text(":\n\n")
	}
}

func (e *eventWriter) closed(p *tail.Page) {
	body, _ := json.Marshal(struct { // cannot fail
		ClosedAt     time.Time `json:"closed_at"`
		ClosedReason string    `json:"closed_reason"`
	}{p.ClosedAt.UTC(), p.ClosedReason})
	e.Text("event: closed\ndata: ")
	e.Bytes(plain.Escape(nil, body))
	e.Text("\n\n")
}

func (e *eventWriter) expired(err *persistence.CursorExpiredError) {
	body, _ := json.Marshal(api.ErrorBody{Error: api.NameCursorExpired, Message: err.Error(), OldestCursor: err.Oldest})
	e.Text("event: expired\ndata: ")
	e.Bytes(plain.Escape(nil, body))
	e.Text("\n\n")
}
