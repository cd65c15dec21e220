package serve

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// The cursor of the Durable Streams protocol (section 9.1, Server-Generated Cursors) has nothing to do with a place in the stream. It is part of the URL of the
// next live request, so that the requests of many readers at one place collapse into one at a cache – and so that a cached answer, an empty one above all, is
// not given to the same reader for ever.
const (
	cursorInterval  = 20 * time.Second
	maxCursorJitter = 3600 * time.Second
	maxCursorDigits = 15 // far beyond any interval's number, and within what JavaScript counts exactly

	acceptedCollapse = "what the last Stream-Cursor said"
)

// cursorEpoch is what intervals are counted from.
var cursorEpoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

// collapser gives the cursors of the responses to one request.
type collapser uint64

// newCollapser answers the cursor that a request gives, 0 for none. The first cursor is the number of the interval at now, but always greater than the given one:
// by a random part of an hour where that has reached it already, lest readers march in step.
func newCollapser(given uint64, now time.Time) collapser {
	interval := intervalAt(now)
	if given < interval {
		return collapser(interval)
	}
	jitter := time.Second + rand.N(maxCursorJitter)
	return collapser(given + max(uint64(jitter/cursorInterval), 1))
}

// next is the cursor at now. It never goes back.
func (c *collapser) next(now time.Time) string {
	*c = max(*c, collapser(intervalAt(now)))
	return strconv.FormatUint(uint64(*c), 10)
}

func intervalAt(now time.Time) uint64 { return uint64(max(now.Sub(cursorEpoch)/cursorInterval, 1)) }

// collapse is the cursor parameter: 0 when it is not given.
func (p *params) collapse() uint64 {
	const name = "cursor"
	if !p.values.Has(name) {
		return 0
	}
	given := p.values.Get(name)
	n, err := strconv.ParseUint(given, 10, 64)
	if err != nil || len(given) > maxCursorDigits {
		p.fail(invalid(name, given, acceptedCollapse))
	}
	return n
}
