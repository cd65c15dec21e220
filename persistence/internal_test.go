package persistence

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"tempestd/messages"
)

// openInternal is a store with one stream, into which put appends a batch of n events.
func openInternal(t *testing.T, opt EmbeddedOptions) (e *Embedded, s *embeddedStream, put func(n int) Appended) {
	t.Helper()
	e, err := OpenEmbedded(t.Context(), t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	stream, err := e.OpenStream(t.Context(), "feed", StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e, stream.(*embeddedStream), func(n int) Appended {
		t.Helper()
		done, err := stream.Append(t.Context(), &messages.Batch{Buf: []byte("{}"), Events: make([]messages.Event, n)}, messages.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
}

// TestI4_HoleIsTold takes a block away from between two others, as a lost part of Badger's log would.
func TestI4_HoleIsTold(t *testing.T) {
	var told []*CorruptError
	e, s, put := openInternal(t, EmbeddedOptions{OnEvent: func(ev Event) {
		if c, ok := ev.(BlockCorrupt); ok {
			told = append(told, c.CorruptError)
		}
	}})
	put(3)
	lost := put(4)
	after := put(5)
	err := e.db.Update(func(txn *badger.Txn) error { return txn.Delete(appendBlockKey(nil, s.prefix, lost.Last)) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		page, err := s.Read(t.Context(), Start(), End(), 100)
		if err != nil || len(page.Frames) != 8 {
			t.Errorf("%d frames, %v; want the 8 that are left", len(page.Frames), err)
		}
		if err := s.Fingerprints(t.Context(), Horizon{}, func(FingerprintBlock) bool { return true }); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 1 || told[0].Block != after.Last {
		t.Errorf("told %v, want one hole before %s", told, after.Last)
	}
}

// TestFailedStoreTakesNoWrites has Badger report, in the only way it does, that a sync failed.
func TestFailedStoreTakesNoWrites(t *testing.T) {
	e, s, put := openInternal(t, EmbeddedOptions{})
	put(3)
	e.db.Opts().Logger.Errorf("Error while curlf sync: %v\n", errors.New("disk on fire"))
	_, err := s.Append(t.Context(), &messages.Batch{}, messages.Checkpoint{})
	for what, err := range map[string]error{"append": err, "health": e.Health(), "close": s.Close(t.Context(), "")} {
		if !errors.Is(err, ErrStoreFailed) {
			t.Errorf("%s of a failed store: %v", what, err)
		}
	}
	if page, err := s.Read(t.Context(), Start(), End(), 10); err != nil || len(page.Frames) != 3 {
		t.Errorf("a failed store cannot be read: %d frames, %v", len(page.Frames), err)
	}
}

// TestI5_RingIsBounded pushes segments of any size, with trims in between.
func TestI5_RingIsBounded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var ring ring
		var kept []*segment // what an unbounded ring would hold
		next := EntryID{MS: 1}
		for range rapid.IntRange(1, 60).Draw(r, "pushes") {
			g := &segment{buf: make([]byte, rapid.SampledFrom([]int{10, 1 << 20, ringBytes / 2, ringBytes}).Draw(r, "size"))}
			prev := next
			for range rapid.IntRange(1, 3).Draw(r, "entries") {
				next = EntryID{MS: next.MS + 2}
				g.ids = append(g.ids, next)
			}
			ring.push(g, prev)
			kept = append(kept, g)
			if rapid.IntRange(0, 9).Draw(r, "trim") == 0 {
				ring.trim(g.ids[0])
			}
			if n := len(kept) - len(ring.segments); n > 0 && len(ring.segments) > 0 && ring.base != kept[n-1].last() {
				r.Fatalf("the ring follows %s, and says %s", kept[n-1].last(), ring.base)
			}
			cost := 0
			for i, g := range ring.segments {
				cost += g.cost()
				if g != kept[len(kept)-len(ring.segments)+i] {
					r.Fatal("the ring has a hole")
				}
			}
			if cost != ring.cost || cost > ringBytes || len(ring.segments) > ringSegments {
				r.Fatalf("%d segments cost %d (counted %d)", len(ring.segments), cost, ring.cost)
			}
		}
		after := rapid.SampledFrom(kept).Draw(r, "after").last()
		seen := tip{meta: streamMeta{Oldest: EntryID{MS: 1}}, recent: ring.segments}
		got, ok := seen.after(after)
		if ok && len(got) > 0 && got[0].ids[0].Compare(after) <= 0 && got[0].last().Compare(after) <= 0 {
			r.Fatalf("after %s the ring gives %s", after, got[0].last())
		}
	})
}

func TestUnknownLayoutIsRefused(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEmbedded(t.Context(), dir, EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(e.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(formatKey), []byte("99")) }), e.Close())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal leaves nothing open
		if _, err := OpenEmbedded(t.Context(), dir, EmbeddedOptions{}); err == nil || errors.Is(err, ErrLocked) {
			t.Errorf("a store of layout 99 was opened: %v", err)
		}
	}
}

// TestLostMetaIsRemade damages a stream's meta alone: the blocks tell all of it but the end of a closed stream.
func TestLostMetaIsRemade(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEmbedded(t.Context(), dir, EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	open := func() (Stream, StreamInfo, messages.Checkpoint) {
		s, err1 := e.OpenStream(t.Context(), "feed", StreamOptions{})
		info, err2 := s.Info(t.Context())
		cp, err3 := s.Checkpoint(t.Context())
		if err := errors.Join(err1, err2); err != nil || err3 != nil && !errors.Is(err3, ErrNoCheckpoint) {
			t.Fatal(err, err3)
		}
		return s, info, cp
	}
	s, _, _ := open()
	for i := range 10 {
		batch := &messages.Batch{Buf: []byte("{}"), Events: make([]messages.Event, 5)}
		if _, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: int64(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Trim(t.Context(), Retention{Entries: 20}); err != nil {
		t.Fatal(err)
	}
	_, wantInfo, wantCP := open()
	err = errors.Join(e.db.Update(func(txn *badger.Txn) error { return txn.Set(metaKey("feed"), []byte("damage")) }), e.Close())
	if err != nil {
		t.Fatal(err)
	}
	if e, err = OpenEmbedded(t.Context(), dir, EmbeddedOptions{}); err != nil {
		t.Fatal(err)
	}
	_, info, cp := open()
	if info.Entries != wantInfo.Entries || info.Bytes != wantInfo.Bytes || *info.Oldest != *wantInfo.Oldest || *info.Newest != *wantInfo.Newest || cp != wantCP {
		t.Errorf("remade %+v %+v, want %+v %+v", info, cp, wantInfo, wantCP)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// Everyone who hangs on a bell is let go, whenever they came, and nobody before it is rung.
func TestBellWakesEveryone(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			var b bell
			woken := new(atomic.Int64)
			hang := func(n int) {
				for i := range n {
					go func() {
						<-b.rope(int64(i))
						woken.Add(1)
					}()
				}
			}
			before := rapid.IntRange(0, 3*bellRope*bellRopes/2).Draw(r, "before")
			hang(before)
			synctest.Wait()
			if n := woken.Load(); n != 0 {
				t.Fatalf("%d of %d were woken by nothing", n, before)
			}
			meanwhile := rapid.IntRange(0, 3*bellRope).Draw(r, "meanwhile")
			hang(meanwhile)
			b.ring()
			hang(1)
			synctest.Wait()
			if n := woken.Load(); n != int64(before+meanwhile+1) {
				t.Fatalf("%d of %d were woken", n, before+meanwhile+1)
			}
		})
	})
}
