package pace

import (
	"net/http"
	"strings"
	"time"

	"tempestd/internal/retryafter"
)

// again says when a response allows the next request, if it says so. Retry-After stands for itself;
// RateLimit-Reset where the request was refused or used up what the host allows.
func again(status int, header http.Header, now time.Time) (time.Time, bool) {
	wait, ok := retryafter.Wait(header, now)
	if !ok && (status == http.StatusTooManyRequests || strings.TrimSpace(header.Get("RateLimit-Remaining")) == "0") {
		wait, ok = retryafter.Reset(header, now)
	}
	if !ok {
		return time.Time{}, false
	}
	return now.Add(wait), true
}
