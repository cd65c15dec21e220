package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"tempestd/messages"
	"tempestd/persistence"
)

// ErrNoDaemon is matched by the error of a call that was refused a connection: no daemon listens
// there.
var ErrNoDaemon = errors.New("no daemon")

// APIError is an error response of the daemon. If a feed, stream or consumer does not exist, it
// matches messages.ErrNoFeed, persistence.ErrNoStream or persistence.ErrNoConsumer.
type APIError struct {
	Status  int    // HTTP status
	Name    string // for example "NoSuchFeed"; "" if the answer is not a daemon's
	Message string
	Oldest  persistence.EntryID // of CursorExpired: the oldest cursor that misses nothing
}

func (e *APIError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("HTTP status %d, which is not a tempestd's answer: %s", e.Status, e.Message)
	}
	return e.Message
}

// Is matches the sentinel errors that the names in the daemon's answer stand for.
func (e *APIError) Is(target error) bool {
	switch e.Name {
	case "NoSuchFeed":
		return target == messages.ErrNoFeed
	case "NoSuchStream":
		return target == persistence.ErrNoStream
	case "NoSuchConsumer":
		return target == persistence.ErrNoConsumer
	}
	return false
}

// As provides a *persistence.CursorExpiredError. Its stream and cursor are empty: the caller knows
// them.
func (e *APIError) As(target any) bool {
	expired, ok := target.(**persistence.CursorExpiredError)
	if ok = ok && e.Name == "CursorExpired"; ok {
		*expired = &persistence.CursorExpiredError{Oldest: e.Oldest}
	}
	return ok
}

// apiError reads the error of a response.
func apiError(status int, body []byte) *APIError {
	var named struct {
		Error, Message string
		Oldest         persistence.EntryID `json:"oldest_cursor"`
	}
	if json.Unmarshal(body, &named) == nil && named.Error != "" {
		return &APIError{Status: status, Name: named.Error, Message: named.Message, Oldest: named.Oldest}
	}
	return &APIError{Status: status, Message: fmt.Sprintf("%s: %.100q", http.StatusText(status), body)}
}

// unreachable explains a failed request to a person at a terminal.
func unreachable(addr string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s: connection refused; is `tempestd run` running there?", ErrNoDaemon, addr)
	}
	return fmt.Errorf("daemon at %s: %w", addr, err)
}
