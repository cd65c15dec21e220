package durable

import (
	"fmt"
	"net/http"
	"strconv"

	"tempestd/internal/serve/api"
	"tempestd/messages"
)

// An offset of the Durable Streams protocol (section 7, Offsets) is the ID of the last entry before
// the position, with 20 digits for each part, so that offsets sort as text:
// "00000001795327636563-00000000000000030000". Every position has exactly one offset. An offset is
// also an entry ID that /tail accepts as a cursor.
const (
	offsetDigits = 20 // digits of the greatest 64-bit number
	offsetLength = 2*offsetDigits + 1

	// The protocol's sentinels. No offset looks like one of them.
	offsetStart = "-1"
	offsetNow   = "now"

	acceptedOffset = `"-1" (the beginning), "now", or what a Stream-Next-Offset said`
)

// appendOffset appends the offset of the position after the entry.
func appendOffset(b []byte, last messages.EntryID) []byte {
	b = appendDigits(b, last.MS)
	b = append(b, '-')
	return appendDigits(b, last.Seq)
}

func appendDigits(b []byte, n uint64) []byte {
	var digits [offsetDigits]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[:]...)
}

// formatOffset returns the offset of the position after the entry.
func formatOffset(last messages.EntryID) string {
	return string(appendOffset(make([]byte, 0, offsetLength), last))
}

// position is where a read begins: after an entry, or at a sentinel.
type position struct {
	after messages.EntryID // if the read begins at an offset
	start bool             // at the oldest entry there is
	now   bool             // at the tail
}

// parsePosition reads an offset or a sentinel.
func parsePosition(text string) (position, error) {
	switch text {
	case offsetStart:
		return position{start: true}, nil
	case offsetNow:
		return position{now: true}, nil
	}
	if len(text) != offsetLength || text[offsetDigits] != '-' {
		return position{}, api.Invalid("offset", text, acceptedOffset)
	}
	ms, errMS := parseDigits(text[:offsetDigits])
	seq, errSeq := parseDigits(text[offsetDigits+1:])
	if errMS != nil || errSeq != nil {
		return position{}, api.Invalid("offset", text, acceptedOffset)
	}
	return position{after: messages.EntryID{MS: ms, Seq: seq}}, nil
}

// parseDigits is strconv.ParseUint for text of digits only. Leading zeros are allowed.
func parseDigits(s string) (uint64, error) {
	if s[0] < '0' || s[0] > '9' { // a sign
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

// errOffsetGone is the answer to an offset that retention has overtaken (section 5.6, 410).
func errOffsetGone(given, oldest messages.EntryID) error {
	return &api.Error{Status: http.StatusGone, Name: api.NameCursorExpired, Message: fmt.Sprintf(
		"offset: %s is before the oldest entry that is still kept; reading goes on, with a loss, at offset=%s, or at offset=-1", formatOffset(given), formatOffset(oldest))}
}
