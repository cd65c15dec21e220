package segment

import (
	"errors"
	"io"
)

// Inspector goes through a segment block by block and checks every byte, also after damaged bytes.
// It keeps its buffers and is not safe for concurrent use.
type Inspector struct {
	dec     *Decoder
	walker  Walker
	scratch []byte
}

// NewInspector returns an Inspector that unpacks with dec.
func NewInspector(dec *Decoder) *Inspector { return &Inspector{dec: dec} }

// Piece is a block, or bytes where a block should be.
type Piece struct {
	Off, Len int64
	Head     *Head // nil for bytes that are no block; valid during the call
	// Err is the fault of the block's body or link, or of the bytes; nil for a whole block.
	Err error
}

// Ending is the end of a segment's blocks.
type Ending struct {
	Off    int64
	Footer bool  // a footer begins there
	Used   int64 // the offset after the last byte that is not zero; Off if nothing follows
}

// Each calls visit for the pieces of the segment r, which has size bytes, up to the footer or up to
// where no block follows. The error is r's or visit's.
func (i *Inspector) Each(r io.ReaderAt, size int64, visit func(*Piece) error) (Ending, error) {
	k := &i.walker
	k.window.reset(r, size)
	for off := int64(HeaderLen); ; {
		h, fault := k.at(off)
		if fault == nil {
			p := Piece{Off: off, Len: h.Len(), Head: h}
			if p.Err = i.checkBody(&p); p.Err != nil && !errors.Is(p.Err, ErrDamaged) {
				return Ending{}, p.Err
			}
			if err := visit(&p); err != nil {
				return Ending{}, err
			}
			off += p.Len
			continue
		}
		ends := errors.Is(fault, errZeros) || errors.Is(fault, errFooter)
		if !ends && !errors.Is(fault, ErrDamaged) {
			return Ending{}, fault
		}
		next, _, err := k.Find(r, size, off+1)
		if err != nil {
			return Ending{}, err
		}
		if next == 0 {
			used, err := k.LastByte(r, size, min(off, size))
			return Ending{Off: off, Footer: errors.Is(fault, errFooter), Used: used}, err
		}
		if ends {
			fault = damaged("there is no block")
		}
		if err := visit(&Piece{Off: off, Len: next - off, Err: fault}); err != nil {
			return Ending{}, err
		}
		off = next
	}
}

// checkBody reads the block's body and checks all of it. The head stays valid.
func (i *Inspector) checkBody(p *Piece) (err error) {
	w, h := &i.walker.window, p.Head
	at := w.off
	whole, err := w.bytes(p.Off, h.HeadLen+h.BodyLen)
	if err == nil && w.off != at { // the window moved, and the head was in it
		err = h.Decode(whole)
	}
	if err != nil {
		return err
	}
	if err := h.CheckLink(); err != nil {
		return err
	}
	i.scratch, err = i.dec.Verify(i.scratch, whole[h.HeadLen:], h)
	return err
}
