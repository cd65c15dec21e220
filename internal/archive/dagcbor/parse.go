package dagcbor

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// MaxDepth bounds how deep lists and maps may nest. Records of the network nest less than 20 levels;
// the bound keeps the stack small whatever a server sends.
const MaxDepth = 128

var (
	// ErrMalformed is the kind of every error about bytes that are not DAG-CBOR.
	ErrMalformed = errors.New("malformed DAG-CBOR")
	// ErrOutsideModel is the kind of every error about a value that the AT Protocol's data model
	// does not have.
	ErrOutsideModel = errors.New("outside the AT Protocol's data model")
	// ErrForeignLink is the ErrOutsideModel of a link to anything but a CIDv1 of SHA-256 with the
	// codec dag-cbor or raw.
	ErrForeignLink = fmt.Errorf("%w: a foreign link", ErrOutsideModel)
)

// Error says what is wrong with an encoding, and where.
type Error struct {
	Kind   error // ErrMalformed, ErrOutsideModel or ErrForeignLink
	Offset int   // of the item, in bytes
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%v: byte %d: %s", e.Kind, e.Offset, e.Reason) }

func (e *Error) Unwrap() error { return e.Kind }

// Kind is the type of an item.
type Kind uint8

// The kinds of the data model.
const (
	Null Kind = iota
	Bool
	Int
	Bytes
	Text
	List
	Map
	Link
)

func (k Kind) String() string {
	return [...]string{"null", "bool", "int", "bytes", "text", "list", "map", "link"}[k]
}

// Item is one value, or the beginning of a list or a map.
type Item struct {
	Kind Kind
	Int  int64  // the value of an Int; 1 for true; how many elements or pairs follow a List or a Map
	Data []byte // of Bytes and Text, a part of the source
	CID  CID    // of a Link
}

// Parser reads items one after the other. The zero Parser has nothing to read; it allocates nothing
// but errors. It is not safe for concurrent use.
type Parser struct {
	src []byte
	off int
}

// NewParser reads src, which must not change meanwhile.
func NewParser(src []byte) Parser { return Parser{src: src} }

// Offset is where the next item begins.
func (p *Parser) Offset() int { return p.off }

// Done returns an error when something follows what was read.
func (p *Parser) Done() error {
	if p.off != len(p.src) {
		return p.malformed(p.off, fmt.Sprintf("%d bytes follow the value", len(p.src)-p.off))
	}
	return nil
}

func (p *Parser) malformed(at int, reason string) error { return &Error{ErrMalformed, at, reason} }

func (p *Parser) outside(at int, reason string) error { return &Error{ErrOutsideModel, at, reason} }

// Next reads an item. The elements of a list, and the keys and values of a map, are the items that
// follow; Key reads a key.
func (p *Parser) Next() (Item, error) {
	at := p.off
	major, arg, err := p.head()
	if err != nil {
		return Item{}, err
	}
	switch major {
	case 0, 1:
		if arg > math.MaxInt64 {
			return Item{}, p.outside(at, "an integer beyond 64 bits with sign")
		}
		n := int64(arg)
		if major == 1 {
			n = -1 - n
		}
		return Item{Kind: Int, Int: n}, nil
	case 2:
		data, err := p.take(at, arg)
		return Item{Kind: Bytes, Data: data}, err
	case 3:
		data, err := p.text(at, arg)
		return Item{Kind: Text, Data: data}, err
	case 4:
		return p.many(at, List, arg, 1)
	case 5:
		return p.many(at, Map, arg, 2)
	case 6:
		return p.link(at, arg)
	}
	switch arg {
	case 20, 21:
		return Item{Kind: Bool, Int: int64(arg - 20)}, nil
	case 22:
		return Item{Kind: Null}, nil
	}
	return Item{}, p.malformed(at, fmt.Sprintf("simple value %d", arg))
}

// head reads a major type and its argument, which must have its shortest form.
func (p *Parser) head() (major byte, arg uint64, err error) {
	at := p.off
	if at >= len(p.src) {
		return 0, 0, p.malformed(at, "the end comes before the value does")
	}
	first := p.src[at]
	major, info := first>>5, first&31
	p.off++
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, p.malformed(at, "an indefinite length or a reserved form")
	}
	size := 1 << (info - 24)
	if len(p.src)-p.off < size {
		return 0, 0, p.malformed(at, "the end comes before the value does")
	}
	for _, b := range p.src[p.off : p.off+size] {
		arg = arg<<8 | uint64(b)
	}
	p.off += size
	if major == 7 {
		if size == 1 {
			return 0, 0, p.malformed(at, "a simple value in two bytes")
		}
		return 0, 0, p.outside(at, "a float")
	}
	if least := [...]uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]; arg < least {
		return 0, 0, p.malformed(at, fmt.Sprintf("%d is not in its shortest form", arg))
	}
	return major, arg, nil
}

func (p *Parser) take(at int, n uint64) ([]byte, error) {
	if n > uint64(len(p.src)-p.off) {
		return nil, p.malformed(at, fmt.Sprintf("%d bytes are announced, %d follow", n, len(p.src)-p.off))
	}
	data := p.src[p.off : p.off+int(n) : p.off+int(n)]
	p.off += int(n)
	return data, nil
}

func (p *Parser) text(at int, n uint64) ([]byte, error) {
	data, err := p.take(at, n)
	if err == nil && !utf8.Valid(data) {
		err = p.malformed(at, "a text that is not UTF-8")
	}
	return data, err
}

// many is a list or a map. Each element takes a byte or more: a count is bounded before anything is
// made for it.
func (p *Parser) many(at int, kind Kind, n, least uint64) (Item, error) {
	if n > uint64(len(p.src)-p.off)/least {
		return Item{}, p.malformed(at, fmt.Sprintf("a %v of %d in %d bytes", kind, n, len(p.src)-p.off))
	}
	return Item{Kind: kind, Int: int64(n)}, nil
}

func (p *Parser) link(at int, tag uint64) (Item, error) {
	if tag != 42 {
		return Item{}, p.malformed(at, fmt.Sprintf("tag %d: 42, a link, is the only one", tag))
	}
	major, n, err := p.head()
	if err != nil {
		return Item{}, err
	}
	if major != 2 {
		return Item{}, p.malformed(at, "a link that is not bytes")
	}
	data, err := p.take(at, n)
	if err != nil {
		return Item{}, err
	}
	if len(data) == 0 || data[0] != 0 {
		return Item{}, p.malformed(at, "a link whose bytes do not begin with 0")
	}
	cid, err := ParseCID(data[1:])
	if err != nil {
		return Item{}, &Error{ErrForeignLink, at, err.Error()}
	}
	return Item{Kind: Link, CID: cid}, nil
}

// Key reads the next key of a map; prev is the one before it, nil for the first.
func (p *Parser) Key(prev []byte) ([]byte, error) {
	at := p.off
	major, n, err := p.head()
	if err != nil {
		return nil, err
	}
	if major != 3 {
		return nil, p.malformed(at, "a key that is not text")
	}
	key, err := p.text(at, n)
	if err == nil && prev != nil && (len(key) < len(prev) || len(key) == len(prev) && bytes.Compare(key, prev) <= 0) {
		err = p.malformed(at, fmt.Sprintf("the key %.100q comes after %.100q", key, prev))
	}
	return key, err
}

// Skip reads one item with everything in it, and returns its encoding.
func (p *Parser) Skip() ([]byte, error) {
	at := p.off
	if err := p.skip(0); err != nil {
		return nil, err
	}
	return p.src[at:p.off:p.off], nil
}

func (p *Parser) skip(depth int) error {
	at := p.off
	item, err := p.Next()
	if err != nil || item.Kind != List && item.Kind != Map {
		return err
	}
	if depth++; depth > MaxDepth {
		return p.malformed(at, fmt.Sprintf("more than %d levels", MaxDepth))
	}
	var key []byte
	for range item.Int {
		if item.Kind == Map {
			if key, err = p.Key(key); err != nil {
				return err
			}
		}
		if err := p.skip(depth); err != nil {
			return err
		}
	}
	return nil
}

// Members calls member with each key of a map and with the Parser at its value, which member reads.
// The item that begins the map is the next one; anything else is an error.
func (p *Parser) Members(member func(key []byte) error) error {
	at := p.off
	item, err := p.Next()
	if err != nil {
		return err
	}
	if item.Kind != Map {
		return p.outside(at, fmt.Sprintf("a %v in the place of a map", item.Kind))
	}
	var key []byte
	for range item.Int {
		if key, err = p.Key(key); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
	}
	return nil
}
