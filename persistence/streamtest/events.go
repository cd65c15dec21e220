package streamtest

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// Events makes batches of events with the shapes, the sizes and the entropy of a real feed: DIDs,
// record keys and content hashes are random, and the rest repeats. The same seed makes the same
// events. It is not safe for concurrent use.
type Events struct {
	rng    *rand.Rand
	timeUS int64
	seq    int64
	dids   [2048]string
	// RateHz is the number of events per second of upstream time; 0 means 2000.
	RateHz int
}

// NewEvents returns a source whose first event is at about startUS, in Unix microseconds.
func NewEvents(seed uint64, startUS int64) *Events {
	e := &Events{rng: rand.New(rand.NewPCG(seed, 0)), timeUS: startUS}
	for i := range e.dids {
		e.dids[i] = "did:plc:" + string(e.base32(nil, 24))
	}
	return e
}

// Fill resets the batch, puts n events into it and returns it.
func (e *Events) Fill(b *messages.Batch, n int) *messages.Batch {
	b.Reset()
	for range n {
		e.add(b)
	}
	b.Frames = n
	return b
}

func (e *Events) add(b *messages.Batch) {
	rate := e.RateHz
	if rate == 0 {
		rate = 2000
	}
	// The operations of one commit share a time. Here about every third event does.
	if e.rng.IntN(3) > 0 {
		e.timeUS += e.rng.Int64N(3_000_000/int64(rate)) + 1
	}
	e.seq++
	off := len(b.Buf)
	b.Buf = e.event(b.Buf)
	b.Events = append(b.Events, messages.Event{
		Off: uint32(off), Len: uint32(len(b.Buf) - off), Kind: messages.KindCommit, TimeUS: e.timeUS, Seq: e.seq,
		Fingerprint: xxhash.Sum64(b.Buf[off:]),
	})
}

// event appends one event. The average is 568 bytes, as on the real network.
func (e *Events) event(b []byte) []byte {
	b = append(b, `{"did":"`...)
	b = append(b, e.dids[e.rng.IntN(len(e.dids))]...)
	b = append(b, `","time_us":`...)
	b = strconv.AppendInt(b, e.timeUS, 10)
	b = append(b, `,"kind":"commit","commit":{"rev":"`...)
	b = e.base32(b, 13)
	b = append(b, `","operation":"create","collection":"`...)
	if e.rng.IntN(10) < 6 {
		b = append(b, `app.bsky.feed.like","rkey":"`...)
		b = e.base32(b, 13)
		b = append(b, `","record":{"$type":"app.bsky.feed.like","createdAt":"2026-11-22T10:`...)
		b = strconv.AppendInt(b, 10+e.rng.Int64N(50), 10)
		b = append(b, `:12.345Z","subject":{"cid":"bafyrei`...)
		b = e.base32(b, 52)
		b = append(b, `","uri":"at://`...)
		b = append(b, e.dids[e.rng.IntN(len(e.dids))]...)
		b = append(b, `/app.bsky.feed.post/`...)
		b = e.base32(b, 13)
		b = append(b, `"}},"cid":"bafyrei`...)
	} else {
		b = append(b, `app.bsky.feed.post","rkey":"`...)
		b = e.base32(b, 13)
		b = append(b, `","record":{"$type":"app.bsky.feed.post","createdAt":"2026-11-22T10:11:12.345Z","langs":["en"],"text":"`...)
		for range 20 + e.rng.IntN(60) {
			b = e.base32(b, 2+e.rng.IntN(9))
			b = append(b, ' ')
		}
		b = append(b, `"},"cid":"bafyrei`...)
	}
	b = e.base32(b, 52)
	return append(b, `"}}`...)
}

// base32 appends n random digits with 5 bits of entropy each.
func (e *Events) base32(b []byte, n int) []byte {
	var bits [8]byte
	for n > 0 {
		binary.LittleEndian.PutUint64(bits[:], e.rng.Uint64())
		for _, c := range bits[:min(n, len(bits))] {
			b = append(b, "abcdefghijklmnopqrstuvwxyz234567"[c&31])
		}
		n -= len(bits)
	}
	return b
}
