package serve

import (
	"net/http"
	"strings"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// durableLimit is the largest number of messages in a page; maxResponse bounds its bytes.
	durableLimit = persistence.MaxCount
	// longPollWait is how long a long-poll waits for the first message (section 5.7, Timeout
	// Behavior). It is shorter than the time that proxies commonly wait for a response.
	longPollWait = 25 * time.Second
)

// catchUp answers with the messages after the offset (section 5.6).
func (s *Server) catchUp(w http.ResponseWriter, read *durableRead) error {
	page, err := read.follower.next(0, durableLimit)
	if err != nil {
		return durableError(err)
	}
	s.writeMessages(w, read, &page)
	return nil
}

// writeTail answers a catch-up from "now": no message, however new, and the offset of the tail
// (section 7, now).
func (s *Server) writeTail(w http.ResponseWriter, read *durableRead, tail streamTail) {
	s.placeHeaders(w.Header(), read, tail.at, true, tail.closed)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("[]")) // the HTTP server handles a failed write
}

// longPoll answers with the messages after the offset, or waits for the first one (section 5.7).
func (s *Server) longPoll(w http.ResponseWriter, read *durableRead) error {
	release, err := s.admit(read.request, read.stream.Name(), longPollWait)
	if err != nil {
		return err
	}
	defer release()
	s.allow(w, longPollWait)
	page, err := read.follower.next(longPollWait, durableLimit)
	if err != nil {
		return durableError(err)
	}
	if page.drained {
		w.Header().Set("Connection", "close")
	}
	if len(page.Entries) > 0 {
		s.writeMessages(w, read, &page)
		return nil
	}
	s.placeHeaders(w.Header(), read, page.Cursor, page.Behind == 0, page.ended())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// placeHeaders sets the headers that say where the response ends, whether that is the end of the
// stored messages, and whether the stream is closed.
func (s *Server) placeHeaders(h http.Header, read *durableRead, next messages.EntryID, upToDate, closed bool) {
	h.Set("Stream-Next-Offset", formatOffset(next))
	if upToDate {
		h.Set("Stream-Up-To-Date", "true")
	}
	if closed {
		h.Set("Stream-Closed", "true") // and no cursor: there is no next request
	} else {
		h.Set("Stream-Cursor", read.cursor.next(s.clock.Now()))
	}
}

// writeMessages writes the page as a JSON array (section 8.1.5), or a 304 for a client that has the
// page.
func (s *Server) writeMessages(w http.ResponseWriter, read *durableRead, page *tailPage) {
	h := w.Header()
	s.placeHeaders(h, read, page.Cursor, page.Behind == 0, page.ended())
	if !read.from.now { // a page from "now" is different each time
		h.Set("Cache-Control", s.cacheControl())
		etag := entityTag(read, page)
		h.Set("ETag", etag)
		if hasTag(read.request.Header.Values("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	s.allow(w, time.Duration(page.size)*time.Second/minReadRate)
	size := len("[]") + max(len(page.Entries)-1, 0)
	for i := range page.Entries {
		size += len(page.Entries[i].Event)
	}
	pooled := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(pooled)
	out := sizedJSON(w, *pooled, size)
	out.text("[")
	for i, f := range page.Entries {
		if i > 0 {
			out.text(",")
		}
		out.bytes(f.Event)
	}
	out.text("]")
	out.flush()
	s.observer.Metrics().Served.WithLabelValues(read.stream.Name()).Add(float64(len(page.Entries)))
}

// cacheControl says which caches may keep a page (section 9.1): any cache if the stream is public,
// only the client's own if the daemon has a token.
func (s *Server) cacheControl() string {
	const rest = ", max-age=60, stale-while-revalidate=300"
	if s.needsToken {
		return "private" + rest
	}
	return "public" + rest
}

// entityTag returns the page's tag: stream, beginning, end, and whether the stream ends there
// (section 9.1). Without the last part a 304 would hide that the stream was closed.
func entityTag(read *durableRead, page *tailPage) string {
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
	if page.ended() {
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
