package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tempestd/messages"
	"tempestd/persistence"
)

// Names of the errors in responses. They are part of the API.
const (
	NameInvalidRequest   = "InvalidRequest"
	NameUnauthorized     = "Unauthorized"
	NameForbidden        = "Forbidden"
	NameNoSuchRoute      = "NoSuchRoute"
	NameNoSuchFeed       = "NoSuchFeed"
	NameNoSuchStream     = "NoSuchStream"
	NameNoSuchConsumer   = "NoSuchConsumer"
	NameGapNotFound      = "GapNotFound"
	NameConsumerExists   = "ConsumerExists"
	NameTooManyConsumers = "TooManyConsumers"
	NameLeaseLost        = "LeaseLost"
	NameMethodNotAllowed = "MethodNotAllowed"
	NameNotNow           = "NotNow"
	NameBodyTooLarge     = "BodyTooLarge"
	NameBodyTooSlow      = "BodyTooSlow"
	NameTooManyTails     = "TooManyTails"
	NameCursorExpired    = "CursorExpired"
	NameInternal         = "InternalError"
	NameCorruptBlock     = "CorruptBlock"
	NameShuttingDown     = "ShuttingDown"
	NameStoreUnavailable = "StoreUnavailable"
	NameNoAnswer         = "NoAnswer"
	NameOverloaded       = "Overloaded"
	NameTooManyAttempts  = "TooManyAttempts"
	NameNoFiles          = "NoFiles"
	NameConfigRejected   = "ConfigRejected"
)

// Error is an error with its HTTP response.
type Error struct {
	Status  int
	Name    string
	Message string
	Oldest  persistence.EntryID // of an expired cursor: the oldest cursor that is valid
	ID      string              // of a fault of the daemon, also in the log
	Header  map[string]string   // further headers
}

func (e *Error) Error() string { return e.Name + ": " + e.Message }

// Failed returns the error that a client sees when the daemon is at fault: it shows only an ID,
// under which the log has the details.
func Failed() *Error {
	var b [4]byte
	_, _ = rand.Read(b[:]) // cannot fail
	id := hex.EncodeToString(b[:])
	return &Error{Status: http.StatusInternalServerError, Name: NameInternal, ID: id, Message: "the request failed; the daemon's log says why, under the id " + id}
}

// Invalid returns a 400 that names the parameter, the given value and the accepted values.
func Invalid(param, given, accepted string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest,
		Message: fmt.Sprintf("%s: got %s; accepted: %s", param, Quote(given), accepted)}
}

// Quote returns s in quotes, cut to at most 64 bytes for a message.
func Quote(s string) string {
	const limit = 64
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// RetryAfter returns the header that says in how many seconds to try again.
func RetryAfter(seconds int) map[string]string {
	return map[string]string{"Retry-After": strconv.Itoa(seconds)}
}

// ShuttingDown returns the answer of a server that stops.
func ShuttingDown() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Name: NameShuttingDown, Message: "the daemon is stopping; try again shortly",
		Header: map[string]string{"Retry-After": "2", "Connection": "close"}}
}

// overloadedFor is when a client that was refused for want of memory should try again, in seconds.
const overloadedFor = 2

// Overloaded returns the answer to a request for which there is no room in the memory that readers
// share.
func Overloaded() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Name: NameOverloaded,
		Message: "the memory that readers share (http.memory) is in use, or this address has its part of it; try again in " + strconv.Itoa(overloadedFor) + " s",
		Header:  RetryAfter(overloadedFor)}
}

// ErrorOf turns a handler's error into a response. ours says that the daemon is at fault and that
// nothing has logged the error yet.
func ErrorOf(err error) (api *Error, ours bool) {
	// The message of a CorruptError tells a reader how to continue.
	if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		return &Error{Status: http.StatusInternalServerError, Name: NameCorruptBlock, Message: corrupt.Error()}, false
	}
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		return &Error{Status: http.StatusGone, Name: NameCursorExpired, Message: expired.Error(), Oldest: expired.Oldest}, false
	}
	if rejected, ok := errors.AsType[*messages.RejectedError](err); ok {
		return &Error{Status: http.StatusUnprocessableEntity, Name: NameConfigRejected, Message: rejected.Error()}, false
	}
	switch {
	case errors.As(err, &api):
		return api, false
	case errors.Is(err, messages.ErrNoFeed):
		return &Error{Status: http.StatusNotFound, Name: NameNoSuchFeed, Message: err.Error()}, false
	case errors.Is(err, messages.ErrNoGap):
		return &Error{Status: http.StatusNotFound, Name: NameGapNotFound, Message: err.Error()}, false
	case errors.Is(err, messages.ErrNotNow):
		return &Error{Status: http.StatusConflict, Name: NameNotNow, Message: err.Error()}, false
	case errors.Is(err, persistence.ErrNoStream):
		return &Error{Status: http.StatusNotFound, Name: NameNoSuchStream, Message: err.Error()}, false
	case errors.Is(err, persistence.ErrNoConsumer):
		return &Error{Status: http.StatusNotFound, Name: NameNoSuchConsumer, Message: err.Error()}, false
	case errors.Is(err, persistence.ErrBadName), errors.Is(err, persistence.ErrBadCursor), errors.Is(err, persistence.ErrBadBound):
		return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: err.Error()}, false
	case errors.Is(err, persistence.ErrStoreClosed):
		return ShuttingDown(), false
	case persistence.Temporary(err): // the readiness and the store's own events report it too
		return &Error{Status: http.StatusServiceUnavailable, Name: NameStoreUnavailable, Message: err.Error(), Header: RetryAfter(2)}, false
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusServiceUnavailable, Name: NameNoAnswer, Message: "the daemon did not answer in time; try again",
			Header: RetryAfter(1)}, true
	}
	return Failed(), true
}

// MethodNotAllowed returns the error of a request with a method that its route does not have.
func MethodNotAllowed(got string, accepted ...string) *Error {
	list := strings.Join(accepted, ", ")
	return &Error{Status: http.StatusMethodNotAllowed, Name: NameMethodNotAllowed,
		Message: "method: got " + Quote(got) + "; accepted: " + list, Header: map[string]string{"Allow": list}}
}

// NotFound returns the error of a path that the API does not have. hint says where to look.
func NotFound(path, hint string) *Error {
	return &Error{Status: http.StatusNotFound, Name: NameNoSuchRoute, Message: "nothing is served at " + Quote(path) + "; " + hint}
}

// Missing returns a 400 that names a parameter that must be given, and the accepted values.
func Missing(param, accepted string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: param + ": missing; accepted: " + accepted}
}

// Forbidden returns the error of a request that its sender may not make.
func Forbidden(message string) *Error {
	return &Error{Status: http.StatusForbidden, Name: NameForbidden, Message: message}
}
