package serve

import (
	"context"
	"errors"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/subscribe"
	"tempestd/persistence"
)

// Where a subscriber's cursor points to in a stream.
//
// A time is exact here, and inclusive: an entry's ID is never below the one that its time says, so that the first entry of that time stands at or after that
// millisecond. What is newer than everything that is stored is the live tip.
//
// A sequence number is the entry's number in the stream: how many were ever appended up to it. It is exact as well, and inclusive. It rises from entry to entry and stays
// with an entry as long as that is stored, whatever the upstream, the daemon or retention do. The upstream's own numbers cannot serve: another host has others, and
// after a crash the same host gives them to other events. A client that drops what is not above the last number it has seen would lose events at every change.
//
// The number of the next entry to come is the live tip. One beyond it was never given here.
const seekPage = 1000 // entries that a search reads at a time once it is near

// place is where a subscription begins.
type place struct {
	after persistence.EntryID // what follows
	// Events before fromUS are left out until the first that is not, but none that follows until.
	fromUS int64
	until  persistence.EntryID
	below  bool  // the cursor is of events that retention has dropped
	first  int64 // then the sequence number of the first event it does
	ahead  bool  // the cursor is a number that was never given; it is not the next one either
}

// seek finds the place that a cursor means. Seeking is bounded by ctx alone.
func seek(ctx context.Context, stream persistence.Stream, c subscribe.Cursor, now time.Time) (place, error) {
	s := seeker{ctx: ctx, stream: stream}
	for {
		p, err := s.seek(c, now)
		if _, expired := errors.AsType[*persistence.CursorExpiredError](err); !expired {
			return p, err
		}
		// Retention has moved on meanwhile.
	}
}

// seeker finds places in one stream.
type seeker struct {
	ctx    context.Context
	stream persistence.Stream
}

func (s *seeker) seek(c subscribe.Cursor, now time.Time) (place, error) {
	info, err := s.stream.Info(s.ctx)
	switch {
	case err != nil:
		return place{}, err
	case !c.Given, c.IsTime() && (c.Value > now.UnixMicro() || info.Newest == nil):
		return tip(info), nil
	case c.IsTime():
		return s.time(info, c.Value)
	}
	return s.number(info, c.Value)
}

// tip is where the stream ends.
func tip(info persistence.StreamInfo) place {
	switch {
	case info.Newest != nil:
		return place{after: *info.Newest}
	case info.Trimmed != nil:
		return place{after: *info.Trimmed}
	}
	return place{}
}

// time finds the first event at or after us.
func (s *seeker) time(info persistence.StreamInfo, us int64) (place, error) {
	from := persistence.EntryID{MS: uint64(us / 1000)}
	switch {
	case from.Compare(*info.Newest) > 0:
		return tip(info), nil
	case from.Compare(*info.Oldest) > 0:
		return place{after: from.Prev(), fromUS: us, until: *info.Newest}, nil
	}
	number, firstUS, err := s.firstEvent()
	if err != nil {
		return place{}, err
	}
	// It does not begin at 0-0, which never expires: what retention drops before the first page is to be told of.
	return place{after: info.Oldest.Prev(), fromUS: us, until: *info.Newest, first: number,
		below: info.Trimmed != nil && from.MS <= info.Trimmed.MS && us < firstUS}, nil
}

// firstEvent gives the number and the time of the oldest entry that is an event, and not a gap's.
func (s *seeker) firstEvent() (number, us int64, err error) {
	var entry jetstream.Entry
	after := persistence.EntryID{}
	for limit := 1; ; limit = min(4*limit, seekPage) {
		page, err := s.page(after, limit)
		if err != nil || len(page.Frames) == 0 {
			return page.Appended, 0, err
		}
		for i := range page.Frames {
			if entry.Read(page.Frames[i].Event) && entry.DID() != nil {
				return numberOf(&page, i), entry.TimeUS(), nil
			}
		}
		after = page.Cursor
	}
}

// number finds the entry with the number n.
func (s *seeker) number(info persistence.StreamInfo, n int64) (place, error) {
	oldest, err := s.page(persistence.EntryID{}, 1)
	if err != nil {
		return place{}, err
	}
	first := oldest.Appended + 1 - oldest.Behind - int64(len(oldest.Frames))
	switch {
	case n > oldest.Appended+1:
		p := tip(info)
		p.ahead = true
		return p, nil
	case n > oldest.Appended: // the next one
		return tip(info), nil
	case n < first && first > 1:
		p := tip(info)
		if info.Oldest != nil {
			p.after = info.Oldest.Prev()
		}
		p.below, p.first = true, first
		return p, nil
	case len(oldest.Frames) == 0:
		return tip(info), nil
	case n <= first:
		return place{after: oldest.Frames[0].ID.Prev()}, nil
	}
	return s.between(sighting{oldest.Frames[0].ID, first}, oldest.Newest, n)
}

// sighting is an entry whose number is known.
type sighting struct {
	id     persistence.EntryID
	number int64
}

// between finds the entry with the number n, which follows low and does not follow high.
func (s *seeker) between(low sighting, high persistence.EntryID, n int64) (place, error) {
	for n-low.number > seekPage && low.id.Compare(high) < 0 {
		mid := middle(low.id, high)
		page, err := s.page(mid, 1)
		if err != nil {
			return place{}, err
		}
		if len(page.Frames) == 0 || numberOf(&page, 0) >= n {
			high = mid
			continue
		}
		low = sighting{page.Frames[0].ID, numberOf(&page, 0)}
	}
	for n-low.number > 1 {
		page, err := s.page(low.id, int(min(n-1-low.number, seekPage)))
		if err != nil {
			return place{}, err
		}
		last := len(page.Frames) - 1
		if last < 0 || numberOf(&page, last) >= n { // entries before it cannot be read any more
			break
		}
		low = sighting{page.Frames[last].ID, numberOf(&page, last)}
	}
	return place{after: low.id}, nil
}

// middle is an ID from low on and before high, which is greater.
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

// page reads what follows after. What cannot be read is passed over.
func (s *seeker) page(after persistence.EntryID, limit int) (persistence.StreamFrames, error) {
	for {
		page, err := s.stream.Read(s.ctx, persistence.CursorAt(after.Next()), persistence.End(), limit)
		corrupt, ok := errors.AsType[*persistence.CorruptError](err)
		if !ok {
			return page, err
		}
		after = corrupt.Block
	}
}

// numberOf is the number of the page's frame i.
func numberOf(page *persistence.StreamFrames, i int) int64 {
	return page.Appended - page.Behind - int64(len(page.Frames)-1-i)
}
