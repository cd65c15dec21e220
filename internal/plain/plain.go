// Package plain makes text from outside safe for a terminal, a log and a JSON document. An
// upstream, a server, a client or another writer of a shared store chooses the bytes of names,
// reasons and events, and a terminal obeys some bytes as commands. The package removes or escapes
// control characters (C0, DEL, C1), the marks that change the direction of writing, and bytes that
// are not UTF-8.
//
//	plain.go  Line, Quote and Escape
package plain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns a text as one line, without the characters that a terminal obeys.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case acts(r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// acts reports whether a terminal, or the layout of a text, obeys the character instead of showing
// it.
func acts(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Noncharacter_Code_Point, r) ||
		// Joiners are part of words and of emoji, so they stay.
		unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Join_Control, r)
}

// Quote appends a text as a JSON string, escaped as by Escape.
func Quote(dst []byte, s string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // cannot happen: every string has a JSON form
	}
	return Escape(dst, bytes.TrimSuffix(quoted.Bytes(), []byte("\n")))
}

// Escape appends a JSON document with the same meaning and without such characters, except for
// white space between its tokens. Within strings it writes them as escapes. It writes bytes that
// are not UTF-8 as U+FFFD, as decoders read them. doc must be valid JSON.
func Escape(dst, doc []byte) []byte {
	for i := 0; i < len(doc); {
		if doc[i] < 0x7f {
			from := i
			for i++; i < len(doc) && doc[i] < 0x7f; i++ {
			}
			dst = append(dst, doc[from:i]...)
			continue
		}
		r, size := utf8.DecodeRune(doc[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case acts(r):
			dst = appendEscape(dst, r)
		default:
			dst = append(dst, doc[i:i+size]...)
		}
		i += size
	}
	return dst
}

func appendEscape(dst []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		return fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}

// IsASCII reports whether all bytes of a document are below 0x7f. Such a document does not need
// Escape.
func IsASCII(doc []byte) bool {
	for _, c := range doc {
		if c >= 0x7f {
			return false
		}
	}
	return true
}
