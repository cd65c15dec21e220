package durable

import (
	"net/http"
	"strings"
	"time"

	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// pageLimit is the largest number of messages in a page; its bytes are bounded as those of
	// every page.
	pageLimit = persistence.MaxCount
	// longPollWait is how long a long-poll waits for the first message (section 5.7, Timeout
	// Behavior). It is shorter than the time that proxies commonly wait for a response.
	longPollWait = 25 * time.Second
)

// catchUp answers with the messages after the offset (section 5.6).
func (h *Handler) catchUp(w http.ResponseWriter, read *reading) error {
	page, err := read.follower.Next(0, pageLimit)
	if err != nil {
		return asOffset(err)
	}
	h.writeMessages(w, read, &page)
	return nil
}

// writeTail answers a catch-up from "now": no message, however new, and the offset of the tail
// (section 7, now).
func (h *Handler) writeTail(w http.ResponseWriter, read *reading, end streamEnd) {
	h.placeHeaders(w.Header(), read, end.at, true, end.closed)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("[]")) // the HTTP server handles a failed write
}

// longPoll answers with the messages after the offset, or waits for the first one (section 5.7).
func (h *Handler) longPoll(w http.ResponseWriter, read *reading) error {
	release, err := h.tails.Admit(read.request, read.stream.Name(), longPollWait)
	if err != nil {
		return err
	}
	defer release()
	tail.Allow(w, longPollWait)
	page, err := read.follower.Next(longPollWait, pageLimit)
	if err != nil {
		return asOffset(err)
	}
	if page.Drained {
		w.Header().Set("Connection", "close")
	}
	if len(page.Entries) > 0 {
		h.writeMessages(w, read, &page)
		return nil
	}
	h.placeHeaders(w.Header(), read, page.Cursor, page.Behind == 0, page.Ended())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// placeHeaders sets the headers that say where the response ends, whether that is the end of the
// stored messages, and whether the stream is closed.
func (h *Handler) placeHeaders(header http.Header, read *reading, next messages.EntryID, upToDate, closed bool) {
	header.Set("Stream-Next-Offset", formatOffset(next))
	if upToDate {
		header.Set("Stream-Up-To-Date", "true")
	}
	if closed {
		header.Set("Stream-Closed", "true") // and no cursor: there is no next request
	} else {
		header.Set("Stream-Cursor", read.cursor.next(h.clock.Now()))
	}
}

// writeMessages writes the page as a JSON array (section 8.1.5), or a 304 for a client that has the
// page.
func (h *Handler) writeMessages(w http.ResponseWriter, read *reading, page *tail.Page) {
	header := w.Header()
	h.placeHeaders(header, read, page.Cursor, page.Behind == 0, page.Ended())
	if !read.from.now { // a page from "now" is different each time
		header.Set("Cache-Control", h.cacheControl())
		etag := entityTag(read, page)
		header.Set("ETag", etag)
		if hasTag(read.request.Header.Values("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	tail.Allow(w, page.WriteTime())
	size := len("[]") + max(len(page.Entries)-1, 0)
	for i := range page.Entries {
		size += len(page.Entries[i].Event)
	}
	buf := h.tails.Buffers.Get(size)
	defer h.tails.Buffers.Put(buf)
	out := tail.SizedJSON(w, *buf, size)
	out.Text("[")
	for i, f := range page.Entries {
		if i > 0 {
			out.Text(",")
		}
		out.Bytes(f.Event)
	}
	out.Text("]")
	out.Flush()
	h.observer.Metrics().Served.WithLabelValues(read.stream.Name()).Add(float64(len(page.Entries)))
}

// cacheControl says which caches may keep a page (section 9.1): any cache if the stream is public,
// only the client's own if the daemon has a token.
func (h *Handler) cacheControl() string {
	const rest = ", max-age=60, stale-while-revalidate=300"
	if h.private {
		return "private" + rest
	}
	return "public" + rest
}

// entityTag returns the page's tag: stream, beginning, end, and whether the stream ends there
// (section 9.1). Without the last part a 304 would hide that the stream was closed.
func entityTag(read *reading, page *tail.Page) string {
	tag := make([]byte, 0, 192)
	tag = append(tag, '"')
	tag = append(tag, read.stream.Name()...)
	tag = append(tag, ':')
	if read.from.start {
		tag = append(tag, "-1."...)
		tag = appendOffset(tag, page.Oldest) // retention moves the beginning
	} else {
		tag = appendOffset(tag, read.from.after)
	}
	tag = append(tag, ':')
	tag = appendOffset(tag, page.Cursor)
	if page.Ended() {
		tag = append(tag, ":c"...)
	}
	return string(append(tag, '"'))
}

// hasTag reports whether an If-None-Match header names the tag. It uses the weak comparison, as
// that header requires (RFC 9110, 13.1.2). The tags of this server contain no comma.
func hasTag(fields []string, tag string) bool {
	for _, field := range fields {
		for given := range strings.SplitSeq(field, ",") {
			if given = strings.TrimSpace(given); given == "*" || strings.TrimPrefix(given, "W/") == tag {
				return true
			}
		}
	}
	return false
}
