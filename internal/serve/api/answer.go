package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"tempestd/internal/observe"
	"tempestd/internal/plain"
	"tempestd/persistence"
)

// statusClientGone is nginx's number. It is the status, in the metrics only, of a request whose
// client left before the answer.
const statusClientGone = 499

// RouteOf returns the name of the request's route for metrics and events: the pattern, never the
// path, because a client can vary the path without limit.
func RouteOf(r *http.Request) string { return cmp.Or(r.Pattern, "none") }

// Fail answers a request with err.
func Fail(o *observe.Observer, w http.ResponseWriter, r *http.Request, err error) {
	if _, refused := errors.AsType[*Error](err); r.Context().Err() != nil && !refused {
		w.WriteHeader(statusClientGone) // only the metrics see it
		return
	}
	e := Resolve(o, r, err)
	for k, v := range e.Header {
		w.Header().Set(k, v)
	}
	WriteJSON(w, e.Status, e.Body())
}

// Resolve returns the response to a request that ended with err. It logs a fault of the daemon.
func Resolve(o *observe.Observer, r *http.Request, err error) *Error {
	e, ours := ErrorOf(err)
	if e.Name == NameOverloaded {
		o.Metrics().Refused.WithLabelValues("memory").Inc()
	}
	if ours {
		o.Emit(observe.HTTPError, "", "route", RouteOf(r), "id", e.ID, "error", err)
	}
	return e
}

// TooLate logs a fault of the daemon when the response has already begun and cannot report it.
func TooLate(o *observe.Observer, r *http.Request, err error) {
	if r.Context().Err() == nil {
		Resolve(o, r, err)
	}
}

// ErrorBody is the body of every error response.
type ErrorBody struct {
	Error   string `json:"error"`
	Message string `json:"message"`
	// OldestCursor is only in a CursorExpired error. Nothing after it is missing.
	OldestCursor persistence.EntryID `json:"oldest_cursor,omitzero"`
}

// Body returns the body of the error's response.
func (e *Error) Body() ErrorBody { return ErrorBody{e.Name, e.Message, e.Oldest} }

// WriteJSON writes v, which must have a JSON form. The HTTP server handles a failed write.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // messages contain "<ms>-<seq>" for people to read
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("serve: %T has no JSON form: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	text := body.Bytes()
	if !plain.IsASCII(text) {
		text = plain.Escape(nil, text)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
