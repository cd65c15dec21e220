package pace

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxSeconds keeps a number of seconds within a time.Duration: 136 years.
const maxSeconds = 1 << 32

// again says when a response allows the next request, if it says so. Retry-After stands for itself;
// RateLimit-Reset where the request was refused or used up what the host allows.
func again(status int, header http.Header, now time.Time) (time.Time, bool) {
	// The host's times are compared with the host's clock.
	theirs := now
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		theirs = date
	}
	if text := strings.TrimSpace(header.Get("Retry-After")); text != "" {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return now.Add(seconds(n)), true
		}
		if at, err := http.ParseTime(text); err == nil {
			return now.Add(at.Sub(theirs)), true
		}
	}
	reset, err := strconv.ParseUint(strings.TrimSpace(header.Get("RateLimit-Reset")), 10, 64)
	if err != nil || status != http.StatusTooManyRequests && strings.TrimSpace(header.Get("RateLimit-Remaining")) != "0" {
		return time.Time{}, false
	}
	// Bluesky's servers send a Unix time, others the seconds that are left. No wait of seconds is
	// as long as a Unix time of today.
	if reset < 1_000_000_000 {
		return now.Add(seconds(reset)), true
	}
	return now.Add(time.Unix(int64(min(reset, maxSeconds)), 0).Sub(theirs)), true
}

func seconds(n uint64) time.Duration { return time.Duration(min(n, maxSeconds)) * time.Second }
