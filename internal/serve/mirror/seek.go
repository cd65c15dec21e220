package mirror

import (
	"context"
	"errors"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/subscribe"
	"tempestd/persistence"
)

// seekPage is how many entries a search reads at a time once it is near.
//
// The rules for a subscriber's cursor in a stream:
//
// A time is exact and inclusive. An entry's ID is never below its event's time, so the first entry
// of a time is at or after that millisecond. A time that is newer than every stored entry means the
// live tip.
//
// A sequence number is the entry's number in the stream: how many entries were appended up to and
// including it. It is exact and inclusive as well. It rises from entry to entry, and an entry keeps
// it for as long as it is stored, whatever happens to the upstream, the daemon or older entries.
// The upstream's own numbers do not work here: another host has other numbers, and the same host
// gives them to other events after a crash. A client that drops every event whose number is not
// above its last number would lose events at each such change.
//
// The number after the newest entry means the live tip. A higher number was never given by this
// stream.
const seekPage = 1000

// seekBytes is how many bytes a search reads at a time.
const seekBytes = 1 << 20

// start is where a subscription begins.
type start struct {
	after persistence.EntryID // the subscription begins after this entry
	// Events before fromUS are left out up to the first event that is not before it. Entries after
	// until are never left out.
	fromUS int64
	until  persistence.EntryID
	below  bool  // the cursor names events that retention has dropped
	first  int64 // if below: the sequence number of the first event that is still stored
	ahead  bool  // the cursor is a number beyond the next one: it was never given
	tip    bool  // nothing is stored after it
}

// seek finds where a cursor points to. Only ctx bounds its time.
func seek(ctx context.Context, stream persistence.Stream, c subscribe.Cursor, now time.Time) (start, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return start{}, err
	}
	return search(ctx, stream, info, c, now)
}

// search is seek for a stream that was looked at.
func search(ctx context.Context, stream persistence.Stream, info persistence.StreamInfo, c subscribe.Cursor, now time.Time) (start, error) {
	s := seeker{ctx: ctx, stream: stream}
	for {
		p, err := s.seek(info, c, now)
		if _, expired := errors.AsType[*persistence.CursorExpiredError](err); !expired {
			return p, err
		}
		// Retention has dropped entries during the search: search again.
		if info, err = stream.Info(ctx); err != nil {
			return start{}, err
		}
	}
}

// seeker searches one stream.
type seeker struct {
	ctx    context.Context
	stream persistence.Stream
}

func (s *seeker) seek(info persistence.StreamInfo, c subscribe.Cursor, now time.Time) (start, error) {
	switch {
	case isTip(info, c, now):
		return tip(info), nil
	case c.IsTime():
		return s.time(info, c.Value)
	}
	return s.number(info, c.Value)
}

// isTip reports whether a cursor means the end of the stream whatever is stored in it.
func isTip(info persistence.StreamInfo, c subscribe.Cursor, now time.Time) bool {
	return !c.Given || c.IsTime() && (c.Value > now.UnixMicro() || info.Newest == nil)
}

// tip returns the start at the end of the stream.
func tip(info persistence.StreamInfo) start {
	switch {
	case info.Newest != nil:
		return start{tip: true, after: *info.Newest}
	case info.Trimmed != nil:
		return start{tip: true, after: *info.Trimmed}
	}
	return start{tip: true}
}

// time finds the first event at or after us, in Unix microseconds.
func (s *seeker) time(info persistence.StreamInfo, us int64) (start, error) {
	from := persistence.EntryID{MS: uint64(us / 1000)}
	switch {
	case from.Compare(*info.Newest) > 0:
		return tip(info), nil
	case from.Compare(*info.Oldest) > 0:
		return start{after: from.Prev(), fromUS: us, until: *info.Newest}, nil
	}
	number, firstUS, err := s.firstEvent()
	if err != nil {
		return start{}, err
	}
	// The start is not 0-0: that cursor never expires, and the subscriber must learn of entries
	// that retention drops before the first page.
	return start{after: info.Oldest.Prev(), fromUS: us, until: *info.Newest, first: number,
		below: info.Trimmed != nil && from.MS <= info.Trimmed.MS && us < firstUS}, nil
}

// firstEvent returns the number and the time of the oldest entry that is an event and not a gap.
func (s *seeker) firstEvent() (number, us int64, err error) {
	var entry jetstream.Entry
	after := persistence.EntryID{}
	for limit := 1; ; limit = min(4*limit, seekPage) {
		page, err := s.page(after, limit)
		if err != nil || len(page.Entries) == 0 {
			return page.Appended, 0, err
		}
		for i := range page.Entries {
			if entry.Read(page.Entries[i].Event) && entry.DID() != nil {
				return numberOf(&page, i), entry.TimeUS(), nil
			}
		}
		after = page.Cursor
	}
}

// number finds the entry with the number n.
func (s *seeker) number(info persistence.StreamInfo, n int64) (start, error) {
	oldest, err := s.page(persistence.EntryID{}, 1)
	if err != nil {
		return start{}, err
	}
	first := oldest.Appended + 1 - oldest.Behind - int64(len(oldest.Entries))
	switch {
	case n > oldest.Appended+1:
		p := tip(info)
		p.ahead = true
		return p, nil
	case n > oldest.Appended: // the next entry's number
		return tip(info), nil
	case n < first && first > 1:
		p := tip(info)
		if info.Oldest != nil {
			p.after, p.tip = info.Oldest.Prev(), false
		}
		p.below, p.first = true, first
		return p, nil
	case len(oldest.Entries) == 0:
		return tip(info), nil
	case n <= first:
		return start{after: oldest.Entries[0].ID.Prev()}, nil
	}
	return s.between(numbered{oldest.Entries[0].ID, first}, oldest.Newest, n)
}

// numbered is an entry whose number is known.
type numbered struct {
	id     persistence.EntryID
	number int64
}

// between finds the entry with the number n. That entry comes after low and not after high.
func (s *seeker) between(low numbered, high persistence.EntryID, n int64) (start, error) {
	for n-low.number > seekPage && low.id.Compare(high) < 0 {
		mid := middle(low.id, high)
		page, err := s.page(mid, 1)
		if err != nil {
			return start{}, err
		}
		if len(page.Entries) == 0 || numberOf(&page, 0) >= n {
			high = mid
			continue
		}
		low = numbered{page.Entries[0].ID, numberOf(&page, 0)}
	}
	for n-low.number > 1 {
		page, err := s.page(low.id, int(min(n-1-low.number, seekPage)))
		if err != nil {
			return start{}, err
		}
		last := len(page.Entries) - 1
		if last < 0 || numberOf(&page, last) >= n { // the entries before n cannot be read any more
			break
		}
		low = numbered{page.Entries[last].ID, numberOf(&page, last)}
	}
	return start{after: low.id}, nil
}

// middle returns an ID at or after low and before high. high must be greater than low.
func middle(low, high persistence.EntryID) persistence.EntryID {
	switch high.MS - low.MS {
	case 0:
		return persistence.EntryID{MS: low.MS, Seq: low.Seq + (high.Seq-low.Seq)/2}
	case 1:
		if high.Seq > 0 {
			return persistence.EntryID{MS: high.MS}.Prev()
		}
		return low
	}
	return persistence.EntryID{MS: low.MS + (high.MS-low.MS)/2}
}

// page reads up to limit entries after an exclusive cursor. It skips blocks that cannot be read.
func (s *seeker) page(after persistence.EntryID, limit int) (persistence.Page, error) {
	for {
		page, err := s.stream.Read(persistence.WithPageBytes(s.ctx, seekBytes), persistence.CursorAt(after.Next()), persistence.End(), limit)
		corrupt, ok := errors.AsType[*persistence.CorruptError](err)
		if !ok {
			return page, err
		}
		after = corrupt.Block
	}
}

// numberOf returns the number of the page's entry i.
func numberOf(page *persistence.Page, i int) int64 {
	return page.Appended - page.Behind - int64(len(page.Entries)-1-i)
}
