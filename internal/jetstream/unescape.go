package jetstream

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape returns the text of a validated JSON string: s itself if it has no escapes. Half of a
// surrogate pair becomes U+FFFD, as in encoding/json.
func unescape(s []byte) []byte {
	i := bytes.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:i]...)
	for i < len(s) {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		switch c := s[i+1]; c {
		case 'u':
			r := hexRune(s[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 <= len(s) && s[i] == '\\' && s[i+1] == 'u' {
					low = hexRune(s[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default: // '"', '\\' and '/' stand for themselves
			out = append(out, c)
		}
		i += 2
	}
	return out
}

// hexRune returns the value of the four hexadecimal digits at the start of s.
func hexRune(s []byte) rune {
	n, _ := strconv.ParseUint(string(s[:4]), 16, 16)
	return rune(n)
}

// maxEscapedKey is the greatest length of an escaped spelling of a known key: six bytes for each
// byte of "collection".
const maxEscapedKey = 6 * len("collection")

// shortKey returns the text of an escaped key, or nil if it is too long to be a known one.
func shortKey(key []byte) []byte {
	if len(key) > maxEscapedKey {
		return nil
	}
	return unescape(key)
}
