// Package plain makes text that came from anywhere fit for a terminal, a log and a JSON document: an upstream, a server, a client and whoever writes into a shared store
// choose the bytes of names, reasons and events, and a terminal obeys some of them. Control characters (C0, DEL, C1), the marks that turn the direction of writing, and
// what is not UTF-8 never reach one.
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

// Line is a text on one line, without what a terminal would obey.
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

// acts says whether a terminal, or a text's layout, obeys the character instead of showing it.
func acts(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Noncharacter_Code_Point, r) ||
		unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Join_Control, r) // joiners are part of words and of emoji
}

// Quote appends a text as a JSON string.
func Quote(dst []byte, s string) []byte {
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string has a JSON form
	}
	return Escape(dst, bytes.TrimSuffix(quoted.Bytes(), []byte("\n")))
}

// Escape appends a JSON document that means the same and has no such character but white space between its tokens: within strings they are spelled as escapes, and what
// is not UTF-8 as U+FFFD, which is how decoders read it. The document must be valid.
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

// IsASCII says whether nothing in a document needs Escape.
func IsASCII(doc []byte) bool {
	for _, c := range doc {
		if c >= 0x7f {
			return false
		}
	}
	return true
}
