package persistence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"tempestd/messages"
)

// TestReadersShareHeads has readers with pages of all sizes in a stream that is appended to, merged and trimmed meanwhile. Each is given every entry in its place with its own
// bytes, or is told that retention has overtaken it, and nobody is told so who was not.
func TestReadersShareHeads(t *testing.T) {
	const (
		baseMS  = 1_795_000_000_000
		batches = 120
	)
	e, s, _ := openInternal(t, EmbeddedOptions{})
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		var batch messages.Batch
		n := 0
		for i := range batches {
			batch.Reset()
			for range 1 + rng.IntN(1+rng.IntN(300)) {
				event := fmt.Appendf(nil, `{"n":%d}`, n)
				batch.Events = append(batch.Events, messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(event)), TimeUS: (baseMS + int64(n)) * 1000})
				batch.Buf = append(batch.Buf, event...)
				n++
			}
			if _, err := s.Append(t.Context(), &batch, messages.Checkpoint{}); err != nil {
				t.Error(err)
			}
			var err error
			switch i % 25 {
			case 11, 23:
				e.maintain(t.Context())
			case 17:
				_, err = s.Trim(t.Context(), Retention{Entries: 1000})
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(t.Context(), "all is written"); err != nil {
			t.Error(err)
		}
	})
	read := func(limit int, tail bool) error {
		for next := uint64(baseMS); ; {
			from := CursorAt(EntryID{MS: next})
			if tail {
				from = CursorAt(EntryID{MS: next}.Prev())
			}
			var page StreamFrames
			var err error
			if tail {
				page, err = s.Tail(t.Context(), from, MaxBlock, limit)
			} else {
				page, err = s.Read(t.Context(), from, End(), limit)
			}
			if expired, ok := errors.AsType[*CursorExpiredError](err); ok {
				if expired.Oldest.MS < next {
					return fmt.Errorf("reading from %d on is refused, where nothing after %s was dropped", next, expired.Oldest)
				}
				next = expired.Oldest.MS + 1
				continue
			}
			if err != nil {
				return err
			}
			for _, f := range page.Frames {
				if want := (Frame{EntryID{MS: next}, []byte(`{"n":` + strconv.FormatUint(next-baseMS, 10) + `}`)}); f.ID != want.ID || string(f.Event) != string(want.Event) {
					return fmt.Errorf("%s %s, want %s %s", f.ID, f.Event, want.ID, want.Event)
				}
				next++
			}
			if len(page.Frames) > 0 && page.Behind != int64(page.Newest.MS-page.Cursor.MS) {
				return fmt.Errorf("%d are behind %s, and %s is the newest", page.Behind, page.Cursor, page.Newest)
			}
			if page.IsClosed() && page.Behind == 0 {
				if next != page.Newest.MS+1 {
					return fmt.Errorf("the stream ends with %s, reading before %d", page.Newest, next)
				}
				return nil
			}
		}
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	for _, limit := range []int{1, 7, 40, 40, 200, 1000} {
		readers.Go(func() {
			if err := read(limit, limit == 7); err != nil {
				t.Errorf("pages of %d: %v", limit, err)
			}
		})
	}
}
