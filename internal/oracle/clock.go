package oracle

import (
	"sync"
	"time"
	"unsafe"

	"github.com/jonboulle/clockwork"
)

// wallClock is the clock of a machine: it can be set, and it drifts. As with the real one, only what
// its times show changes then: they carry a monotonic reading, which decides when two of them are
// compared. The times of a bubble have none, so Now adds it.
type wallClock struct {
	clockwork.Clock
	began time.Time
	drift float64

	mu    sync.Mutex
	ahead time.Duration
}

func newWallClock(drift float64) *wallClock {
	return &wallClock{Clock: clockwork.NewRealClock(), began: time.Now(), drift: drift}
}

// Now implements clockwork.Clock.
func (c *wallClock) Now() time.Time {
	since := time.Since(c.began)
	c.mu.Lock()
	ahead := c.ahead
	c.mu.Unlock()
	return withMonotonic(c.began.Add(since+ahead+time.Duration(float64(since)*c.drift)), since)
}

// Since implements clockwork.Clock.
func (c *wallClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Until implements clockwork.Clock.
func (c *wallClock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }

// set sets the clock ahead of the real one.
func (c *wallClock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// withMonotonic returns the time with a monotonic reading. Package time has no function for that, so
// this writes the two words that are documented at type time.Time.
func withMonotonic(t time.Time, reading time.Duration) time.Time {
	words := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&t))
	words.wall = 1<<63 | uint64(t.Unix()-from1885)<<30 | uint64(t.Nanosecond())
	words.ext = int64(reading) + 1
	return t
}

// from1885 is the beginning of the year 1885, from which times with a monotonic reading count, in Unix
// seconds.
var from1885 = time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
