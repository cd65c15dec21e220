package repo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tempestd/internal/archive/dagcbor"
)

const (
	// MaxBlock bounds a block, bytes. Records are at most 1 MiB; the network's servers refuse more
	// than 2 MiB.
	MaxBlock = 2 << 20
	// maxHeader bounds the header of a CAR file; one with a single root has 59 bytes.
	maxHeader = 4 << 10
)

// ErrCorrupt is the kind of every error about bytes that are no repository.
var ErrCorrupt = errors.New("corrupt repository")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// Reader reads the blocks of a CAR file, version 1. It is not safe for concurrent use.
type Reader struct {
	r    *bufio.Reader
	root dagcbor.CID
	buf  []byte
}

// NewReader reads the header of a CAR file. Errors of r are returned as they are.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	size, err := c.length(maxHeader)
	if err == io.EOF {
		return nil, corrupt("it is empty")
	}
	if err != nil {
		return nil, err
	}
	header, err := c.take(size)
	if err != nil {
		return nil, err
	}
	roots := 0
	var version int64
	p := dagcbor.NewParser(header)
	err = p.Members(func(key []byte) error {
		item, err := p.Next()
		switch {
		case err != nil:
		case string(key) == "version" && item.Kind == dagcbor.Int:
			version = item.Int
		case string(key) == "roots" && item.Kind == dagcbor.List:
			for range item.Int {
				root, err := p.Next()
				if err != nil {
					return err
				}
				if roots == 0 {
					c.root = root.CID
				}
				roots++
			}
		default:
			err = corrupt("a header with %.20q", key)
		}
		return err
	})
	if err == nil {
		err = p.Done()
	}
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		return nil, corrupt("its header: %v", err)
	case err != nil:
		return nil, err
	case version != 1:
		return nil, corrupt("a CAR file of version %d, want 1", version)
	case roots != 1 || c.root.Codec != dagcbor.CodecDAGCBOR:
		return nil, corrupt("a CAR file with %d roots, want one, a commit", roots)
	}
	return c, nil
}

// Root is the CID of the commit.
func (c *Reader) Root() dagcbor.CID { return c.root }

// Next reads a block, whose bytes are good until the next call. It returns io.EOF after the last
// one.
func (c *Reader) Next() (dagcbor.CID, []byte, error) {
	size, err := c.length(MaxBlock + dagcbor.CIDSize)
	if err != nil {
		return dagcbor.CID{}, nil, err
	}
	if size < dagcbor.CIDSize {
		return dagcbor.CID{}, nil, corrupt("a section of %d bytes", size)
	}
	section, err := c.take(size)
	if err != nil {
		return dagcbor.CID{}, nil, err
	}
	cid, err := dagcbor.ParseCID(section[:dagcbor.CIDSize])
	if err != nil {
		return dagcbor.CID{}, nil, corrupt("a section that begins with %v", err)
	}
	data := section[dagcbor.CIDSize:]
	if dagcbor.Sum(cid.Codec, data) != cid {
		return dagcbor.CID{}, nil, corrupt("the block %v has another content", cid)
	}
	return cid, data, nil
}

// length reads an unsigned varint, in its shortest form. At the end of the file it returns io.EOF.
func (c *Reader) length(most int) (int, error) {
	if _, err := c.r.Peek(1); err != nil {
		return 0, err
	}
	b, err := c.r.Peek(binary.MaxVarintLen32)
	if err != nil && err != io.EOF {
		return 0, err
	}
	n, size := binary.Uvarint(b)
	switch {
	case size == 0:
		return 0, corrupt("it ends within a length")
	case size < 0 || n > uint64(most):
		return 0, corrupt("a section of more than the %d bytes that are taken", most)
	case size > 1 && b[size-1] == 0:
		return 0, corrupt("a length that is not in its shortest form")
	}
	_, err = c.r.Discard(size)
	return int(n), err
}

func (c *Reader) take(n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	_, err := io.ReadFull(c.r, c.buf[:n])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = corrupt("it ends within a section")
	}
	return c.buf[:n], err
}
