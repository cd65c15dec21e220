package jetsim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tempestd/internal/atproto"
)

// These errors end a connection because of what the client sent.
var (
	errBadClientFrame = errors.New("client sent an invalid frame")
	errMessageTooBig  = fmt.Errorf("read limited at %d bytes", atproto.MaxSubscriberMessage+1)
)

// receiver reads a client's messages.
type receiver struct {
	br      *bufio.Reader
	deflate *inflater // nil if permessage-deflate was not negotiated
	refuse  bool      // report a data message by its first header, and do not read it

	message    []byte // the data message so far
	op         byte   // its opcode, 0 between messages
	compressed bool
	control    [125]byte
}

// next returns the next control frame or whole data message. The payload is valid until the next
// call.
func (r *receiver) next() (op byte, payload []byte, err error) {
	for {
		h, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		if h.op >= opClose {
			payload := r.control[:h.n]
			err := r.payload(payload, h.mask)
			return h.op, payload, err
		}
		if r.refuse {
			return h.op, nil, nil
		}
		if (h.op == opContinuation) == (r.op == 0) {
			return 0, nil, errBadClientFrame
		}
		if h.op != opContinuation {
			r.op, r.compressed, r.message = h.op, h.compressed, r.message[:0]
		}
		if uint64(len(r.message))+h.n > atproto.MaxSubscriberMessage {
			return 0, nil, errMessageTooBig
		}
		at := len(r.message)
		r.message = append(r.message, make([]byte, h.n)...)
		if err := r.payload(r.message[at:], h.mask); err != nil {
			return 0, nil, err
		}
		if !h.final {
			continue
		}
		op, r.op = r.op, 0
		if !r.compressed {
			return op, r.message, nil
		}
		text, err := r.deflate.inflate(r.message, atproto.MaxSubscriberMessage)
		return op, text, err
	}
}

// header is the header of a client's frame.
type header struct {
	op                byte
	final, compressed bool
	n                 uint64
	mask              [4]byte
}

func (r *receiver) header() (header, error) {
	var b [8]byte
	if _, err := io.ReadFull(r.br, b[:2]); err != nil {
		return header{}, err
	}
	h := header{op: b[0] & 0xf, final: b[0]&finalBit != 0, compressed: b[0]&compressedBit != 0, n: uint64(b[1] & 0x7f)}
	control := h.op >= opClose
	switch {
	case b[0]&0x30 != 0, b[1]&0x80 == 0, // reserved bits; not masked
		control && (h.n > 125 || !h.final),
		h.compressed && (r.deflate == nil || control || h.op == opContinuation):
		return header{}, errBadClientFrame
	}
	switch h.n {
	case 126:
		if _, err := io.ReadFull(r.br, b[:2]); err != nil {
			return header{}, err
		}
		h.n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		if _, err := io.ReadFull(r.br, b[:8]); err != nil {
			return header{}, err
		}
		h.n = binary.BigEndian.Uint64(b[:])
	}
	if h.n > atproto.MaxSubscriberMessage {
		return header{}, errMessageTooBig
	}
	_, err := io.ReadFull(r.br, h.mask[:])
	return h, err
}

func (r *receiver) payload(b []byte, mask [4]byte) error {
	if _, err := io.ReadFull(r.br, b); err != nil {
		return err
	}
	for i := range b {
		b[i] ^= mask[i%4]
	}
	return nil
}
