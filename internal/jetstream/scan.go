package jetstream

import "tempestd/messages"

// Scan reads the event in a v1 or v2 frame: it sets e's Kind, TimeUS, Seq and Fingerprint, and leaves the rest of e alone. One forward pass both
// validates the frame, so that it can be stored and embedded in other JSON as it is, and finds the fields, in any order and spelling.
//
// The frame must be exactly one JSON object of RFC 8259, in UTF-8, nested at most 512 deep. Of a key given twice the last one
// counts, and a value of the wrong type is none. An event has a "did", a positive "time_us" and a "kind", a commit also "rev", "operation",
// "collection" and "rkey"; a "cursor" is optional and gives Seq. An unknown kind is accepted as KindUnknown; "gap" is not, which is tempestd's own.
// What has no identity of its own (an unknown kind, an identity or account event without the relay's "seq", a sync without "rev") is told
// apart by all its bytes but those of its time and sequence number, which are its instance's.
//
// TimeUS is the event's position in time: its "witnessedAt" where it has one, in RFC 3339, and else its own time. They are the same on today's
// servers; where they are not, a time cursor means the former.
//
// A v2 frame has the "$type" "message" and a "payload", which says the same in its own way ([Unwrap]); the event has the same identity in either.
//
// The error is a *[FrameError], and e is unchanged. Without escapes in the fields nothing is allocated, but for what has no identity of its own.
// Scan is safe for concurrent use.
func Scan(frame []byte, e *messages.Event) error {
	var f fields
	if i := f.parse(frame); i < 0 {
		return badJSON(frame, ^i)
	}
	id, lack := f.identify()
	if lack != "" {
		return badEvent(lack)
	}
	f.fill(e, &id, frame)
	return nil
}

// fill sets what is known of the event.
func (f *fields) fill(e *messages.Event, id *identity, frame []byte) {
	if id.nameless {
		id.whole = f.content(frame)
	}
	e.Kind, e.TimeUS, e.Seq, e.Fingerprint = id.kind, f.positionUS(), f.seq, id.fingerprint()
}

func badEvent(lack string) error { return &FrameError{Kind: ErrBadEvent, Detail: lack} }

// badJSON says what is wrong at byte i.
func badJSON(frame []byte, i int) error {
	detail := "unexpected byte"
	switch c := at(frame, i); {
	case i >= len(frame):
		detail = "unexpected end"
	case c >= 0x80:
		detail = "a byte outside of a string, or invalid UTF-8,"
	case c < ' ':
		detail = "a control character"
	case c == '{' || c == '[':
		detail = "a value out of place, or nested too deep,"
	}
	return &FrameError{Kind: ErrBadJSON, Detail: detail, Offset: i}
}

// Describe finds an event's "did" and, of a commit, its "collection"; nil where there is none. Escapes are resolved; what is returned may alias the event,
// which must be one that Scan has accepted.
func Describe(event []byte) (did, collection []byte) {
	var f fields
	if i := f.parse(event); i < 0 {
		return nil, nil
	}
	if f.escaped {
		f.unescape()
	}
	id, lack := f.identifyPlain()
	if lack != "" {
		return nil, nil
	}
	if id.kind == messages.KindCommit {
		collection = id.path[0]
	}
	return id.did, collection
}
