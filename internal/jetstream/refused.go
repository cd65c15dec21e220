package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"tempestd/internal/atproto"
	"tempestd/internal/retryafter"
)

// Bounds on what an upstream's answer can make us log and wait for.
const (
	maxRefusal     = 200       // bytes of its message
	maxRefusalBody = 1 << 10   // bytes of the answer that are read
	maxRetryAfter  = time.Hour // the longest wait that it can ask for
)

// RefusedError is an upstream's answer to a handshake that it did not accept, or the refusal of its
// archive.
type RefusedError struct {
	Status  int    // HTTP status; 0 of an archive, whose Message says everything
	Name    string // v2 servers' name for it, such as "InvalidRequest"; "" if there is none
	Message string // the reason: one line, printable, at most 200 bytes; may be empty
	// RetryAfter is how long the upstream asks us to stay away, at most one hour; 0 if it does not
	// say.
	RetryAfter time.Duration
	Permanent  bool // the same request would be refused again
	// Passing: another server of the host may accept the request at once, and this server soon. It
	// says nothing about the host's health.
	Passing bool
}

func (e *RefusedError) Error() string {
	if e.Status == 0 {
		return e.Message
	}
	text := fmt.Sprintf("refused with %d %s", e.Status, http.StatusText(e.Status))
	if e.Name != "" {
		text += ": " + e.Name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// refused reads the answer, whose body has at most 1 KiB. Refusals that may be temporary are a
// server error (5xx), a timeout, "too early", "too many requests", a cursor that is too old and an
// unknown dictionary. A redirection, a page and every other client error are permanent.
func refused(resp *http.Response, now time.Time) *RefusedError {
	wait, _ := retryafter.Wait(resp.Header, now)
	e := &RefusedError{Status: resp.StatusCode, RetryAfter: min(wait, maxRetryAfter)}
	if resp.Body != nil {
		body, _ := io.ReadAll(resp.Body)
		e.Name, e.Message = said(body)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		e.Passing = resp.Header.Get("Retry-After") != "" || e.Name == atproto.ServiceUnavailable || strings.HasPrefix(e.Message, "service not ready")
	}
	switch s := resp.StatusCode; {
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	case e.Name == atproto.CursorTooOld, e.Name == atproto.UnknownDictionary:
	case s >= 300 && s < 400:
		e.Permanent = true
		e.Message = "redirections are not followed; configure the server's own address"
	default:
		e.Permanent = true
	}
	return e
}

// said reads a body: {"error":…,"message":…}, whose end may be cut off, or text.
func said(body []byte) (name, message string) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return "", printable(string(body))
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		var value any
		if d.Decode(&value) != nil {
			break
		}
		switch text, _ := value.(string); key {
		case "error":
			name = text
		case "message":
			message = text
		}
	}
	if !plainName([]byte(name)) {
		return "", printable(string(body))
	}
	return name, printable(message)
}

// noSuchThing says whether the answer means that the server does not have what was asked for, and
// not that the server or the request is faulty.
func (e *RefusedError) noSuchThing() bool {
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusUpgradeRequired, http.StatusNotImplemented:
		return true
	}
	return e.Status >= 200 && e.Status < 300 // a page
}

// tooLong says whether the server, or a proxy before it, refuses the length of the URL.
func (e *RefusedError) tooLong() bool {
	return e.Status == http.StatusRequestURITooLong || e.Status == http.StatusRequestHeaderFieldsTooLarge
}

// CursorTooOld says whether an error of Dial means that the socket does not go back to the sequence
// number.
func CursorTooOld(err error) bool {
	refusal, ok := errors.AsType[*RefusedError](err)
	return ok && refusal.Name == atproto.CursorTooOld
}

// ResumeByTime says whether an error of Dial means that the sequence number is of no use at the
// endpoint, so that the same endpoint should be asked by time at once: see Reach.ByTime.
func ResumeByTime(err error) bool {
	return CursorTooOld(err) || errors.Is(err, ErrLegacySeq)
}

// printable turns text of an upstream into one line of at most maxRefusal bytes.
func printable(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(s) <= maxRefusal {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:maxRefusal-len(more)], "") + more
}
