package jetstream

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"tempestd/messages"
)

// Entry is a stream's entry as it is read for someone who speaks Jetstream: an event in v1's shape, a v2 frame that was kept as it came, or a gap
// entry of our own. The zero Entry is ready to Read; one that is used again and again allocates nothing but for what is spelled with escapes. It is not safe for
// concurrent use.
type Entry struct {
	event  []byte
	f      fields
	id     identity
	number int64 // what Renumber gave it, 0 for the upstream's own
}

// Read reads an entry, which must not change as long as e is used. It says false of what is none, and then nothing else may be asked.
func (e *Entry) Read(event []byte) bool {
	e.event, e.f, e.id, e.number = event, fields{}, identity{}, 0
	if e.f.parse(event) < 0 {
		return false
	}
	if !e.f.wrapped() && string(e.f.kind) == "gap" {
		e.id.kind = messages.KindGap
		return true
	}
	var lack string
	e.id, lack = e.f.identify()
	return lack == ""
}

// Kind is the event's kind.
func (e *Entry) Kind() messages.Kind { return e.id.kind }

// DID is the account's, nil of a gap.
func (e *Entry) DID() []byte { return e.id.did }

// Collection is a commit's, nil of anything else.
func (e *Entry) Collection() []byte { return e.id.path[0] }

// TimeUS is the event's position in time, Unix µs: see Scan.
func (e *Entry) TimeUS() int64 { return e.f.positionUS() }

// Seq is the upstream's sequence number, 0 where it has none.
func (e *Entry) Seq() int64 { return e.f.seq }

// Renumber gives the event another sequence number, from 1: V1 and V2 then have it in place of the upstream's.
func (e *Entry) Renumber(n int64) { e.f.seq, e.number = n, n }

// V1 is the event as v1 servers send it: the very bytes of the entry, but for another number, for the last member of one that came by v2 (Unwrap), and but for a v2
// frame, which gets that shape. What is not the entry's bytes is appended to buf, which is given back, grown if need be.
func (e *Entry) V1(buf []byte) (event, grown []byte) {
	start := len(buf)
	if e.f.wrapped() {
		buf = e.f.appendV1(buf, e.event)
		return buf[start:], buf
	}
	event, grown = e.renumbered(buf, `"cursor":`, e.f.values.time.to)
	last := e.witness()
	if last == 0 {
		return event, grown
	}
	if e.number == 0 {
		grown = append(grown, event...)
	}
	grown = append(grown[:len(grown)-last], '}')
	return grown[start:], grown
}

// witness is how many bytes the entry ends with that v1 servers do not send: its last member, and its brace.
func (e *Entry) witness() int {
	v := e.f.values.witnessed
	if e.f.witnessedUS == 0 || v.to != len(e.event)-1 || !bytes.HasSuffix(e.event[:v.from], []byte(witnessedMember)) {
		return 0
	}
	return len(e.event) - v.from + len(witnessedMember)
}

// renumbered is the entry as it is stored, but for its number. Where it has none it gets a member for it: behind the value that ends at
// an index, or before the first member of the object that begins before it.
func (e *Entry) renumbered(buf []byte, key string, at int) (event, grown []byte) {
	if e.number == 0 {
		return e.event, buf
	}
	start := len(buf)
	before, after := "", ""
	where := e.f.values.number
	if where.to == 0 {
		where = span{at, at}
		if e.event[at-1] == '{' {
			before, after = key, ","
		} else {
			before = "," + key
		}
	}
	buf = append(append(buf, e.event[:where.from]...), before...)
	buf = append(strconv.AppendInt(buf, e.number, 10), after...)
	buf = append(buf, e.event[where.to:]...)
	return buf[start:], buf
}

// V2 is the event's v2 frame: the very bytes of the entry where it is one, or else what a server that speaks both protocols sends of the same event, appended to
// buf. buf is given back, grown if need be.
//
// The values are the entry's own bytes, beneath sorted keys; "witnessedAt" is the last of them where the entry has it. An event without a sequence number, of a server that has none, gets its time for one: that is
// a cursor too. A kind that this version does not know has its own object in the payload and nothing else; further members of the event itself, which no server
// sends, are left out. There is no frame, nil, of a gap nor of a kind that v2 has no way to name.
func (e *Entry) V2(buf []byte) (frame, grown []byte) {
	if e.f.wrapped() {
		return e.renumbered(buf, `"seq":`, e.f.v2.from+1)
	}
	if e.id.kind == messages.KindGap || e.id.kind == messages.KindUnknown && typeLack(unescape(e.f.kind)) != "" {
		return nil, buf
	}
	start := len(buf)
	buf = e.f.appendV2(buf, e.event, e.id.kind)
	return buf[start:], buf
}

// envelope is where a v2 frame begins, up to the name of the event's kind.
const envelope = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#`

// appendV2 appends the v2 frame of an identified event in v1's shape.
func (f *fields) appendV2(dst, event []byte, kind messages.Kind) []byte {
	dst = append(dst, envelope...)
	dst = append(dst, f.kind...)
	dst = append(dst, '"')
	switch kind {
	case messages.KindCommit:
		if f.values.more {
			return f.appendV2Members(dst, event, f.values.commit)
		}
		dst = appendMember(dst, `,"cid":`, event, f.values.cid)
		dst = appendText(dst, `,"collection":"`, f.commit.collection)
		dst = appendText(dst, `,"did":"`, f.did)
		dst = appendText(dst, `,"operation":"`, f.commit.operation)
		dst = appendMember(dst, `,"record":`, event, f.values.record)
		dst = appendText(dst, `,"rev":"`, f.commit.rev)
		dst = appendText(dst, `,"rkey":"`, f.commit.rkey)
		dst = f.appendV2Seq(dst)
	case messages.KindIdentity:
		dst = appendText(dst, `,"did":"`, f.did)
		dst = appendMember(dst, `,"identity":`, event, f.values.identity)
		dst = f.appendV2Seq(dst)
	case messages.KindAccount:
		dst = appendMember(dst, `,"account":`, event, f.values.account)
		dst = appendText(dst, `,"did":"`, f.did)
		dst = f.appendV2Seq(dst)
	case messages.KindSync:
		dst = appendText(dst, `,"did":"`, f.did)
		dst = f.appendV2Seq(dst)
		dst = appendMember(dst, `,"sync":`, event, f.values.sync)
	default:
		return f.appendV2Members(dst, event, span{})
	}
	dst = append(appendTime(append(dst, `,"time":"`...), f.timeUS), '"')
	if f.witnessedUS > 0 {
		dst = appendMember(dst, witnessedMember, event, f.values.witnessed)
	}
	return append(dst, "}}"...)
}

func appendText(dst []byte, key string, spelled []byte) []byte {
	dst = append(dst, key...)
	dst = append(dst, spelled...)
	return append(dst, '"')
}

func appendMember(dst []byte, key string, event []byte, value span) []byte {
	if value.to == 0 {
		return dst
	}
	dst = append(dst, key...)
	return append(dst, value.of(event)...)
}

func (f *fields) appendV2Seq(dst []byte) []byte {
	seq := f.seq
	if seq == 0 {
		seq = f.positionUS()
	}
	return strconv.AppendInt(append(dst, `,"seq":`...), seq, 10)
}

// appendV2Members is appendV2, after the type, of an event with members that servers do not send so far: those of the commit, or else the one that has the
// name of the kind.
func (f *fields) appendV2Members(dst, event []byte, commit span) []byte {
	type member struct{ key, value []byte }
	text := func(key string, spelled []byte) member {
		return member{[]byte(key), slices.Concat([]byte{'"'}, spelled, []byte{'"'})}
	}
	members := []member{text("did", f.did), text("time", appendTime(nil, f.timeUS)), {[]byte("seq"), f.appendV2Seq(nil)[len(`,"seq":`):]}}
	if f.witnessedUS > 0 {
		members = append(members, member{[]byte(witnessedKey), f.values.witnessed.of(event)})
	}
	if commit.to > 0 {
		members = append(members, text("collection", f.commit.collection), text("operation", f.commit.operation), text("rev", f.commit.rev), text("rkey", f.commit.rkey))
		for _, v := range []struct {
			key   string
			value span
		}{{"cid", f.values.cid}, {"record", f.values.record}} {
			if v.value.to > 0 {
				members = append(members, member{[]byte(v.key), v.value.of(event)})
			}
		}
		eachMember(event, commit.from, func(key, spelled []byte, value span) {
			if isUnknown(key) {
				members = append(members, member{spelled, value.of(event)})
			}
		})
	} else {
		kind := unescape(f.kind)
		eachMember(event, skipSpace(event, 0), func(key, spelled []byte, value span) {
			if bytes.Equal(key, kind) && isUnknown(key) {
				members = append(members, member{spelled, value.of(event)})
			}
		})
	}
	slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	for i, m := range members {
		if i+1 < len(members) && bytes.Equal(m.key, members[i+1].key) {
			continue // of a key given twice the last one counts
		}
		dst = append(dst, `,"`...)
		dst = append(dst, m.key...)
		dst = append(dst, `":`...)
		dst = append(dst, m.value...)
	}
	return append(dst, "}}"...)
}

// lastMicro is the last microsecond that RFC 3339 has a way to write.
var lastMicro = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()

// appendTime appends Unix µs as v2 servers write them, "2026-11-22T06:07:16.582807Z". Later than the year 9999 it is not.
func appendTime(dst []byte, us int64) []byte {
	t := time.UnixMicro(min(us, lastMicro)).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, 'Z')
}

// appendDigits appends the last n decimal digits of v.
func appendDigits(dst []byte, v, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i, n = i-1, n-1 {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}
