package jetstream

import (
	"context"
	"time"

	"tempestd/messages"
)

// Sink takes the batches of one connection. Its methods are called from Run's goroutine only. What was handed over belongs to the
// sink; what it gives back is empty and belongs to Run.
type Sink interface {
	// TryHand takes b over and gives the next batch, or, if there is none to give, does not take b and says false. It never blocks, and does not close the
	// connection, which waits for the read that TryHand is called from.
	TryHand(b *messages.Batch) (next *messages.Batch, ok bool)
	// Hand takes b over and gives the next batch as soon as there is one: this is backpressure. With nil Run ends; select on Conn.Done, so that
	// CloseNow can end the wait.
	Hand(b *messages.Batch) (next *messages.Batch)
	// Bad is told of a frame that gave no event; the frame is valid during the call only. It is called for each of them: limit the rate of what
	// you do about it.
	Bad(frame []byte, err error)
	// First is told of the connection's first event, wanted or not, before it is in a batch: see VerifyFirst. Off and Len say nothing.
	First(e messages.Event)
	// Info is told what the upstream says beside its events, such as InfoOutdatedCursor. Both are printable and bounded, and the name may be empty.
	Info(name, message string)
}

// InfoOutdatedCursor is the name of what a v2 server says before its first event when it cannot go back as far as it was asked to by time: past its retention, or
// before the oldest event it ever archived.
const InfoOutdatedCursor = "OutdatedCursor"

// InfoFutureCursor is the name of what a v2 server says before its first event when the sequence number that it was asked for lies beyond the next one it will give: the
// numbers are another instance's, or from before this one was rebuilt, and what follows began at the live tip.
const InfoFutureCursor = "FutureCursor"

// Limits are when a batch is handed over: when it has so many events or bytes, or when its oldest frame has waited for so long and the
// socket has nothing more to give. A batch may hold one message more than Bytes. A batch can be without events: of frames that are not wanted.
type Limits struct {
	Events int           // at least 1
	Bytes  int           // at least 1; 1 GiB at most
	Delay  time.Duration // 0 hands over whenever the socket is empty
}

// Bounds of a batch's memory.
const (
	maxBatchBytes = 1 << 30
	firstArena    = 64 << 10 // bytes a batch starts with; it doubles from there
	firstEvents   = 64
)

// retryDelay is the least time between two attempts to hand over a batch that the sink did not take.
const retryDelay = 5 * time.Millisecond

// Run reads the connection to its end, into b first and then into what the sink gives. It returns the batch in hand, which may be empty, with every
// event read since the last one was handed over (nil if the sink ended it), and an error that is never nil: an *[EndError]. The connection is closed then,
// and no goroutine is left.
//
// A frame that does not scan is left out, counted in the batch and reported to the sink; it ends nothing. An event that is not wanted is left out too;
// the batch counts its frame and tells how far it reaches.
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
		c.memory.cannotPack(c.endpoint, printable("not compressed: "+end.Reason))
		c.memory.forgetDictionary(c.endpoint.host)
	}
	return l.batch, &EndError{Ending: end, cause: err}
}

// readLoop is the state of a Run. It is the running goroutine's own.
type readLoop struct {
	conn   *Conn
	sink   Sink
	lim    Limits
	batch  *messages.Batch
	unwrap bool // v2 frames are kept in v1's shape

	frames uint64 // data messages read to their end
	newest int64  // greatest upstream time of their events, Unix µs
	begun  bool   // the sink was told of the first event

	inFrame bool // a message was begun and not read to its end
	partial bool // … as it was published
	whole   bool // the message that take reads was read to its end
	inArena bool // … and what there is of it lies behind the batch's events
	copied  bool // … which were copied to spare
	lent    bool // … and handed over
	spare   []byte
	oldest  time.Time // when the batch's first frame was read from the socket
	retryAt time.Time // when to try again to hand over a batch that the sink did not take

	packed, plain []byte // a message on its way to the arena
}

func (l *readLoop) run() error {
	for {
		kind, r, err := l.conn.ws.Reader(context.Background()) // a context that can end costs 8 allocations a frame
		if err != nil {
			return err
		}
		l.inFrame = true
		if err := l.message(kind, r); err != nil {
			l.batch.Buf = l.batch.Buf[:l.arenaEnd()]
			return err
		}
		l.inFrame = false
		if len(l.batch.Events)+len(l.batch.Skipped) >= l.lim.Events || len(l.batch.Buf) >= l.lim.Bytes {
			if !l.hand() {
				return ErrStopped
			}
		}
	}
}

// idle is called before each real socket read. It hands the batch over when it has waited long enough, be it in the middle of a message, and says when to be called
// again at the latest; the zero time is "whenever something was read".
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

// handOver hands the batch over if the sink takes it. Where a message is being read behind its events, they go as a copy, once a message at most, and the arena
// stays: the library holds the part of it that is to be filled.
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

// hand hands a full batch over and waits for the next one.
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

// publish makes the activity known.
func (l *readLoop) publish() {
	if c := l.conn; l.frames != c.frames.Load() {
		c.lastFrame.Store(c.since(c.wire.readAt))
		c.newest.Store(l.newest)
		c.frames.Store(l.frames)
	}
	if l.inFrame != l.partial {
		l.partial = l.inFrame
		l.conn.partial.Store(l.partial)
	}
}
