package durable

import (
	"math/rand/v2"
	"strconv"
	"time"

	"tempestd/internal/serve/api"
)

// The cursor of the Durable Streams protocol (section 9.1, Server-Generated Cursors) is not a
// position in the stream. It is part of the URL of the next live request. With it, a cache can
// combine the requests of many readers at one position into one, and no reader gets the same cached
// answer (an empty one above all) for ever.
const (
	cursorInterval  = 20 * time.Second
	maxCursorJitter = 3600 * time.Second
	maxCursorDigits = 15 // larger than any interval's number, and exact as a JavaScript number

	acceptedCollapse = "what the last Stream-Cursor said"
)

// cursorEpoch is the time from which intervals are counted.
var cursorEpoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// collapser gives the cursors of the responses to one request.
type collapser uint64

// newCollapser returns the collapser for a request with the given cursor, 0 for none. The first
// cursor is the number of the current interval, but always greater than the given one: if the given
// one has reached the current number, a random part of an hour is added to it. The randomness keeps
// readers from moving in step.
func newCollapser(given uint64, now time.Time) collapser {
	interval := intervalAt(now)
	if given < interval {
		return collapser(interval)
	}
	jitter := time.Second + rand.N(maxCursorJitter)
	return collapser(given + max(uint64(jitter/cursorInterval), 1))
}

// next returns the cursor at now. It never falls.
func (c *collapser) next(now time.Time) string {
	*c = max(*c, collapser(intervalAt(now)))
	return strconv.FormatUint(uint64(*c), 10)
}

func intervalAt(now time.Time) uint64 { return uint64(max(now.Sub(cursorEpoch)/cursorInterval, 1)) }

// collapse returns the cursor parameter, 0 if it is absent.
func collapse(p *api.Params) uint64 {
	const name = "cursor"
	if !p.Values.Has(name) {
		return 0
	}
	given := p.Values.Get(name)
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil || len(given) > maxCursorDigits {
		p.Fail(api.Invalid(name, given, acceptedCollapse))
	}
	return n
}
