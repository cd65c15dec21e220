package jetstream

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/coder/websocket"

	"tempestd/messages"
)

// message reads one message to its end and makes an event of it. An error ends the connection.
func (l *readLoop) message(kind websocket.MessageType, r io.Reader) error {
	frame, err := l.take(kind, r)
	if err == nil {
		err = l.event(frame)
	}
	switch e := err.(type) {
	case *FrameError:
		err = l.bad(frame, e)
	case *unpackError:
		err = l.truncated(err)
	case *oversizedError:
		err = l.tooLarge(e.size, e.known)
	}
	l.packed, l.plain = scratch(l.packed), scratch(l.plain)
	return err
}

// oversizedError is a message that was read and discarded because of its size.
type oversizedError struct {
	size  int64
	known *outline
}

func (e *oversizedError) Error() string { return errTooLarge.Error() }

// take reads one message and decompresses it if needed. A message that is stored as it is goes
// straight to the end of the batch's arena, behind the last event (arenaEnd).
func (l *readLoop) take(kind websocket.MessageType, r io.Reader) (frame []byte, err error) {
	packed := l.conn.inflater != nil && kind != websocket.MessageText
	switch {
	case packed:
		// The header of a message that cannot be compressed makes it larger: hence the extra bytes.
		l.packed, err = l.read(r, l.packed[:0], l.conn.maxSize+l.conn.maxSize/128+64)
		if frame = l.packed; err == nil {
			frame, err = l.unpack()
		}
	case l.unwrap:
		l.plain, err = l.read(r, l.plain[:0], l.conn.maxSize)
		frame = l.plain
	default:
		frame, err = l.readInto(r)
	}
	if err == errTooLarge {
		if l.whole {
			r = bytes.NewReader(nil) // the library's reader must not be asked again after its EOF
		}
		size, known, err := l.skip(r, frame, packed)
		if err != nil {
			return nil, err
		}
		return nil, &oversizedError{size, known}
	}
	if err == nil && kind != websocket.MessageText && !packed {
		err = errBinary
	}
	return frame, err
}

// unpack decompresses the message that was read, to the arena or, if it must be unwrapped, to
// l.plain. A message that is too large is returned as it is, compressed.
func (l *readLoop) unpack() (frame []byte, err error) {
	home := &l.batch.Buf
	if l.unwrap {
		l.plain = l.plain[:0]
		home = &l.plain
	}
	from := len(*home)
	if *home, err = l.conn.inflater.append(*home, l.packed); err == errTooLarge {
		return l.packed, err
	}
	return (*home)[from:], err
}

// readInto reads one message into the arena. The library writes into the arena whenever bytes
// arrive. If the events before the message must be handed over meanwhile, they are handed over as a
// copy (handOver), and the arena stays.
func (l *readLoop) readInto(r io.Reader) (frame []byte, err error) {
	start := len(l.batch.Buf)
	l.copied, l.lent, l.inArena = false, false, true
	buf, err := l.read(r, l.batch.Buf, l.conn.maxSize)
	l.inArena = false
	if l.lent {
		buf, start = buf[:copy(buf, buf[start:])], 0
	}
	l.batch.Buf = buf[:start]
	if err == nil {
		l.batch.Buf = buf
	}
	return buf[start:], err
}

// read appends one message of at most most bytes to buf. For a larger one it returns the beginning
// and errTooLarge.
func (l *readLoop) read(r io.Reader, buf []byte, most int64) ([]byte, error) {
	most += int64(len(buf))
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, l.growth(cap(buf)))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		l.whole = err == io.EOF
		switch {
		case err != nil && !l.whole:
			return buf, err
		case int64(len(buf)) > most:
			return buf, errTooLarge
		case l.whole:
			return buf, nil
		}
	}
}

// growth returns how many bytes an arena of the given size grows by. The arena doubles up to the
// size that a batch may have, and grows beyond that only for a large message.
func (l *readLoop) growth(size int) int {
	by := max(size, firstArena)
	if room := l.lim.Bytes + firstArena - size; room > 0 {
		by = min(by, room)
	}
	return by
}

// keepScratch bounds the memory that each scratch buffer (packed, plain, spare) may keep, in bytes.
const keepScratch = 1 << 20

func scratch(buf []byte) []byte {
	if cap(buf) > keepScratch {
		return nil
	}
	return buf
}

// event makes an event of a frame, at the end of the arena. A frame that gives none is a
// *FrameError.
func (l *readLoop) event(frame []byte) error {
	b, start := l.batch, l.arenaEnd()
	var f fields
	if i := f.parse(frame); i < 0 {
		return badJSON(frame, ^i)
	}
	if l.conn.spoken.Protocol == ProtocolV2 {
		if c, ok := f.control(frame); ok {
			return l.control(c)
		}
	}
	id, lack := f.identify()
	if lack != "" {
		return badEvent(lack)
	}
	e := messages.Event{Off: uint32(start)}
	wanted, kept := l.conn.filter.Load().wants(&id), frame
	if l.unwrap && wanted {
		b.Buf = f.appendEntry(b.Buf, frame)
		kept = b.Buf[start:]
	}
	f.fill(&e, &id, frame)
	l.first(e)
	l.count()
	b.Seq, b.TimeUS = e.Seq, e.TimeUS
	l.newest, l.latest = max(l.newest, e.TimeUS), e.TimeUS
	if !wanted {
		b.Buf = b.Buf[:start]
		return nil
	}
	e.Len = uint32(len(kept))
	if len(b.Events) == cap(b.Events) {
		b.Events = slices.Grow(b.Events, max(cap(b.Events), firstEvents))
	}
	b.Events = append(b.Events, e)
	return nil
}

// arenaEnd returns where the last event of the batch ends. The bytes after it belong to a frame
// that has not become an event yet.
func (l *readLoop) arenaEnd() int {
	if n := len(l.batch.Events); n > 0 {
		e := &l.batch.Events[n-1]
		return int(e.Off + e.Len)
	}
	return 0
}

// first tells the sink the connection's first event.
func (l *readLoop) first(e messages.Event) {
	if l.begun {
		return
	}
	l.begun = true
	if l.conn.spoken.Protocol == ProtocolV1 {
		l.conn.memory.sawFirst(l.conn.endpoint, e)
	}
	l.sink.First(e)
}

// count counts a message that was read to its end.
func (l *readLoop) count() {
	l.frames++
	if l.batch.Frames == 0 {
		l.oldest, l.retryAt = l.conn.wire.cameAt, time.Time{}
	}
	l.batch.Frames++
}

// bad reports a frame that gave no event, and removes it from the arena.
func (l *readLoop) bad(frame []byte, err *FrameError) error {
	if err := l.truncated(nil); err != nil {
		return err
	}
	l.count()
	l.batch.Bad++
	l.sink.Bad(frame, err)
	l.batch.Buf = l.batch.Buf[:l.arenaEnd()]
	return nil
}

// truncated returns the true error of a faulty message: err, unless the connection has ended. The
// library takes the end of the connection at certain places within a message for the end of the
// message.
func (l *readLoop) truncated(err error) error {
	if l.conn.wire.failed.Load() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// control passes on what the upstream says beside its events. After an error frame the upstream
// says nothing more.
func (l *readLoop) control(c control) error {
	l.count()
	l.batch.Buf = l.batch.Buf[:l.arenaEnd()]
	if c.isError {
		return &upstreamError{c}
	}
	l.sink.Info(c.name, c.message)
	return nil
}

var errBinary = &FrameError{Kind: ErrBadEvent, Detail: "a binary message, where compression was not asked for; want text"}

// upstreamError is an error frame: a v2 server sends it before it ends a connection.
type upstreamError struct{ control }

func (e *upstreamError) Error() string { return "the upstream said " + e.text() }

func (c control) text() string {
	if c.name == "" || c.message == "" {
		return c.name + c.message
	}
	return c.name + ": " + c.message
}

// unpackError is a message that cannot be decompressed.
type unpackError struct{ cause error }

func (e *unpackError) Error() string { return "a message cannot be unpacked: " + e.cause.Error() }
func (e *unpackError) Unwrap() error { return e.cause }
