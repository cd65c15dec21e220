package xrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"tempestd/internal/plain"
)

var (
	// ErrUnreachable is the kind of every error without a whole response: no connection, a cut or a
	// slow one.
	ErrUnreachable = errors.New("unreachable")
	// ErrTooLarge says that a response is larger than what is taken.
	ErrTooLarge = errors.New("the response is too large")
)

// Error is a response that refuses.
type Error struct {
	Host   string
	Status int
	// Name and Message are the host's, "" where it gave none. To a request with a secret Name is
	// one that the protocol knows, and there is no Message.
	Name, Message string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s answers %d", e.Host, e.Status)
	if e.Name != "" {
		text += " " + e.Name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// maxMessage bounds a host's message in an error, bytes.
const maxMessage = 200

var errorName = regexp.MustCompile(`^[A-Za-z]{1,64}$`)

// known are the names of errors that may stand in the answer to a secret.
var known = []string{"AccountDeactivated", "AccountSuspended", "AccountTakedown", "AuthFactorTokenRequired", "AuthMissing", "AuthenticationRequired",
	"ExpiredToken", "InternalServerError", "InvalidRequest", "InvalidToken", "MethodNotImplemented", "RateLimitExceeded", "UpstreamFailure"}

// refusal is the error of a response.
func refusal(host string, status int, body []byte, secret bool) *Error {
	e := &Error{Host: host, Status: status}
	var said struct{ Error, Message string }
	if json.Unmarshal(body, &said) != nil {
		return e
	}
	if errorName.MatchString(said.Error) && (!secret || slices.Contains(known, said.Error)) {
		e.Name = said.Error
	}
	if !secret {
		e.Message = plain.Line(fmt.Sprintf("%.*s", maxMessage, said.Message))
	}
	return e
}

// Is reports whether an error is a refusal with the name.
func Is(err error, name string) bool {
	var e *Error
	return errors.As(err, &e) && e.Name == name
}
