package serve

import (
	"net/http"
	"time"
)

// sseLife is how long a connection is kept (section 9.2). Readers that reconnect can then share a
// cache's answer again.
const sseLife = 60 * time.Second

// durableSSE answers with an event stream until sseLife has passed (section 5.8). Each data event
// has messages, and a control event after it says where they end.
func (s *Server) durableSSE(w http.ResponseWriter, read *durableRead) error {
	release, err := s.admit(read.request, read.stream.Name(), sseLife)
	if err != nil {
		return err
	}
	defer release()
	end := s.clock.Now().Add(sseLife)
	page, err := read.follower.next(0, ssePage)
	if err != nil {
		return durableError(err)
	}
	w.Header().Set("Content-Type", eventStream)
	// Proxies recognize an event stream by no-cache.
	w.Header().Set("Cache-Control", "no-cache, no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	out := eventWriter{server: s, w: w, stream: read.stream.Name()}
	for told := false; ; told = true {
		out.begin()
		out.messages(&page)
		if told && page.Cursor == out.id && !page.ended() {
			out.text(":\n\n")
		} else {
			out.control(&page, &read.cursor)
		}
		left := end.Sub(s.clock.Now())
		if taken := out.end(); !taken || page.ended() || page.drained || left <= 0 {
			return nil
		}
		if page, err = read.follower.next(min(heartbeat, left), ssePage); err != nil {
			s.tooLate(read.request, err) // the client's next request gets the error as a status
			return nil
		}
	}
}

// messages writes a page's messages as one data event: an array with one line for each.
func (e *eventWriter) messages(p *tailPage) {
	if len(p.Entries) == 0 {
		return
	}
	e.text("event: data\ndata: [\n")
	for i, f := range p.Entries {
		if i > 0 {
			e.text(",\n")
		}
		e.text("data: ")
		e.data(f.Event)
	}
	e.text("\ndata: ]\n\n")
	e.server.observer.Metrics().Served.WithLabelValues(e.stream).Add(float64(len(p.Entries)))
}

// control writes the reader's position after a page.
func (e *eventWriter) control(p *tailPage, cursor *collapser) {
	e.id = p.Cursor
	// No space after "data:": all servers write it so, and some clients require it.
	e.text("event: control\ndata:{\"streamNextOffset\":\"")
	e.text(formatOffset(p.Cursor))
	e.text(`"`)
	if p.ended() {
		e.text(`,"streamClosed":true`) // and no cursor: there is no next request
	} else {
		e.text(`,"streamCursor":"`)
		e.text(cursor.next(e.server.clock.Now()))
		e.text(`"`)
	}
	if p.Behind == 0 {
		e.text(`,"upToDate":true`)
	}
	e.text("}\n\n")
}
