package plain_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"tempestd/internal/plain"
)

// obeyed lists characters that a terminal or the layout of a text obeys: C0, DEL, C1, bidirectional
// marks, line separators, and bytes that are not UTF-8.
var obeyed = []string{"\x1b[2J", "\x07", "\x7f", "\u009b31m", "\u0080", "\u009f", "\u202e", "\u2066", "\u2069", "\u200f", "\u061c", "\u2028", "\ufeff", "\U000e0041", "\ufff9", "\xff", "\xc2", "\xed\xa0\x80", "\uffff"}

// clean checks that a text has none of these characters, except for the white space that space
// permits.
func clean(t testing.TB, text string, space string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("%q is not UTF-8", text)
	}
	for _, r := range text {
		if unicode.IsControl(r) && !strings.ContainsRune(space, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q holds %U", text, r)
		}
	}
}

func TestALineHoldsNothingThatATerminalObeys(t *testing.T) {
	for _, s := range obeyed {
		got := plain.Line("a" + s + "b\nc")
		clean(t, got, "")
		if !strings.HasPrefix(got, "a") || !strings.HasSuffix(got, "b c") {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	if s := "naïve 日本語 👩‍👩‍👧 🏴‍☠️"; plain.Line(s) != s {
		t.Errorf("%q becomes %q", s, plain.Line(s))
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range obeyed {
		f.Add([]byte(s))
		f.Add([]byte(`{"text":"a` + s + `b","` + s + `":[1, {"é":null}]}`))
	}
	f.Add([]byte("\"\\u202e\\\"\" \r\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		quoted := plain.Quote(nil, string(doc))
		clean(t, string(quoted), "")
		var text string
		if err := json.Unmarshal(quoted, &text); err != nil || len(text) < len(bytes.ToValidUTF8(doc, nil)) || utf8.Valid(doc) && text != string(doc) {
			t.Fatalf("%q is quoted as %q, which means %q, %v", doc, quoted, text, err)
		}
		if !json.Valid(doc) {
			return
		}
		got := plain.Escape([]byte("x"), doc)
		if got[0] != 'x' || !json.Valid(got[1:]) || plain.IsASCII(doc) && !bytes.Equal(got[1:], doc) {
			t.Fatalf("%q becomes %q", doc, got)
		}
		clean(t, string(got[1:]), "\t\r\n")
		if want, have := meaning(t, doc), meaning(t, got[1:]); !reflect.DeepEqual(want, have) {
			t.Fatalf("%q becomes %q, which means %v, want %v", doc, got, have, want)
		}
	})
}

// meaning returns the content of a document. Numbers stay text, because some are too great for any
// type.
func meaning(t *testing.T, doc []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", doc, err)
	}
	return v
}
