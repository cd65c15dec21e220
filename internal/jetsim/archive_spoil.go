package jetsim

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"tempestd/internal/archive/jss"
)

// This file damages segments and blocks on their way to the client. What is stored stays whole.

// blockFaults happen to the answers of getBlock alone: a range of a segment has no room for them. A
// plan has no whole segments while one of them waits.
var blockFaults = []string{FaultBlockEmpty, FaultBlockKind, FaultBlockLengths, FaultBlockRows, FaultBlockBomb, FaultBlockFloat, FaultBlockList,
	FaultBlockLink, FaultBlockOutside, FaultBlockOrder, FaultGeneration}

// awaitsBlock reports whether a fault waits for a getBlock. The caller holds the lock.
func (s *Sim) awaitsBlock() bool { return slices.ContainsFunc(blockFaults, s.awaits) }

// flip returns the byte of a segment of which a bit is flipped in the answer to r, if there is one.
func (s *Sim) flip(g *sealed, r *http.Request) (at int64, ok bool) {
	var from, to int64
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n < 2 {
		to = 1 << 62
	}
	h := &g.header
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range []struct {
		fault string
		at    uint64
	}{
		// In the magic number of the frame: elsewhere there are bits without a meaning.
		{FaultFrameFlip, max(uint64(from), jss.HeaderSize) + 2},
		{FaultIndexFlip, h.IndexOffset + 9},
		{FaultBloomFlip, h.AccountBloomOffset + 1},
	} {
		at := int64(place.at)
		if place.fault == FaultFrameFlip && place.at >= h.IndexOffset {
			continue
		}
		if at >= from && at <= to && s.struck(place.fault) {
			return at, true
		}
	}
	return 0, false
}

// flipped is a file with one bit flipped.
type flipped struct {
	*os.File
	at int64
}

func (f *flipped) Read(b []byte) (int, error) {
	from, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n, err := f.File.Read(b)
	if i := f.at - from; i >= 0 && i < int64(n) {
		b[i] ^= 1
	}
	return n, err
}

// WriteTo keeps io.Copy from reading the file behind Read's back.
func (f *flipped) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{f}) }

// spoil returns the frame of a block with the fault that happens to it.
func (s *Sim) spoil(g *sealed, frame []byte) ([]byte, error) {
	if s.strikeNow(FaultFrameFlip) {
		frame[len(frame)/2] ^= 1
		return frame, nil
	}
	if s.strikeNow(FaultBlockBomb) {
		return bomb(), nil
	}
	s.mu.Lock()
	waits := s.awaitsBlock()
	s.mu.Unlock()
	if !waits {
		return frame, nil
	}
	unpack, err := jss.NewDecompressor(1 << 30)
	if err != nil {
		return nil, err
	}
	defer unpack.Close()
	raw, err := unpack.Unpack(nil, frame)
	if err != nil {
		return nil, err
	}
	b, err := jss.ParseBlock(raw)
	if err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.enc.EncodeAll(s.spoilRows(g, raw, &b), nil), nil
}

// spoilRows returns the rows of a block with the fault that happens to them.
func (s *Sim) spoilRows(g *sealed, raw []byte, b *jss.Block) []byte {
	var rows []jss.Row
	for row := (jss.Row{}); b.Next(&row); {
		rows = append(rows, row)
	}
	n := len(rows)
	if n < 2 {
		return raw // the faults wait for a block with rows
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range []struct {
		name    string
		payload string // of one more record, DAG-CBOR
	}{
		{FaultBlockFloat, "\xa1\x61a\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"},
		{FaultBlockList, "\x81\x01"},
		{FaultBlockLink, "\xa1\x61a\xd8\x2a\x58\x25\x00\x01\x70\x12\x20" + strings.Repeat("\x07", 32)},
	} {
		for i := 1; i < n && s.awaits(fault.name); i++ {
			if rows[i-1].Seq+1 < rows[i].Seq && s.struck(fault.name) { // in a hole, where no event is
				more := jss.Row{Seq: rows[i].Seq - 1, WitnessedUS: rows[i].WitnessedUS, Kind: jss.Create, Collection: []byte("com.example.model"),
					DID: rows[i].DID, Key: []byte("self"), Rev: []byte("3migo7fijwi2k"), Payload: []byte(fault.payload)}
				return jss.AppendBlock(nil, slices.Insert(rows, i, more))
			}
		}
	}
	const seqAt = 4
	kindAt, payloadLenAt := seqAt+24*n, seqAt+30*n
	switch {
	case s.struck(FaultBlockEmpty):
		return []byte{0, 0, 0, 0}
	case s.struck(FaultBlockKind):
		raw[kindAt+n/2] = 9
	case s.struck(FaultBlockLengths):
		raw[payloadLenAt]++
	case s.struck(FaultBlockRows):
		binary.LittleEndian.PutUint32(raw, 1<<32-1)
	case s.struck(FaultBlockOutside):
		binary.LittleEndian.PutUint64(raw[seqAt+8*(n-1):], g.header.MaxSeq+1000)
	case s.struck(FaultBlockOrder):
		binary.LittleEndian.PutUint64(raw[seqAt+8:], rows[0].Seq)
		binary.LittleEndian.PutUint64(raw[seqAt:], rows[1].Seq)
	}
	return raw
}

// bomb is a frame of 33 KB that unpacks to 1 GiB, and does not say so.
func bomb() []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 13 << 3} // with a checksum, a window of 8 MiB
	for range 8192 {
		frame = append(frame, 0x02, 0x00, 0x10, 0) // 128 KiB of one byte
	}
	return append(frame, 0x0b, 0, 0, 0, 0, 0, 0, 0) // the last, of one byte, and the checksum
}
