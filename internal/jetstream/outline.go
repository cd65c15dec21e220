package jetstream

import "bytes"

// outline is the part that is kept of a message that is too large: enough to know which event it
// was. It is JSON again. In it, values nested deeper than an event's own members (above all the
// record) are null, and long strings are empty. The message passes through in pieces, and at most
// maxOutline bytes are kept, whatever it contains.
//
// The message is not validated on the way. The outline of bad JSON is bad JSON too, or does not
// matter.
type outline struct {
	json    []byte
	depth   int
	text    int // the index in json of the current string's opening quote; only if inText
	inText  bool
	begun   bool
	none    bool // the message is not one object
	escaped bool // the previous byte was a backslash
	full    bool // json has no more room, or is useless: nothing more is kept
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

// plainText returns how many bytes come before the next byte that has a meaning in a string.
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

// kept says whether the current bytes are kept.
func (o *outline) kept() bool { return o.depth <= outlineDepth && !o.full }

func (o *outline) keep(c ...byte) {
	switch {
	case !o.kept():
	case o.inText && len(o.json)-o.text > outlineText+2: // the string will be empty
	case len(o.json)+len(c) > maxOutline:
		o.full = true
	default:
		o.json = append(o.json, c...)
	}
}

// bytes returns the whole outline. known is false if the outline is too large or is not available.
// For a message that is not one object it returns nil and true.
func (o *outline) bytes() (json []byte, known bool) {
	if o.none {
		return nil, true
	}
	return o.json, !o.full
}
