package dagcbor

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
)

// Encoder writes values as JSON. The zero Encoder is ready to use; one that is used again and again
// allocates nothing for itself. It is not safe for concurrent use.
type Encoder struct {
	members []member
	scratch []byte
}

// member is one of an object that is being written.
type member struct {
	key      []byte
	from, to int // in what is written
}

// AppendJSON appends the JSON of src, one value without anything behind it. After an error dst is
// given back as it was.
func (e *Encoder) AppendJSON(dst, src []byte) ([]byte, error) {
	p := NewParser(src)
	out, err := e.AppendNext(dst, &p)
	if err == nil {
		err = p.Done()
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendNext appends the JSON of the next value of p. After an error dst is given back as it was.
func (e *Encoder) AppendNext(dst []byte, p *Parser) ([]byte, error) {
	e.members = e.members[:0]
	out, err := e.value(dst, p, 0)
	clear(e.members[:cap(e.members)]) // it must not keep the source
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (e *Encoder) value(dst []byte, p *Parser, depth int) ([]byte, error) {
	at := p.Offset()
	item, err := p.Next()
	if err != nil {
		return nil, err
	}
	switch item.Kind {
	case Null:
		return append(dst, "null"...), nil
	case Bool:
		return strconv.AppendBool(dst, item.Int != 0), nil
	case Int:
		return strconv.AppendInt(dst, item.Int, 10), nil
	case Bytes:
		dst = base64.RawStdEncoding.AppendEncode(append(dst, `{"$bytes":"`...), item.Data)
		return append(dst, `"}`...), nil
	case Text:
		return AppendText(dst, item.Data, true), nil
	case Link:
		dst, _ = item.CID.AppendText(append(dst, `{"$link":"`...))
		return append(dst, `"}`...), nil
	}
	if depth++; depth > MaxDepth {
		return nil, p.malformed(at, fmt.Sprintf("more than %d levels", MaxDepth))
	}
	if item.Kind == Map {
		return e.object(dst, p, item.Int, depth)
	}
	dst = append(dst, '[')
	for i := range item.Int {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = e.value(dst, p, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// object writes n members in the order of their encoding, by length first, and puts them into the
// order of bytes where that differs.
func (e *Encoder) object(dst []byte, p *Parser, n int64, depth int) ([]byte, error) {
	dst = append(dst, '{')
	first, start := len(e.members), len(dst)
	var key []byte
	var err error
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if key, err = p.Key(key); err != nil {
			return nil, err
		}
		from := len(dst)
		dst = append(AppendText(dst, key, true), ':')
		if dst, err = e.value(dst, p, depth); err != nil {
			return nil, err
		}
		e.members = append(e.members, member{key, from, len(dst)})
	}
	members := e.members[first:]
	e.members = e.members[:first]
	byKey := func(a, b member) int { return bytes.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(members, byKey) {
		slices.SortFunc(members, byKey)
		e.scratch = e.scratch[:0]
		for i, m := range members {
			if i > 0 {
				e.scratch = append(e.scratch, ',')
			}
			e.scratch = append(e.scratch, dst[m.from:m.to]...)
		}
		copy(dst[start:], e.scratch)
	}
	return append(dst, '}'), nil
}
