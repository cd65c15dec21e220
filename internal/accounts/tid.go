package accounts

import (
	"time"

	"tempestd/internal/atproto"
)

// KeyTime is the time in a TID, which most keys and every revision are. It is what the client that
// made the key says, and some clients give their keys the time of what they import.
func KeyTime(tid string) (time.Time, bool) {
	us, ok := atproto.TIDMicro(tid)
	if !ok {
		return time.Time{}, false
	}
	return time.UnixMicro(us).UTC(), true
}
