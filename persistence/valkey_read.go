package persistence

import (
	"context"
	"fmt"
	"time"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

// Bounds of what is asked of the server at one time: a page is fetched in pieces, so that one of large events stays within bounds too.
const (
	pieceEntries = 512
	pieceBytes   = 1 << 20
)

// Read implements Stream.
func (s *valkeyStream) Read(ctx context.Context, from, to StreamCursor, limit int) (StreamFrames, error) {
	if err := checkLimit(limit); err != nil {
		return StreamFrames{}, err
	}
	page, _, err := s.page(ctx, from.Lower(), to.Upper(), limit, false)
	return page, err
}

// page reads the entries of the closed range [from, to], or with exclusive what comes after from, oldest first. last is where the stream ended before
// the first of them was read.
func (s *valkeyStream) page(ctx context.Context, from, to EntryID, limit int, exclusive bool) (page StreamFrames, last EntryID, err error) {
	room, size := MaxPageBytes, 0
	for {
		piece := min(limit-len(page.Frames), pieceEntries)
		if n := len(page.Frames); n > 0 {
			piece = max(min(piece, pieceBytes*n/max(size, 1)), 1)
		} else {
			piece = min(piece, 64)
		}
		frames, m, err := s.fetch(ctx, from, to, piece, exclusive)
		if err != nil {
			return StreamFrames{}, last, err
		}
		// What was dropped after it was read is there.
		if len(page.Frames) == 0 && (len(frames) == 0 || frames[0].ID.Compare(m.trimmed) > 0) {
			check := checkFrom
			if exclusive {
				check = checkAfter
			}
			if err := check(s.name, from, m.trimmed); err != nil {
				return StreamFrames{}, last, err
			}
			last = m.last
		}
		page.ClosedAt, page.ClosedReason = m.closedAt, m.closedReason
		for _, f := range frames {
			page.Frames = append(page.Frames, f)
			size += len(f.Event)
			if room -= len(f.Event); room <= 0 {
				return page, last, nil
			}
		}
		if len(frames) < piece || len(page.Frames) >= limit {
			return page, last, nil
		}
		from, exclusive = frames[len(frames)-1].ID, true
	}
}

// surroundings are what is read with a piece.
type surroundings struct {
	last         EntryID // before it: where the stream ended
	closedAt     time.Time
	closedReason string
	trimmed      EntryID // after it: how far retention has gone
}

// fetch asks for one piece and for what surrounds it, which is answered in this order: what the piece lacks at its end came after the closed marker was
// looked at only if the marker was not there, for nothing is appended to a closed stream.
func (s *valkeyStream) fetch(ctx context.Context, from, to EntryID, count int, exclusive bool) (frames []Frame, m surroundings, err error) {
	limited, release, err := s.store.use(ctx)
	if err != nil {
		return nil, m, err
	}
	defer release()
	client, err := s.store.readers.get()
	if err != nil {
		return nil, m, s.store.failure(ctx, err)
	}
	if exclusive && from == messages.MaxEntryID {
		to = EntryID{} // there is nothing after it
	} else if exclusive {
		from = from.Next()
	}
	answers := client.DoMulti(limited,
		client.B().Hmget().Key(s.keys.meta).Field("closed_us", "closed_reason", "last").Build(),
		client.B().Xrange().Key(s.keys.stream).Start(from.String()).End(to.String()).Count(int64(count)).Build(),
		client.B().Hget().Key(s.keys.meta).Field("trimmed").Build())
	var replies [3]valkey.ValkeyMessage
	for i := range answers {
		reply, err := answers[i].ToMessage()
		if err != nil && !valkey.IsValkeyNil(err) {
			return nil, m, s.store.failure(ctx, err)
		}
		replies[i] = reply
	}
	f := stringsOf(replies[0])
	if f[0] != "" {
		m.closedAt, m.closedReason = time.UnixMicro(number(f[0])).UTC(), f[1]
	}
	if id := entryID(f[2]); id != nil {
		m.last = *id
	}
	if frames, err = framesOfReply(&replies[1]); err != nil {
		return nil, m, fmt.Errorf("stream %s: %w", s.name, err)
	}
	if text, err := replies[2].ToString(); err == nil {
		if id := entryID(text); id != nil {
			m.trimmed = *id
		}
	}
	return frames, m, nil
}

// Tail implements Stream. At the tip it costs the server nothing: the stream's hub has what is new.
func (s *valkeyStream) Tail(ctx context.Context, after StreamCursor, block time.Duration, limit int) (StreamFrames, error) {
	id, err := after.Exclusive()
	if err != nil {
		return StreamFrames{}, err
	}
	if err := checkLimit(limit); err != nil {
		return StreamFrames{}, err
	}
	if err := checkBlock(block); err != nil {
		return StreamFrames{}, err
	}
	if err := ctx.Err(); err != nil || block == 0 {
		if err != nil {
			return StreamFrames{}, err
		}
		page, _, err := s.page(ctx, id, messages.MaxEntryID, limit, true)
		return page, err
	}
	timer := s.store.clock.NewTimer(block)
	defer timer.Stop()
	for {
		frames, next, covered := s.hub.look(id, limit)
		if len(frames) == 0 && !covered {
			page, last, err := s.page(ctx, id, messages.MaxEntryID, limit, true)
			if err != nil || len(page.Frames) > 0 || page.IsClosed() {
				return page, err
			}
			if next == nil {
				if err := s.hub.start(last); err != nil {
					return StreamFrames{}, err
				}
				if frames, next, _ = s.hub.look(id, limit); next == nil {
					continue
				}
			}
		}
		if len(frames) > 0 {
			return StreamFrames{Frames: frames}, nil
		}
		s.hub.wait(1)
		select {
		case <-next.happened:
			s.hub.wait(-1)
			if next.err != nil {
				return StreamFrames{}, next.err
			}
		case <-timer.Chan():
			s.hub.wait(-1)
			return StreamFrames{}, nil
		case <-ctx.Done():
			s.hub.wait(-1)
			return StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			s.hub.wait(-1)
			return StreamFrames{}, ErrStoreClosed
		}
	}
}
