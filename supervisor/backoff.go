package supervisor

import (
	"math/rand/v2"
	"time"
)

// Backoff decides how long to wait before the next connection, by a schedule whose last entry is
// the cap. The wait is jittered, so that a thousand daemons do not reconnect at once. A healthy
// period resets the schedule. A successful dial does not, because an upstream that accepts
// connections and drops them at once must not be hammered. It is not safe for concurrent use.
type Backoff struct {
	schedule []time.Duration
	rand     *rand.Rand
	failures int
}

// refusedDelay is the wait after a refusal that another request will not change (400, 401, 403,
// 404).
const refusedDelay = 5 * time.Minute

// maxRetryAfter bounds the wait that an upstream may ask for.
const maxRetryAfter = 15 * time.Minute

// NewBackoff makes a backoff with the schedule, which must not be empty.
func NewBackoff(schedule []time.Duration, r *rand.Rand) *Backoff {
	return &Backoff{schedule: schedule, rand: r}
}

// Healthy is how long a connection must live to count as healthy: the longest wait of the schedule.
func (b *Backoff) Healthy() time.Duration { return b.schedule[len(b.schedule)-1] }

// Next is the wait after a connection that lived for lived: between half of the schedule's entry
// and all of it. It is at least retryAfter, the wait that the upstream asked for, up to 15 minutes.
// After a permanent refusal it is minutes.
func (b *Backoff) Next(lived, retryAfter time.Duration, permanent bool) time.Duration {
	if lived >= b.Healthy() {
		b.failures = 0
	}
	d := b.schedule[min(b.failures, len(b.schedule)-1)]
	b.failures++
	if permanent {
		d = max(d, refusedDelay)
	}
	d = d/2 + time.Duration(b.rand.Int64N(int64(d/2)+1))
	if retryAfter > 0 {
		asked := min(retryAfter, maxRetryAfter)
		d = max(d, asked+time.Duration(b.rand.Int64N(int64(asked/10)+1)))
	}
	return d
}

// After is the jittered wait at a step of the schedule, from 0 on. It counts as no failure.
func (b *Backoff) After(step int) time.Duration {
	d := b.schedule[min(max(step, 0), len(b.schedule)-1)]
	return d/2 + time.Duration(b.rand.Int64N(int64(d/2)+1))
}

// Reset starts the schedule anew. An operator's reconnect does this.
func (b *Backoff) Reset() { b.failures = 0 }

// Failures is how many connections in a row were not healthy.
func (b *Backoff) Failures() int { return b.failures }
