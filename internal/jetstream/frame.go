package jetstream

import (
	"io"
	"slices"
	"time"

	"github.com/coder/websocket"

	"tempestd/messages"
)

// message reads one message to its end and makes an event of it. An error ends the connection.
func (l *readLoop) message(kind websocket.MessageType, r io.Reader) error {
	start := len(l.batch.Buf)
	frame, err := l.take(kind, r)
	if err == nil {
		err = l.event(frame, start)
	}
	switch e := err.(type) {
	case *FrameError:
		err = l.bad(frame, start, e)
	case *unpackError:
		err = l.truncated(err)
	}
	l.packed, l.plain = scratch(l.packed), scratch(l.plain)
	return err
}

// take reads one message and, if need be, unpacks it. What is kept as it is goes straight to the end of the batch's arena.
func (l *readLoop) take(kind websocket.MessageType, r io.Reader) (frame []byte, err error) {
	inflater := l.conn.inflater
	home := &l.batch.Buf
	if l.unwrap {
		l.plain = l.plain[:0]
		home = &l.plain
	}
	from := len(*home)
	if kind == websocket.MessageText || inflater == nil {
		if *home, err = l.read(r, *home); err == nil && kind != websocket.MessageText {
			err = errBinary
		}
		return (*home)[from:], err
	}
	if l.packed, err = l.read(r, l.packed[:0]); err != nil {
		return nil, err
	}
	*home, err = inflater.append(*home, l.packed)
	return (*home)[from:], err
}

// read appends one message to buf.
func (l *readLoop) read(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, l.growth(cap(buf)))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// growth is how much an arena of the given size grows: it doubles, up to what a batch may hold, and beyond that only for a large message.
func (l *readLoop) growth(size int) int {
	by := max(size, firstArena)
	if room := l.lim.Bytes + firstArena - size; room > 0 {
		by = min(by, room)
	}
	return by
}

// keepScratch is how much memory each of the two ways to the arena may keep, in bytes.
const keepScratch = 1 << 20

func scratch(buf []byte) []byte {
	if cap(buf) > keepScratch {
		return nil
	}
	return buf
}

// event makes an event of a frame, in the arena from start on. A frame that gives none is a *FrameError.
func (l *readLoop) event(frame []byte, start int) error {
	b := l.batch
	var f fields
	if i := f.parse(frame); i < 0 {
		return badJSON(frame, ^i)
	}
	if l.conn.spoken.Protocol == ProtocolV2 {
		if c, ok := f.control(frame); ok {
			return l.control(c, start)
		}
	}
	id, lack := f.identify()
	if lack != "" {
		return badEvent(lack)
	}
	e := messages.Event{Off: uint32(start)}
	wanted := l.conn.filter.Load().wants(&id)
	if l.unwrap && wanted {
		b.Buf = f.appendV1(b.Buf, frame)
		frame = b.Buf[start:]
		id.whole = frame
	} else if id.nameless {
		id.whole = f.asV1(frame)
	}
	f.fill(&e, &id)
	if !l.begun {
		l.begun = true
		if l.conn.spoken.Protocol == ProtocolV1 {
			l.conn.memory.sawFirst(l.conn.endpoint, e)
		}
		l.sink.First(e)
	}
	l.count()
	b.Seq, b.TimeUS = e.Seq, max(b.TimeUS, e.TimeUS)
	l.newest = max(l.newest, e.TimeUS)
	if !wanted {
		b.Buf = b.Buf[:start]
		return nil
	}
	e.Len = uint32(len(frame))
	if len(b.Events) == cap(b.Events) {
		b.Events = slices.Grow(b.Events, max(cap(b.Events), firstEvents))
	}
	b.Events = append(b.Events, e)
	return nil
}

// count counts a message that was read to its end.
func (l *readLoop) count() {
	l.frames++
	if l.batch.Frames == 0 {
		l.oldest, l.retryAt = l.conn.wire.readAt, time.Time{}
	}
	l.batch.Frames++
}

// bad leaves out a frame that gave no event.
func (l *readLoop) bad(frame []byte, start int, err *FrameError) error {
	if err := l.truncated(nil); err != nil {
		return err
	}
	l.count()
	l.batch.Bad++
	l.sink.Bad(frame, err)
	l.batch.Buf = l.batch.Buf[:start]
	return nil
}

// truncated gives the true error of a message that is wrong, which is err unless the connection has ended: the library takes one that ends at certain
// places within a message for the message's end.
func (l *readLoop) truncated(err error) error {
	if l.conn.wire.failed.Load() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// control passes on what the upstream says beside its events. After an error it says nothing more.
func (l *readLoop) control(c control, start int) error {
	l.count()
	l.batch.Buf = l.batch.Buf[:start]
	if c.isError {
		return &upstreamError{c}
	}
	l.sink.Info(c.name, c.message)
	return nil
}

var errBinary = &FrameError{Kind: ErrBadEvent, Detail: "a binary message, where compression was not asked for; want text"}

// upstreamError is what a v2 server says before it ends a connection.
type upstreamError struct{ control }

func (e *upstreamError) Error() string { return "the upstream said " + e.text() }

func (c control) text() string {
	if c.name == "" || c.message == "" {
		return c.name + c.message
	}
	return c.name + ": " + c.message
}

// unpackError is a message that cannot be unpacked.
type unpackError struct{ cause error }

func (e *unpackError) Error() string { return "a message cannot be unpacked: " + e.cause.Error() }
func (e *unpackError) Unwrap() error { return e.cause }
