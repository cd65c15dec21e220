package durable

import (
	"net/http"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
)

// sseLife is how long a connection is kept (section 9.2). Readers that reconnect can then share a
// cache's answer again.
const sseLife = 60 * time.Second

// events answers with an event stream until sseLife has passed (section 5.8). Each data event has
// messages, and a control event after it says where they end.
func (h *Handler) events(w http.ResponseWriter, read *reading) error {
	release, err := h.tails.Admit(read.request, read.stream.Name(), sseLife)
	if err != nil {
		return err
	}
	defer release()
	end := h.clock.Now().Add(sseLife)
	page, err := read.follower.Next(0, tail.EventPage)
	if err != nil {
		return asOffset(err)
	}
	// Proxies recognize an event stream by no-cache.
	w.Header().Set("Cache-Control", "no-cache, no-store")
	out := events{h.tails.Events(w)}
	said := messages.EntryID{} // the position that the client was told
	read.follower.Patient = true
	for first := true; ; first = false {
		out.Begin(page.Size)
		out.messages(&page)
		if len(page.Entries) > 0 {
			h.observer.Metrics().Served.WithLabelValues(read.stream.Name()).Add(float64(len(page.Entries)))
		}
		if !first && page.Cursor == said && !page.Ended() {
			out.Text(":\n\n")
		} else {
			out.control(&page, read.cursor.next(h.clock.Now()))
			said = page.Cursor
		}
		left := end.Sub(h.clock.Now())
		if taken := out.End(); !taken || page.Ended() || page.Drained || left <= 0 {
			return nil
		}
		page = tail.Page{} // or it would stay in memory while the next one is waited for
		if page, err = read.follower.Next(min(tail.Heartbeat, left), tail.EventPage); err != nil {
			api.TooLate(h.observer, read.request, err) // the client's next request gets the error as a status
			return nil
		}
	}
}

// events writes the events of the protocol.
type events struct{ *tail.Events }

// messages writes a page's messages as one data event: an array with one line for each.
func (e events) messages(p *tail.Page) {
	if len(p.Entries) == 0 {
		return
	}
	e.Text("event: data\ndata: [\n")
	for i, f := range p.Entries {
		if i > 0 {
			e.Text(",\n")
		}
		e.Text("data: ")
		e.Data(f.Event)
	}
	e.Text("\ndata: ]\n\n")
}

// control writes the reader's position after a page, and its cursor for the next request.
func (e events) control(p *tail.Page, cursor string) {
	// No space after "data:": all servers write it so, and some clients require it.
	e.Text("event: control\ndata:{\"streamNextOffset\":\"")
	e.Text(formatOffset(p.Cursor))
	e.Text(`"`)
	if p.Ended() {
		e.Text(`,"streamClosed":true`) // and no cursor: there is no next request
	} else {
		e.Text(`,"streamCursor":"`)
		e.Text(cursor)
		e.Text(`"`)
	}
	if p.Behind == 0 {
		e.Text(`,"upToDate":true`)
	}
	e.Text("}\n\n")
}
