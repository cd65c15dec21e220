package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"tempestd/internal/observe"
	"tempestd/internal/plain"
	"tempestd/messages"
	"tempestd/persistence"
)

// Names of the errors in responses. They are part of the API.
const (
	nameInvalidRequest   = "InvalidRequest"
	nameUnauthorized     = "Unauthorized"
	nameForbidden        = "Forbidden"
	nameNoSuchRoute      = "NoSuchRoute"
	nameNoSuchFeed       = "NoSuchFeed"
	nameNoSuchStream     = "NoSuchStream"
	nameNoSuchConsumer   = "NoSuchConsumer"
	nameConsumerExists   = "ConsumerExists"
	nameTooManyConsumers = "TooManyConsumers"
	nameLeaseLost        = "LeaseLost"
	nameMethodNotAllowed = "MethodNotAllowed"
	nameNotNow           = "NotNow"
	nameBodyTooLarge     = "BodyTooLarge"
	nameBodyTooSlow      = "BodyTooSlow"
	nameTooManyTails     = "TooManyTails"
	nameCursorExpired    = "CursorExpired"
	nameInternal         = "InternalError"
	nameCorruptBlock     = "CorruptBlock"
	nameShuttingDown     = "ShuttingDown"
	nameStoreUnavailable = "StoreUnavailable"
	nameNoAnswer         = "NoAnswer"
)

// failed returns the error that a client sees when the daemon is at fault: it shows only an ID,
// under which the log has the details.
func failed() *apiError {
	var b [4]byte
	_, _ = rand.Read(b[:]) // cannot fail
	id := hex.EncodeToString(b[:])
	return &apiError{status: http.StatusInternalServerError, name: nameInternal, id: id, message: "the request failed; the daemon's log says why, under the id " + id}
}

// apiError is an error with its HTTP response.
type apiError struct {
	status  int
	name    string
	message string
	oldest  persistence.EntryID // of an expired cursor: the oldest cursor that is valid
	id      string              // of a fault of the daemon, also in the log
	header  map[string]string   // further headers
}

func (e *apiError) Error() string { return e.name + ": " + e.message }

// statusClientGone is nginx's number. It is the status, in the metrics only, of a request whose
// client left before the answer.
const statusClientGone = 499

// invalid returns a 400 that names the parameter, the given value and the accepted values.
func invalid(param, given, accepted string) error {
	return &apiError{status: http.StatusBadRequest, name: nameInvalidRequest,
		message: fmt.Sprintf("%s: got %s; accepted: %s", param, quote(given), accepted)}
}

// quote returns s in quotes, cut to at most 64 bytes for a message.
func quote(s string) string {
	const limit = 64
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// retryAfter returns the header that says in how many seconds to try again.
func retryAfter(seconds int) map[string]string {
	return map[string]string{"Retry-After": strconv.Itoa(seconds)}
}

func errShuttingDown() *apiError {
	return &apiError{status: http.StatusServiceUnavailable, name: nameShuttingDown, message: "the daemon is stopping; try again shortly",
		header: map[string]string{"Retry-After": "2", "Connection": "close"}}
}

// toAPI turns a handler's error into a response. ours says that the daemon is at fault and that
// nothing has logged the error yet.
func toAPI(err error) (api *apiError, ours bool) {
	// The message of a CorruptError tells a reader how to continue.
	if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		return &apiError{status: http.StatusInternalServerError, name: nameCorruptBlock, message: corrupt.Error()}, false
	}
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		return &apiError{status: http.StatusGone, name: nameCursorExpired, message: expired.Error(), oldest: expired.Oldest}, false
	}
	switch {
	case errors.As(err, &api):
		return api, false
	case errors.Is(err, messages.ErrNoFeed):
		return &apiError{status: http.StatusNotFound, name: nameNoSuchFeed, message: err.Error()}, false
	case errors.Is(err, messages.ErrNotNow):
		return &apiError{status: http.StatusConflict, name: nameNotNow, message: err.Error()}, false
	case errors.Is(err, persistence.ErrNoStream):
		return &apiError{status: http.StatusNotFound, name: nameNoSuchStream, message: err.Error()}, false
	case errors.Is(err, persistence.ErrNoConsumer):
		return &apiError{status: http.StatusNotFound, name: nameNoSuchConsumer, message: err.Error()}, false
	case errors.Is(err, persistence.ErrBadName), errors.Is(err, persistence.ErrBadCursor), errors.Is(err, persistence.ErrBadBound):
		return &apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: err.Error()}, false
	case errors.Is(err, persistence.ErrStoreClosed):
		return errShuttingDown(), false
	case persistence.Temporary(err): // the readiness and the store's own events report it too
		return &apiError{status: http.StatusServiceUnavailable, name: nameStoreUnavailable, message: err.Error(), header: retryAfter(2)}, false
	case errors.Is(err, context.DeadlineExceeded):
		return &apiError{status: http.StatusServiceUnavailable, name: nameNoAnswer, message: "the daemon did not answer in time; try again",
			header: retryAfter(1)}, true
	}
	return failed(), true
}

// fail answers a request with err.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if _, refused := errors.AsType[*apiError](err); r.Context().Err() != nil && !refused {
		w.WriteHeader(statusClientGone) // only the metrics see it
		return
	}
	api, ours := toAPI(err)
	if ours {
		s.tellFault(r, api, err)
	}
	for k, v := range api.header {
		w.Header().Set(k, v)
	}
	writeJSON(w, api.status, errorBody{api.name, api.message, api.oldest})
}

// tooLate logs a fault of the daemon when the response has already begun and cannot report it.
func (s *Server) tooLate(r *http.Request, err error) {
	if api, ours := toAPI(err); ours && r.Context().Err() == nil {
		s.tellFault(r, api, err)
	}
}

// tellFault logs a fault of the daemon.
func (s *Server) tellFault(r *http.Request, api *apiError, err error) {
	s.observer.Emit(observe.HTTPError, "", "route", route(r), "id", api.id, "error", err)
}

// errorBody is the body of every error response.
type errorBody struct {
	Error   string `json:"error"`
	Message string `json:"message"`
	// OldestCursor is only in a CursorExpired error. Nothing after it is missing.
	OldestCursor persistence.EntryID `json:"oldest_cursor,omitzero"`
}

// writeJSON writes v, which must have a JSON form. The HTTP server handles a failed write.
func writeJSON(w http.ResponseWriter, status int, v any) {
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
