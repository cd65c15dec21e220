package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

// Options configure a Handler. All fields are required.
type Options struct {
	Store    persistence.Store
	Tails    *tail.Tails
	Clock    clockwork.Clock
	Observer *observe.Observer
	// Private says that only clients with a token may read, so that no shared cache may keep pages.
	Private bool
}

// Handler serves the read side of the protocol. It is safe for concurrent use.
type Handler struct {
	store    persistence.Store
	tails    *tail.Tails
	clock    clockwork.Clock
	observer *observe.Observer
	private  bool
}

// New returns a handler.
func New(o Options) *Handler {
	return &Handler{store: o.Store, tails: o.Tails, clock: o.Clock, observer: o.Observer, private: o.Private}
}

// Routes returns the routes of the protocol.
func (h *Handler) Routes() []api.Route {
	return []api.Route{{Pattern: "/streams/{stream}", Methods: api.Methods{"GET": h.read}}}
}

// The parameters of the protocol, and as an extension (section 10.1) the filter that every tail
// has.
var params = slices.Concat([]string{"offset", "live", "cursor", api.RepairedParam}, api.FilterParams)

const (
	liveLongPoll = "long-poll"
	liveSSE      = "sse"
)

// read answers GET and HEAD of a stream's URL.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		return h.head(w, r)
	}
	share, err := h.tails.Share(r)
	if err != nil {
		return err
	}
	defer share.Close()
	p := api.ParseKnown(r, params...)
	live := liveOf(p)
	read := reading{request: r, from: offsetOf(p, live != ""), cursor: newCollapser(collapse(p), h.clock.Now())}
	matcher := p.Matcher()
	if p.Err != nil {
		return p.Err
	}
	stream, err := h.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	read.stream = stream
	after, end, err := h.place(r.Context(), stream, read.from)
	if err != nil {
		return err
	}
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin") // section 11.7
	if live == "" && read.from.now {
		h.writeTail(w, &read, end)
		return nil
	}
	if read.follower, err = h.tails.Follow(r.Context(), share, stream, after, matcher); err != nil {
		return err
	}
	defer read.follower.Close()
	switch live {
	case liveLongPoll:
		return h.longPoll(w, &read)
	case liveSSE:
		return h.events(w, &read)
	}
	return h.catchUp(w, &read)
}

// reading is one request to read a stream.
type reading struct {
	request  *http.Request
	stream   persistence.Stream
	from     position
	cursor   collapser
	follower *tail.Follower
}

// head answers with the stream's metadata (section 5.5).
func (h *Handler) head(w http.ResponseWriter, r *http.Request) error {
	stream, err := h.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	_, end, err := h.place(r.Context(), stream, position{now: true})
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Stream-Next-Offset", formatOffset(end.at))
	if end.closed {
		header.Set("Stream-Closed", "true")
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// streamEnd is the end of a stream.
type streamEnd struct {
	at     messages.EntryID // the last entry that the stream ever had
	closed bool             // the stream is closed for good
}

// place returns the entry after which a read begins, 0-0 for the beginning of the stored entries,
// and the end if from asks for it.
func (h *Handler) place(ctx context.Context, stream persistence.Stream, from position) (messages.EntryID, streamEnd, error) {
	if !from.start && !from.now && !from.after.IsZero() {
		return from.after, streamEnd{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, api.BriefTimeout)
	defer cancel()
	info, err := stream.Info(ctx)
	switch {
	case err != nil:
		return messages.EntryID{}, streamEnd{}, err
	case from.now:
		end := streamEnd{closed: info.ClosedAt != nil}
		// Retention may have dropped every entry.
		if last := cmp.Or(info.Newest, info.Trimmed); last != nil {
			end.at = *last
		}
		return end.at, end, nil
	case from.start && info.Newest == nil && info.Trimmed != nil:
		return *info.Trimmed, streamEnd{}, nil // nothing is stored: the beginning is the tail
	case !from.start && info.Trimmed != nil:
		// The offset of an empty stream is a position like any other and can be overtaken by
		// retention. Only the sentinel "-1" asks for the oldest entry there is.
		return messages.EntryID{}, streamEnd{}, errOffsetGone(from.after, *info.Trimmed)
	}
	return messages.EntryID{}, streamEnd{}, nil
}

// asOffset turns an error about entry IDs into one about offsets. An entry that cannot be read
// is answered as gone (410, section 5.6), because waiting does not bring it back, and protocol
// clients repeat a request for ever when the answer is a 500.
func asOffset(err error) error {
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		return errOffsetGone(expired.Cursor, expired.Oldest)
	}
	if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		return &api.Error{Status: http.StatusGone, Name: api.NameCorruptBlock, Message: fmt.Sprintf(
			"offset: the entries after it are damaged in the store; reading goes on, with a loss, at offset=%s", formatOffset(corrupt.Block))}
	}
	return err
}

// offsetOf returns where the read begins. The default of a catch-up is the beginning; the live
// modes require the parameter (sections 5.6 to 5.8).
func offsetOf(p *api.Params, required bool) position {
	const name = "offset"
	if !p.Values.Has(name) {
		if required {
			p.Fail(api.Missing(name, acceptedOffset))
		}
		return position{start: true}
	}
	from, err := parsePosition(p.Values.Get(name))
	if err != nil {
		p.Fail(err)
	}
	return from
}

// liveOf returns the mode, "" for a catch-up.
func liveOf(p *api.Params) string {
	const name = "live"
	mode := p.Values.Get(name)
	if p.Values.Has(name) && mode != liveLongPoll && mode != liveSSE {
		p.Fail(api.Invalid(name, mode, strconv.Quote(liveLongPoll)+" or "+strconv.Quote(liveSSE)))
	}
	return mode
}
