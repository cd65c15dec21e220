package messages

import "errors"

// ErrNoFeed: the feed is not configured. The error of a request for such a feed matches it.
var ErrNoFeed = errors.New("no such feed")

// ErrNoGap: the feed has no gap of that ID. The error of an answer about such a gap matches it.
var ErrNoGap = errors.New("no such gap")

// ErrNotNow: the feed cannot follow the command in its present state. The error of the answer
// matches it.
var ErrNotNow = errors.New("not now")
