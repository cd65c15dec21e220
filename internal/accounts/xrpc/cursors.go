package xrpc

import "github.com/cespare/xxhash/v2"

// maxCursor bounds a cursor, bytes: it goes into a URL.
const maxCursor = 4 << 10

// Cursors are those of the pages of one list. The zero Cursors has none. It takes eight bytes a
// page. It is not safe for concurrent use.
type Cursors struct{ seen map[uint64]struct{} }

// Fresh reports whether a cursor leads to a page that was not asked for yet. A server whose cursor
// is not fresh, or longer than a cursor is, would give pages without an end.
func (c *Cursors) Fresh(cursor string) bool {
	hash := xxhash.Sum64String(cursor)
	if _, ok := c.seen[hash]; ok || len(cursor) > maxCursor {
		return false
	}
	if c.seen == nil {
		c.seen = map[uint64]struct{}{}
	}
	c.seen[hash] = struct{}{}
	return true
}
