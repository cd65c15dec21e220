package tail

import (
	"bytes"
	"net/http"
	"time"
)

const (
	// EventStream is the content type of server-sent events (HTML standard).
	EventStream = "text/event-stream"
	// Heartbeat is the longest silence of an event stream: proxies cut a connection that is silent
	// for longer.
	Heartbeat = 10 * time.Second
	// EventPage is how many entries one read of an event stream brings.
	EventPage = 1000
)

// Events writes a response of server-sent events. It has a buffer only between Begin and End.
type Events struct {
	Chunks
	tails *Tails
	buf   *[]byte
}

// Events returns a writer of an event stream to w.
func (t *Tails) Events(w http.ResponseWriter) *Events {
	w.Header().Set("Content-Type", EventStream)
	w.Header().Set("X-Accel-Buffering", "no") // or a proxy would hold events back
	return &Events{Chunks: Chunks{w: w, before: func() { Allow(w, 0) }}, tails: t}
}

// Begin takes a buffer for the events that follow, which have about that many bytes.
func (e *Events) Begin(bytes int) {
	e.buf = e.tails.Buffers.Get(bytes)
	e.Chunks.buf = *e.buf
}

// End sends the buffered events. When it returns false, the client has left or was too slow, and
// the connection is lost.
func (e *Events) End() (taken bool) {
	e.Flush()
	e.tails.Buffers.Put(e.buf)
	e.buf, e.Chunks.buf = nil, nil
	if e.Err == nil {
		e.Err = http.NewResponseController(e.w).Flush()
	}
	return e.Err == nil
}

// Data writes an event's data, behind the text "data: ". JSON has line ends only between its
// tokens; after each of them a new data line begins.
func (e *Events) Data(event []byte) {
	for i := lineEnd(event); i >= 0; i = lineEnd(event) {
		e.Bytes(event[:i])
		e.Text("\ndata: ")
		event = event[i+1:]
	}
	e.Bytes(event)
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
