package persistence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"tempestd/messages"
)

// TestI5_HeadsAreBounded opens blocks and gives them back in any order, with any of them kept or forgotten: each reader has, until it is done, what a decoder
// of its own gives, chunks outlive all of it, and no more is kept than may be.
func TestI5_HeadsAreBounded(t *testing.T) {
	type stored struct {
		stream     *embeddedStream
		key, block []byte
		version    uint64
		want       blockHead
	}
	streams := []*embeddedStream{new(embeddedStream), new(embeddedStream)}
	var blocks []stored
	for i := range 44 {
		// Two blocks each have the same last entry, version and size, and are different ones of two streams.
		pair := i / 2
		lens := append(slices.Repeat([]int{pair % 7}, 1+pair*3), 1+i%2, 2-i%2)
		switch pair % 8 {
		case 0: // its second chunk is too large to be kept
			lens = append(lens, chunkTarget, 3*chunkTarget)
		case 1, 2, 3, 4, 5, 6: // its second one is nearly
			lens = append(lens, chunkTarget, chunkTarget-1, chunkTarget/2, 1)
		}
		key, block, _, _ := testBlock(t, lens, keepAll, nil)
		b := stored{stream: streams[i%2], key: key, block: bytes.Clone(block), version: uint64(i / 4)}
		if err := b.want.decode(b.key, b.block); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	check := func(t interface{ Fatalf(string, ...any) }, h *heads) {
		cost := 0
		for i, k := range h.kept {
			cost += k.cost()
			if h.index(k.stream, k.last, k.version) != i {
				t.Fatalf("the head of %s is kept twice", k.last)
			}
		}
		if cost > headsBytes || len(h.kept) > headsKept {
			t.Fatalf("%d heads of %d bytes are kept", len(h.kept), cost)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		var h heads
		type reader struct {
			of   *stored
			open openBlock
		}
		type frame struct{ raw, want []byte }
		var readers []reader
		var frames []frame
		for range rapid.IntRange(1, 150).Draw(r, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(r, "step"); {
			case step == 0:
				h.forget()
			case step < 5 || len(readers) == 0:
				of := &blocks[rapid.IntRange(0, len(blocks)-1).Draw(r, "block")]
				open, err := h.open(of.stream, of.key, of.version, of.block)
				if err != nil {
					r.Fatal(err)
				}
				readers = append(readers, reader{of, open})
			default:
				i := rapid.IntRange(0, len(readers)-1).Draw(r, "reader")
				b := &readers[i].open
				c := rapid.IntRange(0, len(b.chunks)-1).Draw(r, "chunk")
				raw, err := b.bytesOf(c)
				want, err2 := readers[i].of.want.unpack(nil, &readers[i].of.want.chunks[c])
				if err := errors.Join(err, err2); err != nil {
					r.Fatal(err)
				}
				frames = append(frames, frame{raw, want})
				h.close(b, rapid.Bool().Draw(r, "keep"))
				readers = slices.Delete(readers, i, i+1)
			}
			for _, has := range readers {
				if got, want := &has.open, &has.of.want; got.blockSummary != want.blockSummary || !slices.Equal(got.ids, want.ids) || !slices.Equal(got.lens, want.lens) ||
					!slices.Equal(got.chunks, want.chunks) || !bytes.Equal(got.payload, want.payload) {
					r.Fatalf("a reader has %+v of the block %+v", got.blockSummary, want.blockSummary)
				}
			}
			check(r, &h)
		}
		for _, f := range frames {
			if !bytes.Equal(f.raw, f.want) {
				r.Fatal("a frame's bytes have changed")
			}
		}
	})
	// As many as there are, each with a chunk: too many for the one bound, and then for the other.
	var h heads
	for _, chunks := range []int{1, 2} {
		for i := range blocks {
			b, err := h.open(blocks[i].stream, blocks[i].key, blocks[i].version, blocks[i].block)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.chunks) >= chunks {
				if _, err := b.bytesOf(len(b.chunks) - chunks); err != nil {
					t.Fatal(err)
				}
			}
			h.close(&b, true)
			check(t, &h)
		}
	}
}

// TestKeptHeadGoesWithItsBlock has a page end within a block that retention then drops, or a merge replaces: what is kept of it is not served.
func TestKeptHeadGoesWithItsBlock(t *testing.T) {
	_, s, put := openInternal(t, EmbeddedOptions{})
	first := put(50)
	for range mergeMinTip {
		put(30)
	}
	begin := func() EntryID {
		t.Helper()
		page, err := s.Tail(t.Context(), FromBeginning(), 0, 10)
		if err != nil || len(page.Frames) != 10 || len(s.store.heads.kept) != 1 {
			t.Fatalf("%d frames, %v; %d heads kept", len(page.Frames), err, len(s.store.heads.kept))
		}
		return page.Cursor
	}
	after := begin()
	if _, err := s.Trim(t.Context(), Retention{Entries: 30 * mergeMinTip}); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func() (StreamFrames, error){
		"a tail":  func() (StreamFrames, error) { return s.Tail(t.Context(), CursorAt(after), 0, 10) },
		"a range": func() (StreamFrames, error) { return s.Read(t.Context(), CursorAt(after), CursorAt(first.Last), 10) },
	} {
		page, err := read()
		if _, expired := errors.AsType[*CursorExpiredError](err); !expired {
			t.Errorf("%s that retention has overtaken: %d frames, %v", what, len(page.Frames), err)
		}
	}
	s.store.heads.forget()
	after = begin()
	// As if the block had been merged while a reader was in it: the same last entry, in another version.
	key := appendBlockKey(nil, s.prefix, s.store.heads.kept[0].last)
	err := s.store.db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		block, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		block[offCRC] ^= 1 // which only who decodes it notices
		return txn.Set(key, block)
	})
	if err != nil {
		t.Fatal(err)
	}
	if page, err := s.Tail(t.Context(), CursorAt(after), 0, 10); !errors.Is(err, errBlock) {
		t.Errorf("%d frames, %v of the version of a block that is there no longer", len(page.Frames), err)
	}
}

// TestDamageIsNoticedBehindAKeptHead flips a bit on disk of a block that is being read.
func TestDamageIsNoticedBehindAKeptHead(t *testing.T) {
	var told []*CorruptError
	e, s, _ := openInternal(t, EmbeddedOptions{OnEvent: func(ev Event) {
		if c, ok := ev.(BlockCorrupt); ok {
			told = append(told, c.CorruptError)
		}
	}})
	events := messages.Batch{Buf: bytes.Repeat([]byte("0123456789abcdef"), 3*chunkTarget/16)}
	const size = 4 << 10
	for off := 0; off < len(events.Buf); off += size {
		events.Events = append(events.Events, messages.Event{Off: uint32(off), Len: size})
	}
	done, err := s.Append(t.Context(), &events, messages.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.Tail(t.Context(), FromBeginning(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	flipLastByte(t, e, appendBlockKey(nil, s.prefix, done.Last))

	// The chunks before the damage are read first; the page after them meets it, every time.
	page, err = s.Tail(t.Context(), CursorAt(page.Cursor), 0, MaxCount)
	if want := 2*chunkTarget/size - 1; err != nil || len(page.Frames) != want {
		t.Errorf("%d frames, %v; want the %d before the damage", len(page.Frames), err, want)
	}
	for range 2 {
		var corrupt *CorruptError
		if _, err = s.Tail(t.Context(), CursorAt(page.Cursor), 0, 10); !errors.As(err, &corrupt) || corrupt.Block != done.Last {
			t.Errorf("at the damage: %v", err)
		}
	}
	if len(told) != 1 {
		t.Errorf("told of %d corrupt blocks, want one", len(told))
	}
}

// flipLastByte damages the value under key in the value log, which the store has mapped.
func flipLastByte(t *testing.T, e *Embedded, key []byte) {
	t.Helper()
	var value []byte
	err := e.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err == nil {
			value, err = item.ValueCopy(nil)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(e.badgerDir(), "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(file, value); at >= 0 {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			last := len(value) - 1
			_, err = f.WriteAt([]byte{value[last] ^ 1}, int64(at+last))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the block is in no value log")
}
