package jetstream

import (
	"context"
	"time"

	"tempestd/messages"
)

// Sink takes the batches of one connection. Run calls its methods from its own goroutine only. A
// batch that was handed over belongs to the sink. A batch that the sink returns is empty and
// belongs to Run.
type Sink interface {
	// TryHand takes b over and returns the next batch. If there is no next batch it does not take b
	// and returns false. It must not block. It must not close the connection, because a close waits
	// for the read that TryHand is called from.
	TryHand(b *messages.Batch) (next *messages.Batch, ok bool)
	// Hand takes b over and returns the next batch as soon as there is one: this is backpressure. A
	// nil batch ends Run. Select on Conn.Done while it waits, so that CloseNow can end the wait.
	Hand(b *messages.Batch) (next *messages.Batch)
	// Bad takes a frame that gave no event; the frame is valid during the call only. It is called
	// for each such frame, so limit the rate of what it does.
	Bad(frame []byte, err error)
	// First takes the connection's first event, wanted or not, before it is in a batch: see
	// VerifyFirst. Off and Len are not meaningful.
	First(e messages.Event)
	// Info takes what the upstream says beside its events, such as
	// atproto.OutdatedCursor. Both strings
	// are printable and bounded; the name may be empty.
	Info(name, message string)
}

// Limits say when a batch is handed over: when it has that many events or bytes, or when its oldest
// frame has waited for that long and the socket has nothing more to give. A batch may exceed Bytes
// by one message. A batch without events is possible, of frames that are not wanted.
type Limits struct {
	Events int           // at least 1
	Bytes  int           // 1 to 1 GiB
	Delay  time.Duration // 0 hands the batch over whenever the socket is empty
}

// Bounds of a batch's memory.
const (
	maxBatchBytes = 1 << 30
	firstArena    = 64 << 10 // bytes of a new arena; it doubles from there
	firstEvents   = 64
)

// retryDelay is the shortest time between two attempts to hand over a batch that the sink did not
// take.
const retryDelay = 5 * time.Millisecond

// Run reads the connection to its end, first into b and then into the batches that the sink
// returns. It returns the current batch, which may be empty, with every event read since the last
// one was handed over (nil if the sink ended Run), and an error that is never nil: an *[EndError].
// When it returns, the connection is closed and no goroutine is left.
//
// A frame that does not scan is left out, counted in the batch and reported to the sink; it does
// not end the connection. An event that is not wanted is left out too; the batch counts its frame,
// and the batch's position includes it.
func (c *Conn) Run(b *messages.Batch, sink Sink, lim Limits) (rest *messages.Batch, err error) {
	lim.Events = max(lim.Events, 1)
	lim.Bytes = min(max(lim.Bytes, 1), maxBatchBytes)
	l := &readLoop{conn: c, sink: sink, lim: lim, batch: b, unwrap: c.spoken.Protocol == ProtocolV2 && !c.raw}
	c.wire.loop = l
	err = l.run()
	l.publish()
	c.hangUp()
	end := c.ending(err, l.inFrame)
	if end.Cause == CauseCompression {
		c.memory.cannotCompress(c.endpoint, printable("not compressed: "+end.Reason))
		c.memory.forgetDictionary(c.endpoint.host)
	}
	return l.batch, &EndError{Ending: end, cause: err}
}

// readLoop is the state of a Run. Only Run's goroutine uses it.
type readLoop struct {
	conn   *Conn
	sink   Sink
	lim    Limits
	batch  *messages.Batch
	unwrap bool // v2 frames are stored in v1's shape

	frames uint64 // data messages read to their end
	newest int64  // greatest upstream time of their events, Unix µs
	latest int64  // upstream time of the last of them, Unix µs
	begun  bool   // the sink was told the first event

	inFrame bool // a message has begun and was not read to its end
	partial bool // inFrame as it was last published
	whole   bool // the current message was read to its end
	inArena bool // its bytes so far are in the arena, behind the batch's events
	copied  bool // the batch's events were copied to spare meanwhile
	lent    bool // that copy was handed over
	spare   []byte
	oldest  time.Time // when the batch's first frame was read from the socket
	retryAt time.Time // when to try again after the sink did not take a batch

	packed, plain []byte // a compressed or a v2 message on its way to the arena
}

func (l *readLoop) run() error {
	for {
		// A context that can end would cost 8 allocations per frame.
		kind, r, err := l.conn.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		l.inFrame = true
		if err := l.message(kind, r); err != nil {
			l.batch.Buf = l.batch.Buf[:l.arenaEnd()]
			return err
		}
		l.inFrame = false
		if len(l.batch.Events)+len(l.batch.Oversized) >= l.lim.Events || len(l.batch.Buf) >= l.lim.Bytes {
			if !l.hand() {
				return ErrStopped
			}
		}
	}
}

// idle is called before each real socket read. It hands the batch over if that has waited long
// enough, even in the middle of a message. It returns the latest time of its next call; the zero
// time means the next time that something was read.
func (l *readLoop) idle() time.Time {
	l.publish()
	if l.batch.Frames == 0 {
		return time.Time{}
	}
	due := l.oldest.Add(l.lim.Delay)
	if due.Before(l.retryAt) {
		due = l.retryAt
	}
	now := l.conn.clock.Now()
	if now.Before(due) {
		return due
	}
	if l.handOver() {
		return time.Time{}
	}
	l.retryAt = now.Add(max(l.lim.Delay, retryDelay))
	return l.retryAt
}

// handOver hands the batch over if the sink takes it. If a message is being read into the arena
// behind the events, the events are handed over as a copy, which is made at most once per message.
// The arena stays, because the library holds the part of it that it is filling.
func (l *readLoop) handOver() bool {
	b := l.batch
	arena := b.Buf
	if l.inArena {
		if !l.copied {
			l.copied, l.spare = true, append(l.spare[:0], arena...)
		}
		b.Buf = l.spare
	}
	next, ok := l.sink.TryHand(b)
	switch {
	case !ok:
		b.Buf = arena
		return false
	case l.inArena:
		l.lent, l.spare, next.Buf = true, scratch(next.Buf), arena[:0]
	}
	l.batch = next
	return true
}

// hand hands a full batch over and waits for the next one. It returns false if the sink gives none.
func (l *readLoop) hand() bool {
	if next, ok := l.sink.TryHand(l.batch); ok {
		l.batch = next
		return true
	}
	l.publish()
	c := l.conn
	c.blocked.Store(c.since(c.clock.Now()))
	l.batch = l.sink.Hand(l.batch)
	c.blocked.Store(0)
	return l.batch != nil
}

// publish makes the loop's counts visible to Activity.
func (l *readLoop) publish() {
	if c := l.conn; l.frames != c.frames.Load() {
		c.lastFrame.Store(c.since(c.wire.readAt))
		c.newest.Store(l.newest)
		c.latest.Store(l.latest)
		c.frames.Store(l.frames)
	}
	if l.inFrame != l.partial {
		l.partial = l.inFrame
		l.conn.partial.Store(l.partial)
	}
}
