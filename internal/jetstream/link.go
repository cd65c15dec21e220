package jetstream

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// linked is a transport that puts a link between the websocket and the upgraded connection, with or
// without TLS.
type linked struct {
	http.RoundTripper
	link *link
}

func (l *linked) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if body, ok := resp.Body.(io.ReadWriteCloser); ok {
		l.link.ReadWriteCloser = body
		resp.Body = l.link
	}
	return resp, nil
}

// link is the stream of websocket frames. It looks at the frames' headers as they pass, so that a
// frame that is too long is found when its header announces it. The websocket library does not
// report the length, and would wait for bytes that may never come. The link also sees the close
// frame on its way out; after that it waits for nothing.
type link struct {
	io.ReadWriteCloser
	frames framing
	end    error // what the next Read returns

	parting atomic.Bool // the next close frame that is written ends everything
	parted  atomic.Bool // that close frame was written
	hangUp  func()      // closes the socket
}

// Read is called by the websocket library.
func (l *link) Read(p []byte) (int, error) {
	if l.parted.Load() {
		return 0, net.ErrClosed
	}
	if l.end != nil {
		return 0, l.end
	}
	n, err := l.ReadWriteCloser.Read(p)
	if pass, announced := l.frames.walk(p[:n]); pass < n {
		if l.end = (&tooLongError{announced}); pass == 0 {
			return 0, l.end
		}
		return pass, nil
	}
	return n, err
}

// closeFrame is the first byte of a close frame.
const closeFrame = 0x88

// Write is called by the websocket library, which writes a control frame in one call.
func (l *link) Write(p []byte) (int, error) {
	n, err := l.ReadWriteCloser.Write(p)
	if len(p) > 0 && p[0] == closeFrame && l.parting.Load() {
		l.parted.Store(true)
		l.hangUp()
	}
	return n, err
}

// tooLongError: a frame announces, or a message has, more bytes than are read and discarded.
type tooLongError struct{ bytes uint64 }

func (e *tooLongError) Error() string {
	return fmt.Sprintf("a message of %d bytes or more is too large to be passed over", e.bytes)
}

// framing follows a stream of frames from header to header (RFC 6455, 5.2).
type framing struct {
	most   int64 // the longest payload that is let through
	left   int64 // bytes of the current payload that are still to come
	header [14]byte
	have   int // bytes of the current header so far
	lost   bool
}

// walk takes the next bytes of the stream and returns how many of them pass: all of them, or those
// before a header that announces a payload that is too long.
func (f *framing) walk(b []byte) (pass int, announced uint64) {
	for i := 0; i < len(b) && !f.lost; {
		if f.left > 0 {
			n := min(f.left, int64(len(b)-i))
			f.left -= n
			i += int(n)
			continue
		}
		from := i
		rest := b[i:]
		if f.have > 0 { // the header began in earlier bytes
			n := copy(f.header[f.have:], rest)
			rest = f.header[:f.have+n]
		}
		size, payload, whole := frameHeader(rest)
		switch {
		case !whole:
			if f.have == 0 {
				copy(f.header[:], rest)
			}
			f.have = len(rest)
			return len(b), 0
		case payload>>63 != 0:
			f.lost = true // not the websocket protocol; the library will report it
		case payload > uint64(f.most):
			f.lost = true
			return from, payload
		}
		i += size - f.have
		f.left, f.have = int64(payload), 0
	}
	return len(b), 0
}

// frameHeader reads a frame's header from the frame's first byte. It returns the length of the
// header and of the payload; whole is false if b does not contain the whole header.
func frameHeader(b []byte) (size int, payload uint64, whole bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	size = 2
	if b[1]&0x80 != 0 {
		size += 4
	}
	switch n := b[1] & 0x7f; n {
	case 126:
		if size += 2; len(b) >= size {
			payload = uint64(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if size += 8; len(b) >= size {
			payload = binary.BigEndian.Uint64(b[2:])
		}
	default:
		payload = uint64(n)
	}
	return size, payload, len(b) >= size
}
