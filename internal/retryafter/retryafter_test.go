package retryafter_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"tempestd/internal/retryafter"
)

func TestWhenAServerWantsToBeAskedAgain(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(time.Hour) // the server's clock
	const none, centuries = -1, 100 * 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		header string
		value  string
		date   time.Time // zero: not told
		want   time.Duration
	}{
		"seconds":                    {"Retry-After", "21600", time.Time{}, 6 * time.Hour},
		"with white space":           {"Retry-After", " 5 ", ahead, 5 * time.Second},
		"a date":                     {"Retry-After", now.Add(time.Minute).Format(http.TimeFormat), time.Time{}, time.Minute},
		"a date of a clock ahead":    {"Retry-After", ahead.Add(time.Minute).Format(http.TimeFormat), ahead, time.Minute},
		"a date in the past":         {"Retry-After", now.Add(-time.Minute).Format(http.TimeFormat), time.Time{}, 0},
		"more than can be said":      {"Retry-After", "18446744073709551615", time.Time{}, centuries},
		"negative":                   {"Retry-After", "-1", time.Time{}, none},
		"words":                      {"Retry-After", "soon", time.Time{}, none},
		"nothing":                    {"Retry-After", "", time.Time{}, none},
		"reset at a time":            {"RateLimit-Reset", strconv.FormatInt(now.Add(time.Minute).Unix(), 10), time.Time{}, time.Minute},
		"reset by a clock ahead":     {"RateLimit-Reset", strconv.FormatInt(ahead.Add(time.Minute).Unix(), 10), ahead, time.Minute},
		"reset in seconds":           {"RateLimit-Reset", "30", ahead, 30 * time.Second},
		"reset in the past":          {"RateLimit-Reset", strconv.FormatInt(now.Unix()-1, 10), time.Time{}, 0},
		"reset at no time":           {"RateLimit-Reset", "tomorrow", time.Time{}, none},
		"reset at the end of number": {"RateLimit-Reset", "18446744073709551615", time.Time{}, 79 * 365 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{c.header: {c.value}}
			if c.header == "RateLimit-Reset" {
				h = http.Header{}
				h.Set(c.header, c.value)
			}
			if !c.date.IsZero() {
				h.Set("Date", c.date.Format(http.TimeFormat))
			}
			read := retryafter.Wait
			if c.header == "RateLimit-Reset" {
				read = retryafter.Reset
			}
			got, ok := read(h, now)
			switch long := c.want > 365*24*time.Hour; {
			case c.want == none && ok, c.want != none && !ok:
				t.Errorf("%v, %v", got, ok)
			case long && got < c.want, !long && ok && got != c.want:
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
