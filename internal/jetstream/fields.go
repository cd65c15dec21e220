package jetstream

// fields are the members of a frame that order and identify its event. If a key is given twice, the
// last one counts, as in encoding/json; a value of the wrong type counts as missing. Strings alias
// the frame and are nil if missing.
//
// For a v2 frame they are the members of its payload, in which a commit's members are beside those
// of the event.
type fields struct {
	did, kind []byte // for a v2 frame, kind is the payload's "$type" until identify has read it
	commit    commitFields
	syncRev   []byte
	blocks    []byte // of a sync, as they are spelled

	timeUS, seq             int64 // 0 if missing, not an integer or not positive
	witnessedUS             int64 // Unix µs, 0 if missing or no time; set by identify
	identitySeq, accountSeq int64 // the relay's sequence numbers
	escaped                 bool  // a string may contain escapes

	witnessed []byte // "witnessedAt"
	values    values // values that are only copied
	v1Only    bool   // "payload" is an ordinary member
	envelope  []byte // the frame's own "$type"
	v2        payload
}

// commitFields are a commit's strings. Its cid is as it is spelled, with the
// quotes and any escapes, and may be any value.
type commitFields struct{ rev, operation, collection, rkey, cid []byte }

// span is the place of a value in the frame; the zero span is none.
type span struct{ from, to int }

func (s span) of(frame []byte) []byte { return frame[s.from:s.to] }

// values are the places of an event's values. In v1's shape the values of a commit, an identity and
// so on are inside of an object of their own; in v2's shape a commit's values are beside the
// event's.
type values struct {
	commit, record, cid, identity, account, sync, witnessed span
	repair                                                  span // what a repair added, if it is an object
	time, number                                            span // the event's own, in both shapes
	// There are members with names that this version does not know.
	more bool
}

// payload describes the payload of a v2 frame.
type payload struct {
	seen, is bool // seen: there was a payload that is an object; is: the last payload is one
	from     int  // where it begins
	time     []byte
	blocks   []byte // of a sync without an object of its own
}

// object says which object the current member belongs to.
type object uint8

const (
	theEvent object = iota
	theCommit
	theIdentity
	theAccount
	theSync
	thePayload
)

// parse fills f from a frame that is one JSON object. For any other frame it returns the complement
// of the index of the error.
func (f *fields) parse(frame []byte) int {
	i := skipSpace(frame, 0)
	if at(frame, i) != '{' {
		return ^i
	}
	if i = f.members(frame, i, theEvent); i < 0 {
		return i
	}
	if i = skipSpace(frame, i); i < len(frame) {
		return ^i
	}
	if f.v2.seen && !f.wrapped() {
		*f = fields{v1Only: true}
		return f.parse(frame)
	}
	return i
}

// wrapped says whether the frame is a v2 message: an envelope with the "$type" "message" and a
// payload.
func (f *fields) wrapped() bool {
	return f.v2.is && string(unescape(f.envelope)) == "message"
}

// members takes the index of an object and reads its members.
func (f *fields) members(b []byte, i int, of object) int {
	if i++; at(b, i) <= ' ' {
		i = skipSpace(b, i)
	}
	if at(b, i) == '}' {
		return i + 1
	}
	for {
		end, value, escaped := keyEnd(b, i)
		if value < 0 {
			return value
		}
		key := b[i+1 : end]
		if escaped {
			key = shortKey(key)
		}
		if i = f.member(b, value, of, key); i < 0 {
			return i
		}
		if at(b, i) <= ' ' {
			i = skipSpace(b, i)
		}
		switch at(b, i) {
		case ',':
			if i++; at(b, i) <= ' ' {
				i = skipSpace(b, i)
			}
		case '}':
			return i + 1
		default:
			return ^i
		}
	}
}

// member takes the index of the value that belongs to key.
func (f *fields) member(b []byte, i int, of object, key []byte) int {
	switch of {
	case theEvent:
		switch string(key) {
		case "$type":
			return f.text(b, i, &f.envelope)
		case "payload":
			return f.payload(b, i)
		}
		if string(key) == repairKey {
			return f.repair(b, i)
		}
		if f.v2.seen {
			return valueEnd(b, i, 1)
		}
		switch string(key) {
		case "did":
			return f.text(b, i, &f.did)
		case "time_us":
			return f.values.time.set(i, f.integer(b, i, &f.timeUS))
		case "cursor":
			return f.values.number.set(i, f.integer(b, i, &f.seq))
		case "kind":
			return f.text(b, i, &f.kind)
		case witnessedKey:
			return f.values.witnessed.set(i, f.text(b, i, &f.witnessed))
		case "commit":
			f.commit = commitFields{}
			f.values.record, f.values.cid, f.values.more = span{}, span{}, false
			return f.values.commit.set(i, f.nested(b, i, theCommit))
		case "identity":
			f.identitySeq = 0
			return f.values.identity.set(i, f.nested(b, i, theIdentity))
		case "account":
			f.accountSeq = 0
			return f.values.account.set(i, f.nested(b, i, theAccount))
		case "sync":
			f.syncRev, f.blocks = nil, nil
			return f.values.sync.set(i, f.nested(b, i, theSync))
		}
		return valueEnd(b, i, 1)
	case thePayload:
		return f.payloadMember(b, i, key)
	case theCommit:
		switch string(key) {
		case "rev":
			return f.text(b, i, &f.commit.rev)
		case "operation":
			return f.text(b, i, &f.commit.operation)
		case "collection":
			return f.text(b, i, &f.commit.collection)
		case "rkey":
			return f.text(b, i, &f.commit.rkey)
		case "record":
			return f.values.record.set(i, valueEnd(b, i, f.depth()))
		case "cid":
			return f.values.cid.set(i, f.raw(b, i, &f.commit.cid))
		}
		f.values.more = true
	case theIdentity:
		if string(key) == "seq" {
			return f.integer(b, i, &f.identitySeq)
		}
	case theAccount:
		if string(key) == "seq" {
			return f.integer(b, i, &f.accountSeq)
		}
	case theSync:
		switch string(key) {
		case "rev":
			return f.text(b, i, &f.syncRev)
		case "blocks":
			return f.raw(b, i, &f.blocks)
		}
	}
	return valueEnd(b, i, f.depth())
}

// depth returns how many levels a member of a nested object is nested in.
func (f *fields) depth() int {
	if f.v2.seen {
		return 3
	}
	return 2
}

// payload takes the index of the value of "payload", which in a v2 frame is an object.
func (f *fields) payload(b []byte, i int) int {
	if f.v1Only {
		return valueEnd(b, i, 1)
	}
	f.v2.is = at(b, i) == '{'
	if !f.v2.is {
		return valueEnd(b, i, 1)
	}
	*f = fields{envelope: f.envelope, escaped: f.escaped, v2: payload{seen: true, is: true, from: i}}
	return f.members(b, i, thePayload)
}

// payloadMember takes the index of the value that belongs to key in a payload.
func (f *fields) payloadMember(b []byte, i int, key []byte) int {
	switch string(key) {
	case "$type":
		return f.text(b, i, &f.kind)
	case "did":
		return f.text(b, i, &f.did)
	case "seq":
		return f.values.number.set(i, f.integer(b, i, &f.seq))
	case "time":
		return f.text(b, i, &f.v2.time)
	case witnessedKey:
		return f.values.witnessed.set(i, f.text(b, i, &f.witnessed))
	case "rev":
		return f.text(b, i, &f.commit.rev)
	case "operation":
		return f.text(b, i, &f.commit.operation)
	case "collection":
		return f.text(b, i, &f.commit.collection)
	case "rkey":
		return f.text(b, i, &f.commit.rkey)
	case "record":
		return f.values.record.set(i, valueEnd(b, i, 2))
	case "cid":
		return f.values.cid.set(i, f.raw(b, i, &f.commit.cid))
	case "identity":
		f.identitySeq = 0
		return f.values.identity.set(i, f.nested(b, i, theIdentity))
	case "account":
		f.accountSeq = 0
		return f.values.account.set(i, f.nested(b, i, theAccount))
	case "sync":
		f.syncRev, f.blocks = nil, nil
		return f.values.sync.set(i, f.nested(b, i, theSync))
	case "blocks":
		f.values.more = true
		return f.raw(b, i, &f.v2.blocks)
	}
	f.values.more = true
	return valueEnd(b, i, 2)
}

// witnessedKey is the member that says when the upstream's instance witnessed the event. A v2
// payload has it, and so has the entry that is made of that payload.
const witnessedKey = "witnessedAt"

// repairKey is the member that a repair adds to an event (messages.Repair). In a v2 frame it is a
// member of the envelope, behind the payload.
const repairKey = "repair"

// repair takes the index of the value of "repair".
func (f *fields) repair(b []byte, i int) int {
	f.values.repair = span{}
	end := valueEnd(b, i, 1)
	if end >= 0 && b[i] == '{' {
		f.values.repair = span{i, end}
	}
	return end
}

// positionUS returns the event's position in time: the time at which the instance witnessed it, if
// the event says that, because servers compare a time cursor with that time; otherwise its own
// time.
func (f *fields) positionUS() int64 {
	if f.witnessedUS > 0 {
		return f.witnessedUS
	}
	return f.timeUS
}

// set stores a value's index and the index after it, and returns the latter.
func (s *span) set(i, end int) int {
	*s = span{i, end}
	return end
}

// nested takes the index of a value that should be an object.
func (f *fields) nested(b []byte, i int, of object) int {
	if at(b, i) != '{' {
		return valueEnd(b, i, 1)
	}
	return f.members(b, i, of)
}

// raw takes the index of a value of any type.
func (f *fields) raw(b []byte, i int, into *[]byte) int {
	end := valueEnd(b, i, f.depth())
	if end >= 0 {
		*into = b[i:end]
	}
	return end
}

// text takes the index of a value that should be a string.
func (f *fields) text(b []byte, i int, into *[]byte) int {
	if at(b, i) != '"' {
		*into = nil
		return valueEnd(b, i, f.depth())
	}
	end, escaped := stringEnd(b, i+1)
	if end < 0 {
		return end
	}
	*into = b[i+1 : end]
	f.escaped = f.escaped || escaped
	return end + 1
}

// safeDigits is a number of decimal digits that always fits in an int64.
const safeDigits = 18

// integer takes the index of a value that should be a positive integer.
func (f *fields) integer(b []byte, i int, into *int64) int {
	*into = 0
	if c := at(b, i); c < '1' || c > '9' {
		return valueEnd(b, i, 2)
	}
	end, n := i, int64(0)
	for end < len(b) && isDigit(b[end]) && end < i+safeDigits {
		n = n*10 + int64(b[end]-'0')
		end++
	}
	switch c := at(b, end); {
	case isDigit(c): // a 19th digit: neither a time nor a sequence number
		return numberEnd(b, i)
	case c == '.', c|0x20 == 'e':
		return numberEnd(b, i)
	}
	*into = n
	return end
}

// unescape resolves the escapes of the strings.
func (f *fields) unescape() {
	for _, s := range [...]*[]byte{&f.did, &f.kind, &f.commit.rev, &f.commit.operation, &f.commit.collection, &f.commit.rkey, &f.syncRev, &f.v2.time, &f.witnessed} {
		*s = unescape(*s)
	}
	f.escaped = false
}
