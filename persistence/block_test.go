package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"tempestd/messages"
)

// testBlock encodes a block of events with the given lengths and gives it with its key and its kept events.
func testBlock(t interface{ Fatal(...any) }, lens []int, drop func(i int) bool, parts []int) (key, block []byte, events [][]byte, ids []EntryID) {
	rng := rand.New(rand.NewPCG(1, 2))
	batch := new(messages.Batch)
	var last EntryID
	for i, n := range lens {
		off := len(batch.Buf)
		for range n {
			batch.Buf = append(batch.Buf, byte('a'+rng.IntN(7)))
		}
		ev := messages.Event{Off: uint32(off), Len: uint32(n), TimeUS: int64(1e15) + int64(i/3)*700, Fingerprint: rng.Uint64(), Drop: drop(i)}
		batch.Events = append(batch.Events, ev)
		if !ev.Drop {
			last = messages.DeriveID(ev.TimeUS, last)
			ids = append(ids, last)
			events = append(events, batch.Bytes(i))
		}
	}
	key = appendBlockKey(nil, blockKeyPrefix("feed"), last)
	block, err := new(encoder).encode(key, &source{
		buf: batch.Buf, events: batch.Events, ids: ids, parts: parts, endEntries: 1000, startBytes: 5, checkpoint: []byte(`{"seq":1}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	return key, block, events, ids
}

func keepAll(int) bool { return false }

func TestBlockRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		lens := rapid.SliceOfN(rapid.IntRange(0, 900), 1, 60).Draw(r, "lens")
		lens[len(lens)/2] = rapid.SampledFrom([]int{0, 1, chunkTarget - 1, chunkTarget, 2 * chunkTarget}).Draw(r, "long one")
		keep := rapid.IntRange(0, len(lens)-1).Draw(r, "kept for certain")
		dropEvery := rapid.IntRange(1, 5).Draw(r, "drop every")
		key, block, events, ids := testBlock(r, lens, func(i int) bool { return dropEvery > 1 && i%dropEvery == 0 && i != keep }, nil)

		var h blockHead
		if err := h.decode(key, block); err != nil {
			r.Fatal(err)
		}
		if h.count != len(events) || h.endEntries != 1000 || h.endBytes != uint64(5+len(block)) || string(h.checkpoint) != `{"seq":1}` {
			r.Fatalf("decoded %+v", h.blockSummary)
		}
		var got []Frame
		for i := range h.chunks {
			raw, err := h.unpack(nil, &h.chunks[i])
			if err != nil {
				r.Fatal(err)
			}
			c := h.chunks[i]
			for j := c.first; j < c.first+c.count; j++ {
				got = append(got, Frame{ID: h.ids[j], Event: raw[:h.lens[j]]})
				raw = raw[h.lens[j]:]
			}
		}
		for i, f := range got {
			if f.ID != ids[i] || !bytes.Equal(f.Event, events[i]) {
				r.Fatalf("entry %d became %s %.20s", i, f.ID, f.Event)
			}
		}
	})
}

// TestBlockNoticesEveryFlippedBit has a block damaged at each of its bytes.
func TestBlockNoticesEveryFlippedBit(t *testing.T) {
	key, block, _, _ := testBlock(t, []int{10, 200, 30, 4, 500}, keepAll, []int{2, 3})
	for i := range block {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(block)
			bad[i] ^= bit
			var h blockHead
			err := h.decode(key, bad)
			if err == nil {
				_, err = h.verify(nil)
			}
			if !errors.Is(err, errBlock) {
				t.Fatalf("byte %d of %d flipped: %v", i, len(block), err)
			}
		}
	}
	other := bytes.Clone(key)
	other[len(other)-1]++
	if _, _, err := readSummary(other, block); !errors.Is(err, errBlock) {
		t.Errorf("found under another key: %v", err)
	}
	for n := range block {
		var h blockHead
		if err := h.decode(key, block[:n]); !errors.Is(err, errBlock) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

// FuzzBlock gives the decoder heads whose checksum is right, so that what is behind it is reached.
func FuzzBlock(f *testing.F) {
	for _, lens := range [][]int{{5}, {10, 0, 3}, {chunkTarget, 1, chunkTarget}} {
		key, block, _, _ := testBlock(f, lens, keepAll, nil)
		f.Add(key, block)
		key, block, _, _ = testBlock(f, lens, keepAll, []int{len(lens)})
		f.Add(key, block)
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, block []byte) {
		if len(key) < idLen {
			return
		}
		if len(block) >= fixedHead {
			if n := binary.LittleEndian.Uint32(block[offHeadLen:]); n >= fixedHead && int64(n) <= int64(len(block)) {
				block = bytes.Clone(block)
				binary.LittleEndian.PutUint32(block[offCRC:], headCRC(key, block[:n]))
			}
		}
		var h blockHead
		if err := h.decode(key, block); err != nil {
			if !errors.Is(err, errBlock) {
				t.Fatal(err)
			}
			return
		}
		if len(h.ids) != h.count || len(h.lens) != h.count {
			t.Fatalf("%d IDs and %d lengths of %d entries", len(h.ids), len(h.lens), h.count)
		}
		if _, err := h.verify(nil); err != nil && !errors.Is(err, errBlock) {
			t.Fatal(err)
		}
	})
}

func FuzzMeta(f *testing.F) {
	good, err := (&streamMeta{Last: EntryID{MS: 1}, Entries: 3}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, v []byte) { _, _ = decodeMeta(v) })
}

func FuzzMark(f *testing.F) {
	f.Add(make([]byte, markLen))
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseMark(b) })
}
