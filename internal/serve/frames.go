package serve

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tempestd/persistence"
)

const (
	chunkSize     = 64 << 10  // of the buffer a response goes through, and so of its writes
	maxResponse   = 8 << 20   // bytes of frames in one response; one frame is always allowed
	minReadRate   = 128 << 10 // bytes a second, at which a client has to take a response
	frameOverhead = 64        // a bound on the bytes around one event
)

// writePage writes what writeHeaded does, with nothing before it.
func (s *Server) writePage(w http.ResponseWriter, stream string, p *tailPage) {
	s.writeHeaded(w, stream, "", p)
}

// writeHeaded writes {head"frames":[{"id":…,"event":…}],"count":n,"cursor":…,"oldest"?,"newest"?,"lag_entries":n,"lag_ms":n,"up_to_date":…,"closed_at"?,"closed_reason"?}.
func (s *Server) writeHeaded(w http.ResponseWriter, stream, head string, p *tailPage) {
	s.allow(w, time.Duration(p.size)*time.Second/minReadRate)

	pooled := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(pooled)
	out := chunks{w: w, buf: (*pooled)[:0]}
	w.Header().Set("Content-Type", "application/json")
	out.text("{")
	out.text(head)
	out.text(`"frames":[`)
	for i, f := range p.Frames {
		if i > 0 {
			out.text(",")
		}
		out.text(`{"id":"`)
		out.id(f.ID)
		out.text(`","event":`)
		out.bytes(f.Event)
		out.text("}")
	}
	out.text(`],"count":`)
	out.text(strconv.Itoa(len(p.Frames)))
	out.text(`,"cursor":"`)
	out.id(p.Cursor)
	if !p.Newest.IsZero() {
		out.text(`","oldest":"`)
		out.id(p.Oldest)
		out.text(`","newest":"`)
		out.id(p.Newest)
	}
	out.text(`","lag_entries":`)
	out.text(strconv.FormatInt(p.Behind, 10))
	out.text(`,"lag_ms":`)
	out.text(strconv.FormatInt(p.lag().Milliseconds(), 10))
	out.text(`,"up_to_date":`)
	out.text(strconv.FormatBool(p.Behind == 0))
	if p.IsClosed() {
		out.text(`,"closed_at":"`)
		out.text(p.ClosedAt.UTC().Format(time.RFC3339Nano))
		out.text(`","closed_reason":`)
		reason, _ := json.Marshal(p.ClosedReason) // a string always has a JSON form
		out.bytes(reason)
	}
	out.text("}\n")
	out.end()
	s.observer.Metrics().Served.WithLabelValues(stream).Add(float64(len(p.Frames)))
}

// chunks writes a body through a buffer of fixed size. After a failed write the rest goes nowhere: the client is gone, or was too slow, and
// the server closes the connection.
type chunks struct {
	w       http.ResponseWriter
	buf     []byte
	before  func() // of every write, where one deadline is not for all of them
	flushed bool
	err     error
}

func (c *chunks) text(s string) {
	if len(c.buf)+len(s) > cap(c.buf) {
		c.flush()
	}
	c.buf = append(c.buf, s...)
}

func (c *chunks) id(id persistence.EntryID) {
	if len(c.buf)+frameOverhead > cap(c.buf) {
		c.flush()
	}
	c.buf, _ = id.AppendText(c.buf) // never fails
}

func (c *chunks) bytes(p []byte) {
	if len(c.buf)+len(p) > cap(c.buf) {
		c.flush()
		if len(p) > cap(c.buf) {
			c.write(p)
			return
		}
	}
	c.buf = append(c.buf, p...)
}

func (c *chunks) flush() {
	c.write(c.buf)
	c.buf = c.buf[:0]
}

func (c *chunks) write(p []byte) {
	c.flushed = true
	if c.before != nil {
		c.before()
	}
	if c.err == nil {
		_, c.err = c.w.Write(p)
	}
}

// end writes what is left; a body that fitted the buffer says its length.
func (c *chunks) end() {
	if !c.flushed {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(c.buf)))
	}
	c.flush()
}
