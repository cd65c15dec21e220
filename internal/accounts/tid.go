package accounts

import (
	"strings"
	"time"
)

const (
	tidSize     = 13
	tidAlphabet = "234567abcdefghijklmnopqrstuvwxyz"
)

// KeyTime is the time in a TID, which most keys and every revision are: microseconds since 1970 and
// the number of a clock. It is what the client that made the key says, and some clients give their
// keys the time of what they import.
func KeyTime(tid string) (time.Time, bool) {
	if len(tid) != tidSize {
		return time.Time{}, false
	}
	var v uint64
	for i := range tidSize {
		digit := strings.IndexByte(tidAlphabet, tid[i])
		if digit < 0 || i == 0 && digit >= 16 {
			return time.Time{}, false
		}
		v = v<<5 | uint64(digit)
	}
	return time.UnixMicro(int64(v >> 10)).UTC(), true
}
