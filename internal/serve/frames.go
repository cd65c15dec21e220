package serve

import (
	"math/bits"
	"net/http"
	"strconv"
	"time"

	"tempestd/internal/plain"
	"tempestd/persistence"
)

const (
	chunkSize     = 64 << 10  // bytes of a response's buffer, and so of its writes
	maxResponse   = 8 << 20   // bytes of entries in one response; one entry is always allowed
	minReadRate   = 128 << 10 // bytes per second at which a client must take a response
	frameOverhead = 64        // upper bound of the bytes around one event
)

// writePage writes a page as writeHeaded does, with an empty head.
func (s *Server) writePage(w http.ResponseWriter, stream string, p *tailPage) {
	s.writeHeaded(w, stream, "", p)
}

// The JSON around an entry in a page.
const (
	beforeID    = `{"id":"`
	beforeEvent = `","event":`
	afterEvent  = `}`
)

// writeHeaded writes a page as this JSON object, where ? marks members that may be absent:
//
//	{head"frames":[{"id":…,"event":…}],"count":n,"cursor":…,"oldest"?,"newest"?,
//	"lag_entries":n,"lag_ms":n,"up_to_date":…,"closed_at"?,"closed_reason"?}
func (s *Server) writeHeaded(w http.ResponseWriter, stream, head string, p *tailPage) {
	s.allow(w, time.Duration(p.size)*time.Second/minReadRate)

	begin, end := "{"+head+`"frames":[`, pageEnd(p)
	size := len(begin) + len(end) + max(len(p.Entries)-1, 0)
	for i := range p.Entries {
		size += len(beforeID) + idLen(p.Entries[i].ID) + len(beforeEvent) + len(p.Entries[i].Event) + len(afterEvent)
	}
	pooled := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(pooled)
	out := sizedJSON(w, *pooled, size)
	out.text(begin)
	for i, f := range p.Entries {
		if i > 0 {
			out.text(",")
		}
		out.text(beforeID)
		out.id(f.ID)
		out.text(beforeEvent)
		out.bytes(f.Event)
		out.text(afterEvent)
	}
	out.bytes(end)
	out.flush()
	s.observer.Metrics().Served.WithLabelValues(stream).Add(float64(len(p.Entries)))
}

// pageEnd returns the JSON that follows a page's entries.
func pageEnd(p *tailPage) []byte {
	b := make([]byte, 0, 256)
	id := func(name string, id persistence.EntryID) {
		b = append(b, name...)
		b, _ = id.AppendText(b) // cannot fail
		b = append(b, '"')
	}
	b = append(b, `],"count":`...)
	b = strconv.AppendInt(b, int64(len(p.Entries)), 10)
	id(`,"cursor":"`, p.Cursor)
	if !p.Newest.IsZero() {
		id(`,"oldest":"`, p.Oldest)
		id(`,"newest":"`, p.Newest)
	}
	b = append(b, `,"lag_entries":`...)
	b = strconv.AppendInt(b, p.Behind, 10)
	b = append(b, `,"lag_ms":`...)
	b = strconv.AppendInt(b, p.lag().Milliseconds(), 10)
	b = append(b, `,"up_to_date":`...)
	b = strconv.AppendBool(b, p.Behind == 0)
	if p.IsClosed() {
		b = append(b, `,"closed_at":"`...)
		b = p.ClosedAt.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","closed_reason":`...)
		b = plain.Quote(b, p.ClosedReason)
	}
	return append(b, "}\n"...)
}

// idLen returns the length of an ID's text.
func idLen(id persistence.EntryID) int { return digits(id.MS) + len("-") + digits(id.Seq) }

// digits returns the number of decimal digits of v.
func digits(v uint64) int {
	// 1233/4096 is a little less than log10(2): n is the number of digits, or one less.
	n := bits.Len64(v|1) * 1233 >> 12
	if v >= powersOf10[n] {
		n++
	}
	return max(n, 1)
}

// powersOf10 are the powers of 10 that a uint64 can hold.
var powersOf10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// chunks writes a body through a buffer of fixed size. After a failed write it discards the rest:
// the client is gone or was too slow, and the HTTP server closes the connection.
type chunks struct {
	w   http.ResponseWriter
	buf []byte
	// before is called before every write, to set a new deadline. It is nil if one deadline covers
	// all writes.
	before func()
	err    error
}

// sizedJSON begins a JSON body of size bytes, written through buf. A known length saves both sides
// a second system call for every write.
func sizedJSON(w http.ResponseWriter, buf []byte, size int) chunks {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	return chunks{w: w, buf: buf[:0]}
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
	c.buf, _ = id.AppendText(c.buf) // cannot fail
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
	if c.before != nil {
		c.before()
	}
	if c.err == nil {
		_, c.err = c.w.Write(p)
	}
}
