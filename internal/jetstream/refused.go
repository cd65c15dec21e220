package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of what an upstream may make us say and wait for.
const (
	maxRefusal     = 200       // bytes of its message
	maxRefusalBody = 1 << 10   // bytes of the answer that are looked at
	maxRetryAfter  = time.Hour // how long it can send us away
)

// RefusedError is an upstream's answer to a handshake that it did not accept.
type RefusedError struct {
	Status     int           // HTTP status
	Name       string        // what v2 servers call it, such as "InvalidRequest"; "" where there is none
	Message    string        // its reason: one line, printable, 200 bytes at most; may be empty
	RetryAfter time.Duration // how long it asks us to stay away, an hour at most; 0 if it does not say
	Permanent  bool          // asking again in the same way is useless
	Passing    bool          // another of the host's servers may take us at once, and this one soon: it says nothing of the host's health
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("refused with %d %s", e.Status, http.StatusText(e.Status))
	if e.Name != "" {
		text += ": " + e.Name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// The names of refusals that are answered otherwise than by their status.
const (
	// RefusedCursorTooOld: the sequence number asked for lies below what the server still has. Asked by time it begins at its oldest event.
	RefusedCursorTooOld = "CursorTooOld"
	// refusedUnavailable: the server is not ready. Of several behind one name, one that is behind the others says so too.
	refusedUnavailable = "ServiceUnavailable"
	// unknownDictionary: the server compresses with another dictionary than the one named. Dial sees to it.
	unknownDictionary = "UnknownZstdDictionary"
)

// answeredAt is when the answer was given, by the server's clock where it tells, and else by ours: a date in an answer is the server's.
func answeredAt(resp *http.Response, now time.Time) time.Time {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return date
	}
	return now
}

// refused reads the answer, whose body holds 1 KiB at most. Only a server's own trouble (5xx), a timeout, "too many requests" and a cursor that is too
// old pass by themselves; a redirection, a page, and every other fault of the client stay.
func refused(resp *http.Response, now time.Time) *RefusedError {
	e := &RefusedError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), answeredAt(resp, now))}
	if resp.Body != nil {
		body, _ := io.ReadAll(resp.Body)
		e.Name, e.Message = said(body)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		e.Passing = resp.Header.Get("Retry-After") != "" || e.Name == refusedUnavailable || strings.HasPrefix(e.Message, "service not ready")
	}
	switch s := resp.StatusCode; {
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	case e.Name == RefusedCursorTooOld, e.Name == unknownDictionary:
	case s >= 300 && s < 400:
		e.Permanent = true
		e.Message = "redirections are not followed; configure the server's own address"
	default:
		e.Permanent = true
	}
	return e
}

// said reads a body: {"error":…,"message":…}, of which the end may be cut off, or text.
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

// noSuchThing says whether the answer is that what was asked for is not there, rather than that something is wrong with it or with us.
func (e *RefusedError) noSuchThing() bool {
	switch e.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusUpgradeRequired, http.StatusNotImplemented:
		return true
	}
	return e.Status >= 200 && e.Status < 300 // a page
}

// tooLong says whether it is the URL's length that is refused, by a server or a proxy before it.
func (e *RefusedError) tooLong() bool {
	return e.Status == http.StatusRequestURITooLong || e.Status == http.StatusRequestHeaderFieldsTooLarge
}

// ResumeByTime says whether an error of Dial means that the sequence number asked for is no good there, and the same endpoint should be asked by time at
// once: see Resume.ByTime.
func ResumeByTime(err error) bool {
	refusal, ok := errors.AsType[*RefusedError](err)
	return ok && refusal.Name == RefusedCursorTooOld || errors.Is(err, ErrLegacySeq)
}

// retryAfter reads both forms of the header: seconds and a date.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if date, err := http.ParseTime(header); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// printable makes one bounded line of what an upstream wrote.
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
