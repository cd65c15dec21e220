package archive

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
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

// askAgain is when a server wants to be asked again, by our clock: Retry-After in seconds or as a
// date, RateLimit-Reset in Unix seconds, the later of the two. There is no bound.
func askAgain(h http.Header, now time.Time) time.Time {
	server := now
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		server = date
	}
	var until time.Time
	after := func(d time.Duration) {
		if t := now.Add(max(d, 0)); t.After(until) {
			until = t
		}
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		after(seconds(n))
	} else if date, err := http.ParseTime(text); err == nil {
		after(date.Sub(server))
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(h.Get("RateLimit-Reset")), 10, 64); err == nil {
		const leastTime = 1_000_000_000 // smaller numbers are seconds from now, as in other servers
		if n < leastTime {
			after(seconds(n))
		} else {
			after(time.Unix(int64(min(n, math.MaxInt32)), 0).Sub(server))
		}
	}
	return until
}

func seconds(n uint64) time.Duration {
	const most = math.MaxInt64 / uint64(time.Second)
	return time.Duration(min(n, most)) * time.Second
}
