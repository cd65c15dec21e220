package persistence

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tempestd/messages"
)

// StreamCursor is a position in a stream: an open marker ("start", "end"), a millisecond or one
// entry. The zero value is entry 0-0, which is before every entry.
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

// The accepted forms that an error message names: for the cursors of a range, and for the cursor of
// a Tail.
const (
	cursorGrammar = "start, end, " + tailGrammar
	tailGrammar   = "<ms> or <ms>-<seq> (0-0 is from the beginning)"
)

// Start is before the first entry of a range. A Tail has an exclusive cursor and takes
// [FromBeginning] instead.
func Start() StreamCursor { return StreamCursor{marker: atStart} }

// End is after the last entry of a range.
func End() StreamCursor { return StreamCursor{marker: atEnd} }

// FromBeginning is 0-0. Every entry is after it.
func FromBeginning() StreamCursor { return StreamCursor{} }

// CursorAt is the position of the entry id. As the cursor of a Tail it gives the entries after id.
func CursorAt(id EntryID) StreamCursor { return StreamCursor{id: id} }

// CursorAtMillis is the position of all entries of one millisecond since the Unix epoch.
func CursorAtMillis(ms uint64) StreamCursor {
	return StreamCursor{id: EntryID{MS: ms}, marker: atMillis}
}

// CursorSince is the exclusive cursor just before t. A Tail after it begins with the first entry of
// t's millisecond.
func CursorSince(t time.Time) StreamCursor {
	ms := t.UnixMilli()
	if ms <= 0 {
		return FromBeginning()
	}
	return CursorAt(EntryID{MS: uint64(ms) - 1, Seq: math.MaxUint64})
}

// ParseStreamCursor reads "start", "end", "<ms>" or "<ms>-<seq>", in unsigned decimals. It refuses
// everything else, also signs, spaces and the short markers "-" and "+" of other systems. Errors
// are *ConfigErrors, match ErrBadCursor and say what is accepted.
func ParseStreamCursor(s string) (StreamCursor, error) {
	return parseCursor("cursor", s, cursorGrammar)
}

// parseCursor is ParseStreamCursor for the named argument. grammar says what it accepts.
func parseCursor(argument, s, grammar string) (StreamCursor, error) {
	bad := func(why string) (StreamCursor, error) {
		return StreamCursor{}, &ConfigError{Field: argument, Message: why + "; accepted: " + grammar, Err: ErrBadCursor}
	}
	switch s {
	case "start":
		return Start(), nil
	case "end":
		return End(), nil
	case "":
		return bad("is empty")
	case "-", "+":
		return bad(fmt.Sprintf("is %q, which is not a marker here", s))
	}
	// Without this, a cursor that starts with "-" would be an empty <ms>. Both get the same words.
	if strings.Contains(s, "-") {
		id, err := messages.ParseEntryID(s)
		if err != nil {
			return bad(fmt.Sprintf("is %.40q, not <ms>-<seq> in unsigned 64-bit decimals", s))
		}
		return CursorAt(id), nil
	}
	ms, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s[0] < '0' || s[0] > '9' {
		return bad(fmt.Sprintf("is %.40q, not an unsigned 64-bit decimal", s))
	}
	return CursorAtMillis(ms), nil
}

// String returns the cursor in the form that ParseStreamCursor reads.
func (c StreamCursor) String() string {
	switch c.marker {
	case atStart:
		return "start"
	case atEnd:
		return "end"
	case atMillis:
		return strconv.FormatUint(c.id.MS, 10)
	}
	return c.id.String()
}

// Exclusive returns the ID that a Tail's first entry must exceed. "<ms>" means "<ms>-0", as in
// XREAD. The open markers are no exclusive cursors and give an error that matches ErrBadCursor.
func (c StreamCursor) Exclusive() (EntryID, error) {
	if c.marker == atStart || c.marker == atEnd {
		return EntryID{}, &ConfigError{Field: "after", Err: ErrBadCursor,
			Message: fmt.Sprintf("is the open marker %q, which is not a place to tail after; accepted: %s", c, tailGrammar)}
	}
	return c.id, nil
}

// Lower returns the smallest ID of a range that begins at c.
func (c StreamCursor) Lower() EntryID {
	switch c.marker {
	case atStart:
		return EntryID{}
	case atEnd:
		return messages.MaxEntryID
	}
	return c.id // of a millisecond: <ms>-0
}

// Upper returns the greatest ID of a range that ends at c.
func (c StreamCursor) Upper() EntryID {
	switch c.marker {
	case atStart:
		return EntryID{}
	case atEnd:
		return messages.MaxEntryID
	case atMillis:
		return EntryID{MS: c.id.MS, Seq: math.MaxUint64}
	}
	return c.id
}
