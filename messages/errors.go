package messages

import "errors"

// ErrNoFeed is what asking for a feed that is not configured matches with errors.Is.
var ErrNoFeed = errors.New("no such feed")

// ErrNotNow is what a command matches that the feed cannot follow in the state it is in.
var ErrNotNow = errors.New("not now")
