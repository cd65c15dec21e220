package streamtest

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
)

func testAppend(t *testing.T, b Backend) {
	f := open(t, b)
	var want []persistence.Entry
	for _, n := range []int{1, 7, 300, 1} {
		want = append(want, f.append(n)...)
	}
	// Events with equal times and with times that go back also get increasing IDs.
	batch := f.events.Fill(new(messages.Batch), 5)
	for i := range batch.Events {
		batch.Events[i].TimeUS = batch.Events[0].TimeUS - int64(i/2)*5_000_000
	}
	want = append(want, f.put(batch)...)

	check := func(when string) {
		t.Helper()
		got, err := everything(t.Context(), f.stream, 50)
		must(t, err)
		expectEntries(t, when, got, want)
		info, err := f.stream.Info(t.Context())
		must(t, err)
		if info.Name != "feed" || info.Entries != int64(len(want)) || info.Bytes <= 0 || info.Oldest == nil || *info.Oldest != want[0].ID ||
			info.Newest == nil || *info.Newest != want[len(want)-1].ID || info.ClosedAt != nil {
			t.Errorf("%s: info is %+v", when, info)
		}
	}
	check("as appended")
	f.reopen()
	check("opened again")
	want = append(want, f.append(3)...)
	check("appended after opening again")
}

func testDrops(t *testing.T, b Backend) {
	f := open(t, b)
	batch := f.events.Fill(new(messages.Batch), 2000)
	for i := range batch.Events {
		batch.Events[i].Drop = i%3 == 0 || i > 1500
	}
	want := f.put(batch)
	got, err := everything(t.Context(), f.stream, persistence.MaxCount)
	must(t, err)
	expectEntries(t, "with drops", got, want)
}

func testEmptyAppend(t *testing.T, b Backend) {
	f := open(t, b)
	want := f.append(3)
	allDropped := f.events.Fill(new(messages.Batch), 2)
	allDropped.Events[0].Drop, allDropped.Events[1].Drop = true, true
	for seq, batch := range []*messages.Batch{{}, allDropped} {
		got, err := f.stream.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: int64(seq) + 5}})
		must(t, err)
		if got.Entries != 0 || !got.Last.IsZero() || got.Blocks != nil {
			t.Errorf("an empty batch stored %+v", got)
		}
		cp, err := f.stream.Checkpoint(t.Context())
		must(t, err)
		if cp.Seq != int64(seq)+5 || cp.LastID != want[2].ID {
			t.Errorf("the checkpoint is %+v", cp)
		}
	}
	all, err := everything(t.Context(), f.stream, 10)
	must(t, err)
	expectEntries(t, "after empty batches", all, want)
}

func testCheckpoint(t *testing.T, b Backend) {
	f := open(t, b)
	_, err := f.stream.Checkpoint(t.Context())
	expectError(t, "a new stream's checkpoint", err, persistence.ErrNoCheckpoint)
	var last persistence.EntryID
	for seq := range int64(5) {
		batch := f.events.Fill(new(messages.Batch), 4)
		cp := messages.Checkpoint{
			Position: messages.Position{Host: "h:1", Seq: seq, TimeUS: batch.Events[3].TimeUS},
			LastID:   messages.MaxEntryID, // the stream replaces it
			AtTip:    seq + 5, Saved: seq + 6,
		}
		done, err := f.stream.Append(t.Context(), batch, cp)
		must(t, err)
		last = done.Last
		cp.LastID = last
		for _, when := range []string{"appended", "opened again"} {
			got, err := f.stream.Checkpoint(t.Context())
			must(t, err)
			if !reflect.DeepEqual(got, cp) {
				t.Errorf("%s: the checkpoint is %+v, want %+v", when, got, cp)
			}
			if when == "appended" {
				f.reopen()
			}
		}
	}
}

func testCheckpointStore(t *testing.T, b Backend) {
	f := open(t, b)
	_, err := f.store.LoadCheckpoint(t.Context(), "feed")
	expectError(t, "no checkpoint saved", err, persistence.ErrNoCheckpoint)
	want := messages.Checkpoint{Position: messages.Position{Host: "h", Seq: 3, TimeUS: 4}, LastID: persistence.EntryID{MS: 1, Seq: 2}, Saved: 9}
	must(t, f.store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{}))
	must(t, f.store.SaveCheckpoint(t.Context(), "feed", want))
	must(t, f.store.SaveCheckpoint(t.Context(), "other", messages.Checkpoint{}))
	f.reopen()
	got, err := f.store.LoadCheckpoint(t.Context(), "feed")
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v, want %+v", got, want)
	}
	expectError(t, "a bad feed name", f.store.SaveCheckpoint(t.Context(), "a/b", want), persistence.ErrBadName)
}

func testNames(t *testing.T, b Backend) {
	f := open(t, b)
	for _, name := range []string{"", ".a", "-a", "_a", "A", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", 65)} {
		_, err := f.store.OpenStream(t.Context(), name, persistence.StreamOptions{})
		expectError(t, "open stream "+name, err, persistence.ErrBadName)
	}
	_, err := f.store.Stream(t.Context(), "none")
	expectError(t, "a stream that is not stored", err, persistence.ErrNoStream)
	// Names of which one begins with another one, and several streams in one store.
	names := []string{"0.-_z", "feed", "feed2", strings.Repeat("z", 64)}
	for _, name := range names {
		s, err := f.store.OpenStream(t.Context(), name, persistence.StreamOptions{})
		must(t, err)
		again, err := f.store.Stream(t.Context(), name)
		must(t, err)
		if s != again || s.Name() != name {
			t.Errorf("stream %s is not the same when asked for again", name)
		}
		_, err = s.Append(t.Context(), f.events.Fill(new(messages.Batch), len(name)), messages.Checkpoint{})
		must(t, err)
	}
	f.reopen()
	infos, err := f.store.Streams(t.Context())
	must(t, err)
	if len(infos) != len(names) {
		t.Fatalf("%d streams, want %d", len(infos), len(names))
	}
	for i, info := range infos {
		if info.Name != names[i] || info.Entries != int64(len(names[i])) {
			t.Errorf("stream %d is %+v, want %s", i, info, names[i])
		}
	}
	must(t, f.store.Health())
}

func testClose(t *testing.T, b Backend) {
	f := open(t, b)
	want := f.append(5)
	must(t, f.stream.Close(t.Context(), "feed removed"))
	must(t, f.stream.Close(t.Context(), "again"))
	for _, when := range []string{"closed", "opened again"} {
		_, err := f.stream.Append(t.Context(), f.events.Fill(new(messages.Batch), 1), messages.Checkpoint{})
		expectError(t, when+": append", err, persistence.ErrStreamClosed)
		page, err := f.stream.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 3)
		must(t, err)
		expectEntries(t, when, page.Entries, want[:3])
		end, err := f.stream.Tail(t.Context(), persistence.CursorAt(want[4].ID), persistence.MaxBlock, 3)
		must(t, err)
		read, err := f.stream.Read(t.Context(), persistence.Start(), persistence.End(), 10)
		must(t, err)
		expectEntries(t, when, read.Entries, want)
		for _, p := range []persistence.Page{page, end, read} {
			if !p.IsClosed() || p.ClosedReason != "feed removed" {
				t.Errorf("%s: a page is closed at %s for %q", when, p.ClosedAt, p.ClosedReason)
			}
		}
		if len(end.Entries) > 0 {
			t.Errorf("%s: %d entries after the last", when, len(end.Entries))
		}
		info, err := f.stream.Info(t.Context())
		must(t, err)
		if info.ClosedAt == nil || !info.ClosedAt.Equal(page.ClosedAt) || info.ClosedReason != "feed removed" {
			t.Errorf("%s: info is %+v", when, info)
		}
		if when == "closed" {
			f.reopen()
		}
	}
}

// testSideBySide runs the writers of several streams at once, with maintenance between their
// appends.
func testSideBySide(t *testing.T, b Backend) {
	f := open(t, b)
	const writers, batches = 4, 40
	want := make([][]persistence.Entry, writers)
	streams := make([]persistence.Stream, writers)
	var wg sync.WaitGroup
	for i := range writers {
		s, err := f.store.OpenStream(t.Context(), fmt.Sprintf("feed%d", i), persistence.StreamOptions{})
		must(t, err)
		streams[i] = s
		wg.Go(func() {
			events, batch := NewEvents(uint64(i), b.Now().UnixMicro()), new(messages.Batch)
			var last persistence.EntryID
			for range batches {
				events.Fill(batch, 1+i*10)
				want[i] = append(want[i], entries(batch, last)...)
				done, err := s.Append(t.Context(), batch, messages.Checkpoint{})
				if err != nil {
					t.Errorf("append to %s: %v", s.Name(), err)
					return
				}
				last = done.Last
			}
		})
	}
	for range 5 {
		b.Maintain(t.Context(), f.store)
	}
	wg.Wait()
	for i, s := range streams {
		got, err := everything(t.Context(), s, 100)
		must(t, err)
		expectEntries(t, s.Name(), got, want[i])
	}
}
