// Package retryafter reads when a server wants to be asked again (RFC 9110, 10.2.3, and the
// RateLimit-Reset header of Bluesky's servers). A time of the server is compared with the server's
// own clock, its Date, so that clocks that differ do no harm. A wait may be as long
// as 136 years: the caller bounds it.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Wait returns the wait that the Retry-After header asks for: seconds, or a date. ok is false if it
// asks for none. now is by our clock, and stands for the server's where that is not told.
func Wait(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return seconds(n), true
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(clock(h, now)), 0), true
	}
	return 0, false
}

// Reset returns the wait until the limit of RateLimit-Reset is renewed. Bluesky's servers send a
// Unix time, others the seconds that are left.
func Reset(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("RateLimit-Reset")), 10, 64)
	if err != nil {
		return 0, false
	}
	const leastTime = 1_000_000_000 // no wait of seconds is as long as a Unix time of today
	if n < leastTime {
		return seconds(n), true
	}
	return max(time.Unix(int64(min(n, maxSeconds)), 0).Sub(clock(h, now)), 0), true
}

// clock is what the server's clock shows.
func clock(h http.Header, now time.Time) time.Time {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return date
	}
	return now
}

// maxSeconds keeps a number of seconds within a time.Duration: 136 years.
const maxSeconds = 1 << 32

func seconds(n uint64) time.Duration { return time.Duration(min(n, maxSeconds)) * time.Second }
