package jetstream

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zstd"

	"tempestd/messages"
)

// Bounds of a message that is read and discarded. Only its outline is kept, so memory sets no
// bound. The bound follows from the time that such a message takes, and from the sizes that a
// server can mean: the largest record of the network is 1 MiB. A still larger message ends the
// connection.
const (
	skipFactor = 64 // times max_message_size
	leastSkip  = 64 << 20
	skipBuffer = 32 << 10
	// skipWindow bounds the memory for decompressing the outline of a compressed message. A message
	// with a larger window has no outline.
	skipWindow = 16 << 20
)

func skipLimit(maxSize int64) int64 { return max(skipFactor*maxSize, leastSkip) }

// skip reads and discards the rest of a message whose beginning was read as first, and makes its
// outline. It returns the message's size: decompressed if it could be decompressed, and otherwise
// as it came. An error ends the connection.
func (l *readLoop) skip(r io.Reader, first []byte, packed bool) (size int64, known *outline, err error) {
	rest := &limited{r: r, n: int64(len(first)), most: skipLimit(l.conn.maxSize)}
	known = &outline{}
	buf := make([]byte, skipBuffer)
	whole := io.MultiReader(bytes.NewReader(first), rest)
	if packed {
		if size, err = l.conn.inflater.outline(known, whole, buf, rest.most); err != nil {
			known.full = true
		}
	} else {
		size, _ = io.CopyBuffer(known, onlyReader{whole}, buf)
	}
	// The rest of the message is read even if there is no outline.
	_, err = io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{rest}, buf)
	return max(size, rest.n), known, err
}

// onlyReader and onlyWriter hide other methods, so that io.CopyBuffer uses the given buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// limited reads the rest of a message, up to the most that is discarded, and repeats its error.
type limited struct {
	r    io.Reader
	n    int64 // bytes so far
	most int64
	err  error
}

func (l *limited) Read(p []byte) (n int, err error) {
	if l.err != nil {
		return 0, l.err
	}
	n, l.err = l.r.Read(p)
	if l.n += int64(n); l.n > l.most {
		l.err = &tooLongError{uint64(l.n)}
	}
	return n, l.err
}

// outline decompresses at most most bytes of a message into its outline, and returns their number.
func (z *inflater) outline(into *outline, packed io.Reader, buf []byte, most int64) (int64, error) {
	d, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(skipWindow),
		zstd.WithDecoderDicts(z.dictionary))
	if err != nil {
		return 0, err
	}
	defer d.Close()
	return io.CopyBuffer(into, onlyReader{io.LimitReader(d, most)}, buf)
}

// tooLarge records an event that was discarded, with what is known of it. It moves the position as
// any other event does. A message that is not an event counts as bad, whatever its size.
func (l *readLoop) tooLarge(size int64, known *outline) error {
	large := messages.OversizedEvent{Size: size}
	wanted := true
	if frame, ok := known.bytes(); ok {
		var f fields
		if f.parse(frame) < 0 {
			return l.bad(frame, &FrameError{Kind: ErrBadEvent, Detail: "larger than max_message_size, and no JSON object"})
		}
		if l.conn.spoken.Protocol == ProtocolV2 {
			if c, ok := f.control(frame); ok {
				return l.control(c)
			}
		}
		id, lack := f.identify()
		if lack != "" {
			return l.bad(frame, &FrameError{Kind: ErrBadEvent, Detail: lack})
		}
		wanted = l.conn.filter.Load().wants(&id)
		describe(&large, &f, &id)
	}
	b := l.batch
	if large.TimeUS > 0 {
		l.first(messages.Event{Kind: large.Kind, TimeUS: large.TimeUS, Seq: large.Seq, Fingerprint: large.Fingerprint})
	}
	l.count()
	if large.TimeUS > 0 {
		b.Seq, b.TimeUS = large.Seq, large.TimeUS
		l.newest, l.latest = max(l.newest, large.TimeUS), large.TimeUS
	}
	if wanted {
		large.After = len(b.Events)
		b.Oversized = append(b.Oversized, large)
	}
	return nil
}

// describe fills s from an event's outline. Only a commit can be fingerprinted from it: the
// identity of other kinds is nested deeper, or is the whole content.
func describe(s *messages.OversizedEvent, f *fields, id *identity) {
	s.Kind, s.TimeUS, s.Seq, s.DID = id.kind, f.positionUS(), f.seq, string(id.did)
	if id.kind == messages.KindCommit {
		s.Fingerprint = id.fingerprint()
		s.Rev, s.Collection, s.RKey, s.Operation = string(id.rev), string(id.path[0]), string(id.path[1]), string(id.path[2])
	}
}
