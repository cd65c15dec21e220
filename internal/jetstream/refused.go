package jetstream

import (
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
	maxRefusal    = 200       // bytes of its message
	maxRetryAfter = time.Hour // how long it can send us away
)

// RefusedError is an upstream's answer to a handshake that it did not accept.
type RefusedError struct {
	Status     int           // HTTP status
	Message    string        // its reason: one line, printable, 200 bytes at most; may be empty
	RetryAfter time.Duration // how long it asks us to stay away, an hour at most; 0 if it does not say
	Permanent  bool          // asking again in the same way is useless
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("refused with %d %s", e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// refused reads the answer, whose body holds 1 KiB at most. Only a server's own trouble (5xx), a timeout and "too many requests"
// pass by themselves; a redirection, a page, and every other fault of the client stay.
func refused(resp *http.Response, now time.Time) *RefusedError {
	e := &RefusedError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), now)}
	if resp.Body != nil {
		body, _ := io.ReadAll(resp.Body)
		e.Message = printable(string(body))
	}
	switch s := resp.StatusCode; {
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	case s >= 300 && s < 400:
		e.Permanent = true
		e.Message = "redirections are not followed; configure the server's own address"
	default:
		e.Permanent = true
	}
	return e
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
