package jetstream

// fields is what an event is known by, as it stands in the frame. Of a key that is given twice the last one counts, as in encoding/json; a value
// of the wrong type counts as missing. Strings alias the frame and are nil where missing.
type fields struct {
	did, kind []byte
	commit    struct{ rev, operation, collection, rkey []byte }
	syncRev   []byte

	timeUS, seq             int64 // 0 where missing, not an integer or not positive
	identitySeq, accountSeq int64 // the relay's
	escaped                 bool  // a string may hold escapes
}

// object says which object's members are looked at.
type object uint8

const (
	theEvent object = iota
	theCommit
	theIdentity
	theAccount
	theSync
)

// parse fills f from a frame that is one JSON object. A frame that is not gives the complement of the index it is wrong at.
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
	return i
}

// members takes the index of an object and walks through its members.
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
		case "did":
			return f.text(b, i, &f.did)
		case "time_us":
			return f.integer(b, i, &f.timeUS)
		case "cursor":
			return f.integer(b, i, &f.seq)
		case "kind":
			return f.text(b, i, &f.kind)
		case "commit":
			f.commit.rev, f.commit.operation, f.commit.collection, f.commit.rkey = nil, nil, nil, nil
			return f.nested(b, i, theCommit)
		case "identity":
			f.identitySeq = 0
			return f.nested(b, i, theIdentity)
		case "account":
			f.accountSeq = 0
			return f.nested(b, i, theAccount)
		case "sync":
			f.syncRev = nil
			return f.nested(b, i, theSync)
		}
		return valueEnd(b, i, 1)
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
		}
	case theIdentity:
		if string(key) == "seq" {
			return f.integer(b, i, &f.identitySeq)
		}
	case theAccount:
		if string(key) == "seq" {
			return f.integer(b, i, &f.accountSeq)
		}
	case theSync:
		if string(key) == "rev" {
			return f.text(b, i, &f.syncRev)
		}
	}
	return valueEnd(b, i, 2)
}

// nested takes the index of a value that should be an object.
func (f *fields) nested(b []byte, i int, of object) int {
	if at(b, i) != '{' {
		return valueEnd(b, i, 1)
	}
	return f.members(b, i, of)
}

// text takes the index of a value that should be a string.
func (f *fields) text(b []byte, i int, into *[]byte) int {
	if at(b, i) != '"' {
		*into = nil
		return valueEnd(b, i, 2)
	}
	end, escaped := stringEnd(b, i+1)
	if end < 0 {
		return end
	}
	*into = b[i+1 : end]
	f.escaped = f.escaped || escaped
	return end + 1
}

// safeDigits is how many decimal digits an int64 surely holds.
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
	case isDigit(c): // a 19th digit: no time, no sequence number
		return numberEnd(b, i)
	case c == '.', c|0x20 == 'e':
		return numberEnd(b, i)
	}
	*into = n
	return end
}

// unescape replaces the strings that may hold escapes by what they mean.
func (f *fields) unescape() {
	if !f.escaped {
		return
	}
	for _, s := range [...]*[]byte{&f.did, &f.kind, &f.commit.rev, &f.commit.operation, &f.commit.collection, &f.commit.rkey, &f.syncRev} {
		*s = unescape(*s)
	}
	f.escaped = false
}
