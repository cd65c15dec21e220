package messages_test

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"tempestd/messages"
)

func TestI3_DerivedIDsStrictlyIncreaseWhateverTheTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOf(rapid.Int64()).Draw(t, "times")
		var last messages.EntryID
		for _, us := range times {
			next := messages.DeriveID(us, last)
			if next.Compare(last) <= 0 {
				t.Fatalf("%v follows %v", next, last)
			}
			last = next
		}
	})
}

func TestI2_TheSameEventsInTheSameOrderGetTheSameIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOf(rapid.Int64Range(0, 1<<52)).Draw(t, "times")
		cut := rapid.IntRange(0, len(times)).Draw(t, "cut")
		derive := func(last messages.EntryID, times []int64) (ids []messages.EntryID) {
			for _, us := range times {
				last = messages.DeriveID(us, last)
				ids = append(ids, last)
			}
			return ids
		}
		whole := derive(messages.EntryID{}, times)
		var at messages.EntryID
		if cut > 0 {
			at = whole[cut-1]
		}
		for i, id := range derive(at, times[cut:]) { // ingested again from a checkpoint
			if id != whole[cut+i] {
				t.Fatalf("event %d has %v, and %v the second time", cut+i, whole[cut+i], id)
			}
		}
	})
}

func TestDerivedIDsTellTheTime(t *testing.T) {
	got := messages.DeriveID(1795327636563030, messages.EntryID{})
	if want := (messages.EntryID{MS: 1795327636563, Seq: 30_000}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if us := got.TimeUS(); us != 1795327636563030 {
		t.Errorf("its time is %d", us)
	}
	if again := messages.DeriveID(1795327636563030, got); again != got.Next() {
		t.Errorf("an equal time gives %v, want the successor of %v", again, got)
	}
}

func TestNextOfTheGreatestIDs(t *testing.T) {
	if got := (messages.EntryID{MS: 5, Seq: math.MaxUint64}).Next(); got != (messages.EntryID{MS: 6}) {
		t.Errorf("got %v", got)
	}
	if got := messages.MaxEntryID.Next(); got != messages.MaxEntryID {
		t.Errorf("got %v", got)
	}
}

func FuzzParseEntryID(f *testing.F) {
	for _, s := range []string{"0-0", "1795327636563-30000", "18446744073709551615-18446744073709551615", "", "-", "1", "1-", "-1", "+1-1", "1-+1", " 1-1", "1-1 ",
		"18446744073709551616-0", "1-1-1", "0x1-1", "1_0-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := messages.ParseEntryID(s)
		if err != nil {
			if !errors.Is(err, messages.ErrBadEntryID) {
				t.Fatalf("%q: %v does not match ErrBadEntryID", s, err)
			}
			return
		}
		again, err := messages.ParseEntryID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q is %v, which reads back as %v, %v", s, id, again, err)
		}
	})
}

func TestResetGivesBackWhatACatchUpNeeded(t *testing.T) {
	b := &messages.Batch{Buf: make([]byte, 4<<20), Events: make([]messages.Event, 8000)}
	b.Reset()
	if cap(b.Buf) == 0 || len(b.Buf) != 0 || len(b.Events) != 0 {
		t.Fatalf("a full batch keeps %d bytes, %d in use, %d events", cap(b.Buf), len(b.Buf), len(b.Events))
	}
	b.Buf = append(b.Buf, "little"...)
	b.Reset()
	if cap(b.Buf) != 0 || cap(b.Events) != 0 {
		t.Fatalf("a hardly used batch keeps %d bytes and room for %d events", cap(b.Buf), cap(b.Events))
	}
}
