package serve

import (
	"context"
	"errors"
	"math"
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
// A sequence number is looked for. In the stream of one upstream they rise, and it is found by bisection. But an upstream that crashed gives numbers again,
// to other events, and another host has numbers of its own (PROTOCOL.md, 2.2): the same one may stand in a stream twice, and what follows need not be greater. Then
// rather too much is sent than too little: of the places that a number has, the oldest that is found is taken. In the newest seekWindow every entry is looked at; before
// that an upstream's crash is allowed for, by beginning seekRewind numbers early, and a change to a host whose numbers fall among those of the one before is
// not. A number that no entry has stands for the next greater one; one above all others is the live tip.
const (
	seekWindow = 10 * time.Minute // of upstream time before the newest entry: some 300 000 entries of the whole network
	seekRewind = 16_384           // four of the blocks that an upstream can lose
	seekPage   = 1000
)

// place is where a subscription begins.
type place struct {
	after persistence.EntryID // what follows
	// Events before fromUS are left out until the first that is not, but none that follows until.
	fromUS int64
	until  persistence.EntryID
	below  bool  // the cursor is of events that retention has dropped
	first  int64 // then the sequence number of the first event it does
}

// seeker finds places in one stream.
type seeker struct {
	ctx    context.Context
	stream persistence.Stream
	info   persistence.StreamInfo
	entry  jetstream.Entry
}

// seek finds the place that a cursor means. Seeking is bounded by ctx alone.
func seek(ctx context.Context, stream persistence.Stream, c subscribe.Cursor, now time.Time) (place, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return place{}, err
	}
	s := &seeker{ctx: ctx, stream: stream, info: info}
	switch {
	case info.Newest == nil: // nothing is stored, or nothing any more
		return s.tip(), nil
	case !c.Given, c.IsTime() && c.Value > now.UnixMicro():
		return s.tip(), nil
	case c.IsTime():
		return s.time(c.Value)
	case c.Value <= 1 && info.Trimmed == nil:
		return s.start(), nil
	}
	return s.sequence(c.Value)
}

// tip is where the stream ends.
func (s *seeker) tip() place {
	switch {
	case s.info.Newest != nil:
		return place{after: *s.info.Newest}
	case s.info.Trimmed != nil:
		return place{after: *s.info.Trimmed}
	}
	return place{}
}

// start is where the stream begins. It is not 0-0, which never expires: what retention drops before the first page is to be told of.
func (s *seeker) start() place { return place{after: s.info.Oldest.Prev()} }

// time finds the first event at or after us.
func (s *seeker) time(us int64) (place, error) {
	from := persistence.EntryID{MS: uint64(us / 1000)}
	if from.Compare(*s.info.Newest) > 0 {
		return s.tip(), nil
	}
	if from.Compare(*s.info.Oldest) > 0 {
		return place{after: from.Prev(), fromUS: us, until: *s.info.Newest}, nil
	}
	first, err := s.first()
	if err != nil {
		return place{}, err
	}
	p := s.start()
	p.fromUS, p.until, p.first = us, *s.info.Newest, first.seq
	p.below = s.info.Trimmed != nil && from.MS <= s.info.Trimmed.MS && us < first.us
	return p, nil
}

// sighting is an entry that was looked at.
type sighting struct {
	id  persistence.EntryID
	seq int64
	us  int64
}

// first is the oldest entry that is no gap's, its time for a sequence number where it has none.
func (s *seeker) first() (found sighting, err error) {
	err = s.scan(*s.info.Oldest, *s.info.Newest, func(f *persistence.Frame) bool {
		if !s.entry.Read(f.Event) || s.entry.DID() == nil {
			return true
		}
		found = sighting{f.ID, s.entry.Seq(), s.entry.TimeUS()}
		if found.seq == 0 {
			found.seq = found.us
		}
		return false
	})
	return found, err
}

// sequence finds the event with the number n, or the next.
func (s *seeker) sequence(n int64) (place, error) {
	oldest, newest := *s.info.Oldest, *s.info.Newest
	window := oldest
	if ms := uint64(seekWindow / time.Millisecond); newest.MS > ms && newest.MS-ms > oldest.MS {
		window = persistence.EntryID{MS: newest.MS - ms}
	}
	var exact, greater, any sighting
	look := func(f *persistence.Frame) bool {
		seq := s.entry.SeqOf(f.Event)
		if seq == 0 {
			return true
		}
		any = sighting{id: f.ID, seq: seq}
		switch {
		case seq == n:
			exact = any
			return false
		case seq > n && greater.seq == 0:
			greater = any
		}
		return true
	}
	if window != oldest {
		begin, err := s.bisect(n-seekRewind, oldest, window)
		if err != nil {
			return place{}, err
		}
		// By then it must have come.
		last := int64(math.MaxInt64)
		err = s.scan(begin, window.Prev(), func(f *persistence.Frame) bool {
			more := look(f)
			if greater.seq > 0 && last == math.MaxInt64 {
				last = 2 * seekRewind
			}
			last--
			return more && last > 0
		})
		if err != nil {
			return place{}, err
		}
	}
	if exact.seq == 0 {
		if err := s.scan(window, newest, look); err != nil {
			return place{}, err
		}
	}
	found := exact
	if found.seq == 0 {
		found = greater
	}
	switch {
	case found.seq == 0 && any.seq == 0: // a number, in a stream that has none: there is nothing to compare it with
		return s.start(), nil
	case found.seq == 0:
		return s.tip(), nil
	case found.seq == n:
		return place{after: found.id.Prev()}, nil
	}
	first, err := s.firstSequence()
	if err != nil {
		return place{}, err
	}
	p := place{after: found.id.Prev()}
	if found.id == first.id {
		p = s.start()
		p.below, p.first = true, first.seq
	}
	return p, nil
}

// firstSequence is the oldest entry that has a sequence number.
func (s *seeker) firstSequence() (found sighting, err error) {
	err = s.scan(*s.info.Oldest, *s.info.Newest, func(f *persistence.Frame) bool {
		found = sighting{id: f.ID, seq: s.entry.SeqOf(f.Event)}
		return found.seq == 0
	})
	return found, err
}

// bisect gives an ID in [from, to) from which on the numbers are expected to pass n.
func (s *seeker) bisect(n int64, from, to persistence.EntryID) (persistence.EntryID, error) {
	low, high := from.MS, to.MS // the first millisecond whose next number is not below n lies in [low, high]
	for low < high {
		mid := low + (high-low)/2
		var next sighting
		err := s.scan(persistence.EntryID{MS: mid}, to.Prev(), func(f *persistence.Frame) bool {
			next = sighting{id: f.ID, seq: s.entry.SeqOf(f.Event)}
			return next.seq == 0
		})
		switch {
		case err != nil:
			return from, err
		case next.seq == 0 || next.seq >= n:
			high = mid
		default:
			low = max(mid, next.id.MS) + 1
		}
	}
	// Within the millisecond before, too, numbers may have passed n.
	begin := persistence.EntryID{MS: low}.Prev()
	begin.Seq = 0
	if begin.Compare(from) < 0 {
		return from, nil
	}
	return begin, nil
}

// scan shows the entries of the closed range to look, until it returns false. Entries that retention drops meanwhile, and those that cannot be read, are passed over.
func (s *seeker) scan(from, to persistence.EntryID, look func(*persistence.Frame) bool) error {
	limit := 1
	for from.Compare(to) <= 0 {
		page, err := s.stream.Read(s.ctx, persistence.CursorAt(from), persistence.CursorAt(to), limit)
		if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
			from = expired.Oldest.Next()
			continue
		}
		if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
			from = corrupt.Block.Next()
			continue
		}
		if err != nil {
			return err
		}
		if len(page.Frames) == 0 {
			return nil
		}
		for i := range page.Frames {
			if !look(&page.Frames[i]) {
				return nil
			}
		}
		from = page.Frames[len(page.Frames)-1].ID.Next()
		limit = min(4*limit, seekPage)
	}
	return nil
}
