package atproto

import "strings"

const (
	tidSize     = 13
	tidAlphabet = "234567abcdefghijklmnopqrstuvwxyz"
)

// TIDMicro returns the time in a TID, Unix µs; false for any other text. Most keys of records and
// every rev are TIDs: their time, and the number of a clock.
func TIDMicro[T string | []byte](tid T) (us int64, ok bool) {
	if len(tid) != tidSize {
		return 0, false
	}
	var v uint64
	for i := range tidSize {
		digit := strings.IndexByte(tidAlphabet, tid[i])
		if digit < 0 || i == 0 && digit >= 16 {
			return 0, false
		}
		v = v<<5 | uint64(digit)
	}
	return int64(v >> 10), true
}
