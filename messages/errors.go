package messages

import "errors"

// ErrNoFeed is what asking for a feed that is not configured matches with errors.Is.
var ErrNoFeed = errors.New("no such feed")
