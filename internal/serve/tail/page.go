package tail

import (
	"math/bits"
	"net/http"
	"strconv"
	"time"

	"tempestd/internal/plain"
	"tempestd/persistence"
)

// The JSON around an entry in a page.
const (
	beforeID    = `{"id":"`
	beforeEvent = `","event":`
	afterEvent  = `}`
)

// WritePage writes a page of a stream as this JSON object, where ? marks members that may be
// absent. head is "" or members with a comma after each.
//
//	{head"frames":[{"id":…,"event":…}],"count":n,"cursor":…,"oldest"?,"newest"?,
//	"lag_entries":n,"lag_ms":n,"up_to_date":…,"closed_at"?,"closed_reason"?}
func (t *Tails) WritePage(w http.ResponseWriter, stream, head string, p *Page) {
	Allow(w, p.WriteTime())

	begin, end := "{"+head+`"frames":[`, pageEnd(p)
	size := len(begin) + len(end) + max(len(p.Entries)-1, 0)
	for i := range p.Entries {
		size += len(beforeID) + idLen(p.Entries[i].ID) + len(beforeEvent) + len(p.Entries[i].Event) + len(afterEvent)
	}
	buf := t.Buffers.Get(size)
	defer t.Buffers.Put(buf)
	out := SizedJSON(w, *buf, size)
	out.Text(begin)
	for i, f := range p.Entries {
		if i > 0 {
			out.Text(",")
		}
		out.Text(beforeID)
		out.ID(f.ID)
		out.Text(beforeEvent)
		out.Bytes(f.Event)
		out.Text(afterEvent)
	}
	out.Bytes(end)
	out.Flush()
	t.observer.Metrics().Served.WithLabelValues(stream).Add(float64(len(p.Entries)))
}

// pageEnd returns the JSON that follows a page's entries.
func pageEnd(p *Page) []byte {
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
	b = strconv.AppendInt(b, p.Lag().Milliseconds(), 10)
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
