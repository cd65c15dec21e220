package jetstream

import "bytes"

// outline is what is kept of a message that is too large to be read: enough to know which event it was. It is JSON again, in which what is nested deeper than an event's own
// members (the record, above all) is null and long strings are empty. The message passes through in pieces, and whatever it is, no more than maxOutline bytes of
// it are held.
//
// It is not checked on the way: what is left of bad JSON is bad JSON, or of no interest.
type outline struct {
	json    []byte
	depth   int
	text    int // where the string that is passing begins in json, with its quote; only when inText
	inText  bool
	begun   bool
	none    bool // what passes is not one object
	escaped bool // the byte before was a backslash
	full    bool // … or of no use: nothing more is kept
}

// Bounds of an outline.
const (
	outlineDepth = 2        // levels of objects: an event, or a frame and its payload
	outlineText  = 2 << 10  // bytes of a string: more than a DID has
	maxOutline   = 64 << 10 // bytes
)

// Write takes the next bytes of the message.
func (o *outline) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i++ {
		if o.inText && !o.kept() && !o.escaped {
			if i += plainText(p[i:]); i == len(p) {
				break
			}
		}
		o.next(p[i])
	}
	return len(p), nil
}

// plainText is how many bytes there are before the next that means something in a string.
func plainText(p []byte) int {
	n := bytes.IndexByte(p, '"')
	if n < 0 {
		n = len(p)
	}
	if slash := bytes.IndexByte(p[:n], '\\'); slash >= 0 {
		return slash
	}
	return n
}

func (o *outline) next(c byte) {
	switch {
	case o.inText:
		o.within(c)
	case o.depth == 0 && c > ' ' && (c != '{' || o.begun):
		o.none = true
	case c == '"':
		o.inText, o.text = true, len(o.json)
		o.keep(c)
	case c == '{' || c == '[':
		o.begun = true
		if o.depth == outlineDepth {
			o.keep('n', 'u', 'l', 'l')
		} else {
			o.keep(c)
		}
		o.depth++
	case c == '}' || c == ']':
		o.keep(c)
		o.depth--
	case c > ' ':
		o.keep(c)
	}
}

// within takes a byte of a string.
func (o *outline) within(c byte) {
	o.keep(c)
	switch {
	case o.escaped:
		o.escaped = false
	case c == '\\':
		o.escaped = true
	case c == '"':
		if o.inText = false; o.kept() && len(o.json)-o.text > outlineText+2 {
			o.json = append(o.json[:o.text], '"', '"')
		}
	}
}

// kept says whether what is passing is kept.
func (o *outline) kept() bool { return o.depth <= outlineDepth && !o.full }

func (o *outline) keep(c ...byte) {
	switch {
	case !o.kept():
	case o.inText && len(o.json)-o.text > outlineText+2: // it will be empty
	case len(o.json)+len(c) > maxOutline:
		o.full = true
	default:
		o.json = append(o.json, c...)
	}
}

// bytes is the whole outline; known is false where there was too much of it, or it could not be had. Of what is not one object it is nil.
func (o *outline) bytes() (json []byte, known bool) {
	if o.none {
		return nil, true
	}
	return o.json, !o.full
}
