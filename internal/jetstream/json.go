package jetstream

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxDepth is how deep a frame may nest. Records of the network are bounded at 32 levels;
// encoding/json gives up at 10 000. Because of the bound the state of containerEnd fits in a fixed
// array.
const maxDepth = 512

// The functions here take a frame and the index of a value, and return the index after it. For an
// invalid value they return the complement of the index of the error, which is always negative.

const (
	ones    = 0x0101010101010101
	highs   = 0x80 * ones
	spaces  = ' ' * ones
	quotes  = '"' * ones
	slashes = '\\' * ones
)

// stringEnd takes the index after an opening quote. It returns the index of the closing one, and
// whether there are escapes in between.
//
// It looks at eight bytes at once. For a byte below 0x80, x-1 sets the high bit only for x = 0, and
// b-0x20 only for a control character. A borrow can only disturb bytes above a byte that is flagged
// itself, and only the lowest flag is used.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	for {
		if i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			flags := (((w ^ quotes) - ones) | ((w ^ slashes) - ones) | (w - spaces) | w) & highs
			if flags == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(flags) / 8
		} else if i >= len(b) {
			return ^len(b), false
		}
		switch c := b[i]; {
		case c == '"':
			return i, escaped
		case c == '\\':
			escaped = true
			if i = escapeEnd(b, i+1); i < 0 {
				return i, false
			}
		case c < ' ':
			return ^i, false
		case c < utf8.RuneSelf:
			i++
		default:
			from := i
			for i < len(b) && b[i] >= utf8.RuneSelf {
				i++
			}
			if !utf8.Valid(b[from:i]) {
				return ^from, false
			}
		}
	}
}

// escapeEnd takes the index after a backslash.
func escapeEnd(b []byte, i int) int {
	if i >= len(b) {
		return ^len(b)
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for range 4 {
			if i++; i >= len(b) || !isHex(b[i]) {
				return ^min(i, len(b))
			}
		}
		return i + 1
	}
	return ^i
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// numberEnd takes the index of a number's first byte.
func numberEnd(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		if i = digitsEnd(b, i); i < 0 {
			return i
		}
	}
	if i < len(b) && b[i] == '.' {
		if i = digitsEnd(b, i+1); i < 0 {
			return i
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digitsEnd(b, i)
	}
	return i
}

// digitsEnd requires at least one digit.
func digitsEnd(b []byte, i int) int {
	if i >= len(b) || !isDigit(b[i]) {
		return ^min(i, len(b))
	}
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

// skipSpace returns the index of the next byte that is not white space, len(b) if there is none.
func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// at returns the byte at i, or 0 beyond the end. A 0 byte is valid nowhere in JSON.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// scalarEnd takes the index of any value except an object or an array.
func scalarEnd(b []byte, i int) int {
	switch at(b, i) {
	case '"':
		end, _ := stringEnd(b, i+1)
		if end < 0 {
			return end
		}
		return end + 1
	case 't':
		return literalEnd(b, i, "true")
	case 'f':
		return literalEnd(b, i, "false")
	case 'n':
		return literalEnd(b, i, "null")
	}
	return numberEnd(b, i)
}

func literalEnd(b []byte, i int, literal string) int {
	if end := i + len(literal); end <= len(b) && string(b[i:end]) == literal {
		return end
	}
	return ^i
}

// keyEnd takes the index where a key must be. It returns the index after its colon and the white
// space that follows. The key is b[i+1:end].
func keyEnd(b []byte, i int) (end, value int, escaped bool) {
	if at(b, i) != '"' {
		return ^i, ^i, false
	}
	end, escaped = stringEnd(b, i+1)
	if end < 0 {
		return end, end, false
	}
	if i = end + 1; at(b, i) != ':' {
		if i = skipSpace(b, i); at(b, i) != ':' {
			return ^i, ^i, false
		}
	}
	if i++; at(b, i) <= ' ' {
		i = skipSpace(b, i)
	}
	return end, i, escaped
}

// valueEnd takes the index of any value that is nested in depth levels.
func valueEnd(b []byte, i, depth int) int {
	if c := at(b, i); c != '{' && c != '[' {
		return scalarEnd(b, i)
	}
	return containerEnd(b, i, depth)
}

// containerEnd takes the index of an object or array that is nested in depth levels. It keeps one
// bit per level, set for an object.
func containerEnd(b []byte, i, depth int) int {
	var objects [maxDepth / 64]uint64
	outer := depth
	for {
		// A value.
		switch c := at(b, i); c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return ^i
			}
			bit, word := uint64(1)<<(depth%64), &objects[(depth-1)/64]
			if c == '{' {
				*word |= bit
			} else {
				*word &^= bit
			}
			if i++; at(b, i) <= ' ' {
				i = skipSpace(b, i)
			}
			if at(b, i) != c+2 { // '}' is '{'+2, and ']' is '['+2
				if c == '{' {
					if _, i, _ = keyEnd(b, i); i < 0 {
						return i
					}
				}
				continue
			}
		case '"':
			end, _ := stringEnd(b, i+1)
			if end < 0 {
				return end
			}
			i = end + 1
		default:
			if i = scalarEnd(b, i); i < 0 {
				return i
			}
		}
		// After a value: close the containers that it is the last value of.
		for {
			if at(b, i) <= ' ' {
				i = skipSpace(b, i)
			}
			object := objects[(depth-1)/64]&(1<<(depth%64)) != 0
			c := at(b, i)
			if c == ',' {
				if i++; at(b, i) <= ' ' {
					i = skipSpace(b, i)
				}
				if object {
					if _, i, _ = keyEnd(b, i); i < 0 {
						return i
					}
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return ^i
			}
			i++
			if depth--; depth == outer {
				return i
			}
		}
	}
}
