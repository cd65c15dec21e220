package persistence

// StreamCursor is a place in a stream: an open marker ("start", "end"), a millisecond or one entry.
type StreamCursor struct {
	id     EntryID
	marker cursorMarker
}

type cursorMarker uint8

const (
	atEntry  cursorMarker = iota
	atMillis              // every entry of id.MS
	atStart
	atEnd
)
