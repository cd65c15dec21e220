package dagcbor

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// AppendText appends s, which is valid UTF-8, as a JSON string: quotes, backslashes, control
// characters, <, > and & are escaped, as Go's encoding/json does, and the line separators U+2028
// and U+2029 only where separators says so. Servers escape them in records, and not in what
// stands around a record, such as a handle.
func AppendText[S []byte | string](dst []byte, s S, separators bool) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 0xe2:
			// U+2028 and U+2029 are e2 80 a8 and e2 80 a9.
			if !separators || len(s)-i < 3 || s[i+1] != 0x80 || s[i+2]&^1 != 0xa8 {
				continue
			}
			dst = append(append(dst, s[from:i]...), `\u202`...)
			dst = append(dst, hexDigits[s[i+2]&15])
			i += 2
		case c >= utf8.RuneSelf, plain[c]:
			continue
		default:
			dst = append(dst, s[from:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, `\b`...)
			case '\f':
				dst = append(dst, `\f`...)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
		}
		from = i + 1
	}
	return append(append(dst, s[from:]...), '"')
}

// plain has the ASCII characters that stand in a JSON string as they are.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return t
}()
