package accounts

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
)

// maxBlocks bounds the blocks of a repository: their places take 16 bytes of memory each.
const maxBlocks = 4 << 20

// blocks are those of a repository, in a file that has no name: it is gone when it is closed,
// however the process ends. In the file each is its length in 4 bytes, its CID and its content.
type blocks struct {
	file   *os.File
	w      *bufio.Writer
	size   int64
	places []place
	buf    []byte
}

// place is where a block begins. The start of its hash finds it.
type place struct {
	hash uint64
	at   int64
}

const blockHead = 4 + dagcbor.CIDSize

func newBlocks(dir string) (*blocks, error) {
	file, err := os.CreateTemp(dir, "tempestd-repository-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &blocks{file: file, w: bufio.NewWriterSize(file, 256<<10)}, nil
}

func (b *blocks) close() { _ = b.file.Close() }

func (b *blocks) add(cid dagcbor.CID, data []byte) error {
	if len(b.places) == maxBlocks {
		return fmt.Errorf("%w: more than %d blocks", ErrBound, maxBlocks)
	}
	b.places = append(b.places, place{binary.BigEndian.Uint64(cid.Hash[:]), b.size})
	head := binary.BigEndian.AppendUint32(b.buf[:0], uint32(len(data)))
	head, _ = cid.AppendBinary(head)
	b.buf = head
	if _, err := b.w.Write(head); err != nil {
		return err
	}
	b.size += int64(blockHead + len(data))
	_, err := b.w.Write(data)
	return err
}

// done ends the adding: now blocks can be read.
func (b *blocks) done() error {
	slices.SortFunc(b.places, func(x, y place) int { return cmp.Compare(x.hash, y.hash) })
	return b.w.Flush()
}

// get reads a block, whose bytes are good until the next call.
func (b *blocks) get(cid dagcbor.CID) ([]byte, error) {
	hash := binary.BigEndian.Uint64(cid.Hash[:])
	i, _ := slices.BinarySearchFunc(b.places, hash, func(p place, hash uint64) int { return cmp.Compare(p.hash, hash) })
	for ; i < len(b.places) && b.places[i].hash == hash; i++ {
		var head [blockHead]byte
		if _, err := b.file.ReadAt(head[:], b.places[i].at); err != nil {
			return nil, err
		}
		if found, err := dagcbor.ParseCID(head[4:]); err != nil || found != cid {
			continue
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if cap(b.buf) < n {
			b.buf = make([]byte, n)
		}
		_, err := b.file.ReadAt(b.buf[:n], b.places[i].at+blockHead)
		return b.buf[:n], err
	}
	return nil, fmt.Errorf("%w: the block %v was not sent", repo.ErrCorrupt, cid)
}
