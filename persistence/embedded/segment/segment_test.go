package segment_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"tempestd/messages"
	"tempestd/persistence/embedded/segment"
)

// sample makes a sealed segment of some appends. One append has several blocks, and one has no
// entries.
func sample(t testing.TB) []byte {
	t.Helper()
	h := segment.Header{Stream: "feed", Number: 3, Start: segment.Position{Number: 7, Link: 9, Last: segment.EntryID{MS: 5}, Entries: 70, Bytes: 1000}}
	b := segment.AppendHeader(nil, &h)
	var enc segment.Encoder
	at := h.Start
	var rows []segment.Row
	id := segment.EntryID{MS: 10}
	off := 0
	for i := range 6 {
		src := segment.Source{}
		for k := range i * 3 {
			event := fmt.Appendf(nil, `{"i":%d,"k":%d}`, i, k)
			src.Events = append(src.Events, messages.Event{Off: uint32(len(src.Buf)), Len: uint32(len(event)), TimeUS: int64(100 + k), Fingerprint: uint64(k)})
			src.Kept = append(src.Kept, k)
			src.IDs = append(src.IDs, id)
			src.Buf = append(src.Buf, event...)
			id.Seq++
		}
		off = len(b)
		var row segment.Row
		var err error
		b, row, err = enc.Append(b, &src, &segment.State{Checkpoint: fmt.Appendf(nil, `{"seq":%d}`, i)}, i == 3, &at)
		if err != nil {
			t.Fatal(err)
		}
		if row.Off = int64(off); row.Count > 0 {
			rows = append(rows, row)
		}
	}
	trailer := segment.Trailer{Number: 3, End: at, MinUS: 100, MaxUS: 114, StateOff: int64(off), StateHead: int(rows[len(rows)-1].HeadLen)}
	return segment.AppendFooter(b, int64(len(b)), rows, &trailer)
}

func walk(t testing.TB, b []byte) (*segment.Walk, error) {
	t.Helper()
	h, err := segment.ReadHeader(b)
	if err != nil {
		return nil, err
	}
	w := segment.New(&h)
	var k segment.Walker
	if err := k.Go(bytes.NewReader(b), int64(len(b)), w, false, nil); err != nil {
		t.Fatal(err)
	}
	return w, nil
}

func TestWalkAndFooterTellTheSame(t *testing.T) {
	b := sample(t)
	w, err := walk(t, b)
	if err != nil {
		t.Fatal(err)
	}
	trailer, err := segment.ReadTrailer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := segment.ReadRows(bytes.NewReader(b), &trailer)
	if err != nil {
		t.Fatal(err)
	}
	if !w.Footer || w.Fault != nil || w.End != trailer.End || w.Off != trailer.Footer || w.StateOff != trailer.StateOff || w.MinUS != trailer.MinUS || w.MaxUS != trailer.MaxUS {
		t.Errorf("the walk found %+v, the trailer has %+v", w, trailer)
	}
	if fmt.Sprint(rows) != fmt.Sprint(w.Rows) || len(rows) != 5 || string(w.Checkpoint) != `{"seq":5}` {
		t.Errorf("rows are %v and %v, the checkpoint is %s", rows, w.Rows, w.Checkpoint)
	}
}

// TestEveryFlippedByteIsNoticed flips each byte of a segment in turn. Each time a check fails, and
// no bytes are read that were not written.
func TestEveryFlippedByteIsNoticed(t *testing.T) {
	good := sample(t)
	dec, err := segment.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	whole, _ := walk(t, good)
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x10
		if verify(t, dec, b, whole) == nil && (good[i] != 0 || inBlock(whole, int64(i))) {
			t.Errorf("byte %d is flipped, and nobody notices", i)
		}
	}
}

// inBlock reports whether a block has the byte at off. No check covers the zeros between blocks, nor
// those that align the header and the footer.
func inBlock(w *segment.Walk, off int64) bool {
	return slices.ContainsFunc(w.Rows, func(r segment.Row) bool {
		return off >= r.Off && off < r.Off+int64(r.HeadLen)+int64(r.BodyLen)
	})
}

// verify reads a whole segment with all checks.
func verify(t testing.TB, dec *segment.Decoder, b []byte, want *segment.Walk) error {
	w, err := walk(t, b)
	if err != nil {
		return err
	}
	if w.Fault != nil {
		return w.Fault
	}
	trailer, err := segment.ReadTrailer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	if _, err := segment.ReadRows(bytes.NewReader(b), &trailer); err != nil {
		return err
	}
	if w.End != want.End || len(w.Rows) != len(want.Rows) {
		return fmt.Errorf("it ends at %+v", w.End)
	}
	var h segment.Head
	for _, row := range w.Rows {
		if err := h.Decode(b[row.Off:]); err != nil {
			return err
		}
		if _, err := dec.Verify(nil, b[row.Off+int64(row.HeadLen):], &h); err != nil {
			return err
		}
	}
	return nil
}

// pair makes a segment's header and its two appends. Their sizes, numbers and IDs do not depend on the
// fingerprint.
func pair(t *testing.T, fingerprint uint64) (parts [3][]byte) {
	t.Helper()
	h := segment.Header{Stream: "feed", Number: 3, Start: segment.Position{Number: 7, Link: 9, Last: segment.EntryID{MS: 5}, Entries: 70, Bytes: 1000}}
	parts[0] = segment.AppendHeader(nil, &h)
	var enc segment.Encoder
	at := h.Start
	for i := range 2 {
		event := fmt.Appendf(nil, `{"i":%d}`, i)
		src := segment.Source{Buf: event, Kept: []int{0}, IDs: []segment.EntryID{{MS: uint64(10 + i)}},
			Events: []messages.Event{{Len: uint32(len(event)), TimeUS: 100, Fingerprint: fingerprint}}}
		// The header goes before it, as blocks are aligned in the file.
		b, _, err := enc.Append(bytes.Clone(parts[0]), &src, &segment.State{}, false, &at)
		if err != nil {
			t.Fatal(err)
		}
		parts[i+1] = b[len(parts[0]):]
	}
	return parts
}

// A write that went astray, or an older file that shines through, leaves a whole block that has the
// next number and the next ID, and follows another one. Its entries are not this stream's.
func TestABlockOfAnotherPastIsNoticed(t *testing.T) {
	own, other := pair(t, 1), pair(t, 2)
	join := func(parts ...[]byte) []byte { return append(slices.Concat(parts...), make([]byte, 4096)...) }
	whole, err := walk(t, join(own[0], own[1], own[2]))
	if err != nil || whole.Fault != nil || len(whole.Rows) != 2 {
		t.Fatalf("%+v, %v", whole, err)
	}
	w, err := walk(t, join(own[0], own[1], other[2]))
	if err != nil || w.Fault == nil || len(w.Rows) != 1 || w.Off != whole.Rows[1].Off {
		t.Errorf("%+v, %v", w, err)
	}
}

// FuzzSegment reads any bytes without a panic.
func FuzzSegment(f *testing.F) {
	good := sample(f)
	f.Add(good)
	f.Add(good[:700])
	f.Add([]byte(nil))
	dec, err := segment.NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, _ := walk(t, good)
		_ = verify(t, dec, b, whole)
		var k segment.Walker
		for at := int64(0); ; {
			next, _, err := k.Find(bytes.NewReader(b), int64(len(b)), at)
			if err != nil || next == 0 {
				break
			}
			at = next + 1
		}
		if _, err := k.LastByte(bytes.NewReader(b), int64(len(b)), 0); err != nil {
			t.Fatal(err)
		}
	})
}
