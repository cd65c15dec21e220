package jetstream

import "tempestd/messages"

// Scan reads the event in a v1 or v2 frame. It sets e's Kind, TimeUS, Seq and Fingerprint, and
// leaves the rest of e alone. One forward pass validates the frame, so that it can be stored and
// embedded in other JSON as it is, and finds the fields, in any order and spelling.
//
// The frame must be exactly one JSON object of RFC 8259, in UTF-8, nested at most 512 deep. If a
// key is given twice, the last one counts; a value of the wrong type counts as missing. An event
// has a "did", a positive "time_us" and a "kind"; a commit also has "rev", "operation",
// "collection" and "rkey". A "cursor" is optional and gives Seq. An unknown kind is accepted as
// KindUnknown; the kind "gap" is refused, because it is tempestd's own. Some events have no
// identity of their own: an event of an unknown kind, an identity or account event without the
// relay's "seq", a sync without "rev". All their bytes identify them, except their time and
// sequence number, which belong to the instance.
//
// A commit with a "repair" need not have a "rev": what identifies it then is its record ([Content]).
//
// TimeUS is the event's position in time: its "witnessedAt" (RFC 3339) if it has one, and otherwise
// its own time. The two are the same on today's servers. If they ever differ, servers compare a
// time cursor with "witnessedAt".
//
// A v2 frame has the "$type" "message" and a "payload" with the same members in another spelling
// ([Unwrap]). An event has the same identity in both protocols.
//
// The error is a *[FrameError], and then e is unchanged. Scan allocates only for fields with
// escapes and for events without an identity of their own. It is safe for concurrent use.
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

// fill sets e from the identified event.
func (f *fields) fill(e *messages.Event, id *identity, frame []byte) {
	if id.nameless {
		id.whole = f.content(frame)
	}
	e.Kind, e.TimeUS, e.Seq, e.Fingerprint = id.kind, f.positionUS(), f.seq, id.fingerprint()
}

func badEvent(lack string) error { return &FrameError{Kind: ErrBadEvent, Detail: lack} }

// badJSON returns the error for a frame that is wrong at byte i.
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

// Describe returns an event's "did" and the "collection" of a commit; nil for none. Escapes are
// resolved. The results may alias the event, which Scan must have accepted. It is safe for
// concurrent use.
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
