package jetsim

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tempestd/internal/archive/dagcbor"
)

// appendCBOR appends the DAG-CBOR of a JSON value that this package wrote: without spaces, and with
// the types of the AT Protocol's data model, {"$link":…} and {"$bytes":…} included. Other JSON
// panics. It shares no code with the reader of the archive, so that one tests the other.
func appendCBOR(b []byte, value string) []byte {
	b, rest := appendCBORValue(b, value)
	if rest != "" {
		panic(fmt.Sprintf("jetsim: %.40q follows a record", rest))
	}
	return b
}

func appendCBORValue(b []byte, s string) (_ []byte, rest string) {
	switch s[0] {
	case '{':
		return appendCBORMap(b, s)
	case '[':
		var items []byte
		var n uint64
		for s = s[1:]; s[0] != ']'; n++ {
			items, s = appendCBORValue(items, strings.TrimPrefix(s, ","))
		}
		return append(appendCBORHead(b, 4, n), items...), s[1:]
	case '"':
		text, rest := cutText(s)
		return append(appendCBORHead(b, 3, uint64(len(text))), text...), rest
	case 't':
		return append(b, 0xf5), s[len("true"):]
	case 'f':
		return append(b, 0xf4), s[len("false"):]
	case 'n':
		return append(b, 0xf6), s[len("null"):]
	}
	end := strings.IndexAny(s, ",]}")
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	if err != nil {
		panic("jetsim: a record with " + s[:end])
	}
	if n < 0 {
		return appendCBORHead(b, 1, uint64(-1-n)), s[end:]
	}
	return appendCBORHead(b, 0, uint64(n)), s[end:]
}

// appendCBORMap appends an object. The order of keys is that of DAG-CBOR: by length, then by bytes.
func appendCBORMap(b []byte, s string) (_ []byte, rest string) {
	type member struct {
		key      string
		from, to int // its value, after b
	}
	var space [16]member
	members := space[:0]
	at := len(b)
	for s = s[1:]; s[0] != '}'; {
		var m member
		m.key, s = cutText(strings.TrimPrefix(s, ","))
		if s = s[1:]; m.key == "$link" || m.key == "$bytes" {
			text, rest := cutText(s)
			if m.key == "$link" {
				return appendCBORLink(b, text), rest[1:]
			}
			return appendCBORBytes(b, text), rest[1:]
		}
		m.from = len(b) - at
		b = append(appendCBORHead(b, 3, uint64(len(m.key))), m.key...)
		b, s = appendCBORValue(b, s)
		m.to = len(b) - at
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int {
		if len(a.key) != len(b.key) {
			return len(a.key) - len(b.key)
		}
		return strings.Compare(a.key, b.key)
	})
	end := len(b)
	b = appendCBORHead(b, 5, uint64(len(members)))
	for _, m := range members {
		b = append(b, b[at+m.from:at+m.to]...)
	}
	n := copy(b[at:], b[end:])
	return b[:at+n], s[1:]
}

// cutText returns the text of the JSON string at the beginning of s.
func cutText(s string) (text, rest string) {
	end := 1
	for escaped := false; ; end++ {
		switch c := s[end]; {
		case c == '\\':
			escaped = true
			end++
		case c != '"':
		case !escaped:
			return s[1:end], s[end+1:]
		default:
			if err := json.Unmarshal([]byte(s[:end+1]), &text); err != nil {
				panic("jetsim: " + err.Error())
			}
			return text, s[end+1:]
		}
	}
}

func appendCBORBytes(b []byte, text string) []byte {
	data, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		panic("jetsim: " + err.Error())
	}
	return append(appendCBORHead(b, 2, uint64(len(data))), data...)
}

func appendCBORLink(b []byte, text string) []byte {
	cid, err := dagcbor.ParseCIDText(text)
	if err != nil {
		panic("jetsim: " + err.Error())
	}
	b = append(appendCBORHead(append(b, 0xd8, 42), 2, 1+dagcbor.CIDSize), 0)
	b, _ = cid.AppendBinary(b)
	return b
}

// appendCBORHead appends a major type and its argument, in the shortest form.
func appendCBORHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}
