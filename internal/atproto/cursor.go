package atproto

// FirstTime divides the two grammars of a Jetstream cursor: a smaller number is a sequence number,
// all others are Unix microseconds. It is in September 2001.
const FirstTime = 1_000_000_000_000_000

// IsTime reports whether the number of a cursor is a time, and not a sequence number.
func IsTime(cursor int64) bool { return cursor >= FirstTime }
