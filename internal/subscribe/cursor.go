package subscribe

import (
	"fmt"
	"net/url"
	"strconv"

	"tempestd/internal/atproto"
)

// Cursor is a parsed cursor parameter. The zero Cursor is no cursor: the live tip.
type Cursor struct {
	Given bool
	Value int64  // a sequence number, or Unix µs
	Text  string // as it came, because a legacy server compares it as a string
}

// IsTime says whether the cursor is a time.
func (c Cursor) IsTime() bool { return c.Given && atproto.IsTime(c.Value) }

// ParseCursor reads the cursor parameter as servers do: of several the first one counts, and an
// empty one is none.
func ParseCursor(q url.Values) (Cursor, error) {
	text := q.Get("cursor")
	if text == "" {
		return Cursor{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return Cursor{}, fmt.Errorf("subscribe: invalid cursor: %q", text)
	}
	if n < 0 {
		return Cursor{}, fmt.Errorf("subscribe: invalid cursor: negative value %d", n)
	}
	return Cursor{Given: true, Value: n, Text: text}, nil
}
