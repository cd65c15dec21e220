package archive

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"tempestd/internal/retryafter"
)

// refused reads an answer that is no success. What it means is decided by its status, never by its
// text.
func (c *Client) refused(route string, resp *http.Response) *RefusedError {
	now := c.opt.Clock.Now()
	e := &RefusedError{Kind: ErrRefused, Route: route, Status: resp.StatusCode, Until: askAgain(resp.Header, now)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // a refusal that is cut says less
	var said struct{ Error, Message string }
	if json.Unmarshal(body, &said) == nil {
		e.Name, e.Text = printable(c.scrub(said.Error)), printable(c.scrub(said.Message))
	} else {
		e.Text = printable(c.scrub(string(body)))
	}
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests:
		e.Kind = ErrQuota
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Kind = ErrUnauthorized
	case s == http.StatusNotFound && (route == routePlan || route == routeList):
		e.Kind = ErrNoArchive
	case s == http.StatusNotFound || s == http.StatusGone:
		e.Kind = ErrGone
	case s == http.StatusPreconditionFailed || s == http.StatusRequestedRangeNotSatisfiable:
		e.Kind = ErrChanged
	case s >= 500 && s != http.StatusNotImplemented:
		e.Kind = ErrNotReady
	case s < 300:
		e.Kind = ErrBadAnswer
	case s < 400:
		e.Kind = ErrRedirect
	}
	return e
}

// scrub removes the key from what a server said: it may repeat what it was sent.
func (c *Client) scrub(s string) string {
	if c.opt.Key == "" {
		return s
	}
	return strings.ReplaceAll(s, c.opt.Key, "…")
}

// askAgain is when a server wants to be asked again, by our clock; zero if it does not say. Of
// Retry-After and RateLimit-Reset the later one counts. There is no bound.
func askAgain(h http.Header, now time.Time) time.Time {
	wait, asked := retryafter.Wait(h, now)
	if reset, ok := retryafter.Reset(h, now); ok {
		wait, asked = max(wait, reset), true
	}
	if !asked {
		return time.Time{}
	}
	return now.Add(wait)
}
