package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// The read side of the Durable Streams protocol, version 1.0
// (github.com/durable-streams/durable-streams). The sections that the durable*.go files cite are
// those of its protocol document.
//
// A stream has the content type application/json. Its messages are the events of the entries, gap
// entries included, byte for byte. A reader remembers one offset and asks for the messages after
// it: page by page (durable_page.go), with a wait for more (live=long-poll), or as one response
// that goes on (live=sse, durable_sse.go). The write side is not served (section 3 lets a server
// implement one side): the only writer of a stream is its feed, and PUT, POST and DELETE are
// answered 405.

// The parameters of the protocol, and as an extension (section 10.1) the filter that every tail
// has.
var durableParams = slices.Concat([]string{"offset", "live", "cursor"}, filterParams)

const (
	liveLongPoll = "long-poll"
	liveSSE      = "sse"
)

// durable answers GET and HEAD of a stream's URL.
func (s *Server) durable(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		return s.durableHead(w, r)
	}
	p := parseKnown(r, durableParams...)
	live := p.live()
	read := durableRead{request: r, from: p.offset(live != ""), cursor: newCollapser(p.collapse(), s.clock.Now())}
	filter := p.filter()
	if p.err != nil {
		return p.err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	read.stream = stream
	after, tail, err := s.place(r.Context(), stream, read.from)
	if err != nil {
		return err
	}
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin") // section 11.7
	if live == "" && read.from.now {
		s.writeTail(w, &read, tail)
		return nil
	}
	read.follower = s.follow(r.Context(), stream, after, jetstream.NewMatcher(filter))
	defer read.follower.close()
	switch live {
	case liveLongPoll:
		return s.longPoll(w, &read)
	case liveSSE:
		return s.durableSSE(w, &read)
	}
	return s.catchUp(w, &read)
}

// durableRead is one request to read a stream.
type durableRead struct {
	request  *http.Request
	stream   persistence.Stream
	from     position
	cursor   collapser
	follower *follower
}

// durableHead answers with the stream's metadata (section 5.5).
func (s *Server) durableHead(w http.ResponseWriter, r *http.Request) error {
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	_, tail, err := s.place(r.Context(), stream, position{now: true})
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Stream-Next-Offset", formatOffset(tail.at))
	if tail.closed {
		h.Set("Stream-Closed", "true")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// streamTail is the end of a stream.
type streamTail struct {
	at     messages.EntryID // the last entry that the stream ever had
	closed bool             // the stream is closed for good
}

// place returns the entry after which a read begins, 0-0 for the beginning of the stored entries,
// and the tail if from asks for it.
func (s *Server) place(ctx context.Context, stream persistence.Stream, from position) (messages.EntryID, streamTail, error) {
	if !from.start && !from.now && !from.after.IsZero() {
		return from.after, streamTail{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, briefTimeout)
	defer cancel()
	info, err := stream.Info(ctx)
	switch {
	case err != nil:
		return messages.EntryID{}, streamTail{}, err
	case from.now:
		tail := streamTail{closed: info.ClosedAt != nil}
		// Retention may have dropped every entry.
		if last := cmp.Or(info.Newest, info.Trimmed); last != nil {
			tail.at = *last
		}
		return tail.at, tail, nil
	case from.start && info.Newest == nil && info.Trimmed != nil:
		return *info.Trimmed, streamTail{}, nil // nothing is stored: the beginning is the tail
	case !from.start && info.Trimmed != nil:
		// The offset of an empty stream is a position like any other and can be overtaken by
		// retention. Only the sentinel "-1" asks for the oldest entry there is.
		return messages.EntryID{}, streamTail{}, errOffsetGone(from.after, *info.Trimmed)
	}
	return messages.EntryID{}, streamTail{}, nil
}

// durableError turns an error about entry IDs into one about offsets. An entry that cannot be read
// is answered as gone (410, section 5.6), because waiting does not bring it back, and protocol
// clients repeat a request for ever when the answer is a 500.
func durableError(err error) error {
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		return errOffsetGone(expired.Cursor, expired.Oldest)
	}
	if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		return &apiError{status: http.StatusGone, name: nameCorruptBlock, message: fmt.Sprintf(
			"offset: the entries after it are damaged in the store; reading goes on, with a loss, at offset=%s", formatOffset(corrupt.Block))}
	}
	return err
}

// parseKnown reads the query as parseParams does, but ignores unknown parameters: the protocol
// requires that for its extensions (section 10.1).
func parseKnown(r *http.Request, known ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &params{err: invalid("query", r.URL.RawQuery, "name=value pairs joined by &, percent-encoded")}
	}
	p := &params{values: values}
	for _, name := range known {
		if given := values[name]; len(given) > 1 && !slices.Contains(filterParams, name) {
			p.fail(invalid(name, strings.Join(given, " and "), "one value"))
		}
	}
	return p
}

// offset returns where the read begins. The default of a catch-up is the beginning; the live modes
// require the parameter (sections 5.6 to 5.8).
func (p *params) offset(required bool) position {
	const name = "offset"
	if !p.values.Has(name) {
		if required {
			p.fail(&apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: name + ": missing; accepted: " + acceptedOffset})
		}
		return position{start: true}
	}
	from, err := parsePosition(p.values.Get(name))
	if err != nil {
		p.fail(err)
	}
	return from
}

// live returns the mode, "" for a catch-up.
func (p *params) live() string {
	const name = "live"
	mode := p.values.Get(name)
	if p.values.Has(name) && mode != liveLongPoll && mode != liveSSE {
		p.fail(invalid(name, mode, strconv.Quote(liveLongPoll)+" or "+strconv.Quote(liveSSE)))
	}
	return mode
}
