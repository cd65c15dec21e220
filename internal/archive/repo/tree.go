package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"tempestd/internal/archive/dagcbor"
)

const (
	// maxKey bounds a key, "collection/rkey": an NSID has at most 317 bytes, a record key 512.
	maxKey = 317 + 1 + 512
	// maxLayer is the highest layer that a hash of SHA-256 can give.
	maxLayer = sha256.Size * 8 / 2
)

// Walk calls visit with the key, "collection/rkey", and the CID of each record of the tree with the
// root, in the order of the keys. get returns the block of a CID; its bytes need be good until the
// next call only. The key is good until visit returns. An error of get or of visit ends the walk and
// is returned as it is.
func Walk(root dagcbor.CID, get func(dagcbor.CID) ([]byte, error), visit func(key []byte, record dagcbor.CID) error) error {
	w := walker{get: get, visit: visit}
	return w.node(root, -1, true)
}

type walker struct {
	get   func(dagcbor.CID) ([]byte, error)
	visit func(key []byte, record dagcbor.CID) error
	last  []byte // the key before
}

// element is a part of a node in its order: a subtree, or a record.
type element struct {
	tree   bool
	prefix int
	suffix []byte
	cid    dagcbor.CID
}

// node walks a node, which is in the given layer; -1 is whichever its keys are in, of a root.
func (w *walker) node(cid dagcbor.CID, layer int, root bool) error {
	block, err := w.get(cid)
	if err != nil {
		return err
	}
	elements, err := parseNode(bytes.Clone(block))
	if err != nil {
		return fmt.Errorf("%w, in the node %v", err, cid)
	}
	if len(elements) == 0 && !root {
		return corrupt("the node %v is empty", cid)
	}
	var prev []byte // the key before in this node: prefixes are of it
	for i := range elements {
		e := &elements[i]
		if e.tree {
			continue
		}
		if prev == nil && e.prefix != 0 || e.prefix > len(prev) {
			return corrupt("a key shares %d bytes with the %d of the one before it, in the node %v", e.prefix, len(prev), cid)
		}
		key := append(bytes.Clone(prev[:e.prefix]), e.suffix...)
		if shared(prev, key) != e.prefix {
			return corrupt("the key %.100q says that it shares %d bytes with the one before it", key, e.prefix)
		}
		if err := checkKey(key); err != nil {
			return err
		}
		at := layerOf(key)
		if layer < 0 {
			layer = at
		}
		if at != layer {
			return corrupt("the key %.100q of layer %d is in a node of layer %d", key, at, layer)
		}
		e.suffix, prev = key, key
	}
	if layer < 0 && len(elements) > 0 {
		return corrupt("the root %v has a subtree and no key", cid)
	}
	for _, e := range elements {
		if e.tree {
			if layer == 0 {
				return corrupt("the node %v of the lowest layer has a subtree", cid)
			}
			if err := w.node(e.cid, layer-1, false); err != nil {
				return err
			}
			continue
		}
		if w.last != nil && bytes.Compare(e.suffix, w.last) <= 0 {
			return corrupt("the key %.100q comes after %.100q", e.suffix, w.last)
		}
		w.last = e.suffix
		if err := w.visit(e.suffix, e.cid); err != nil {
			return err
		}
	}
	return nil
}

func shared(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// layerOf is the layer of a key: half the zero bits that its hash begins with.
func layerOf(key []byte) int {
	zeros := 0
	for _, b := range sha256.Sum256(key) {
		zeros += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return min(zeros/2, maxLayer)
}

func checkKey(key []byte) error {
	collection, rkey, ok := bytes.Cut(key, []byte("/"))
	if !ok || len(collection) == 0 || len(rkey) == 0 || len(key) > maxKey || bytes.IndexByte(rkey, '/') >= 0 {
		return corrupt("the key %.100q is not collection/rkey", key)
	}
	for _, c := range key {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte("._:~-/"), c) >= 0:
		default:
			return corrupt("the key %.100q has a character that none may have", key)
		}
	}
	return nil
}

// parseNode reads {l: link or null, e: [{p, k, v, t}]}.
func parseNode(block []byte) ([]element, error) {
	var out []element
	var left dagcbor.CID
	p := dagcbor.NewParser(block)
	seen := 0
	err := p.Members(func(key []byte) error {
		item, err := p.Next()
		if err != nil {
			return err
		}
		switch name := string(key); {
		case name == "l" && (item.Kind == dagcbor.Null || item.Kind == dagcbor.Link):
			left = item.CID
		case name == "e" && item.Kind == dagcbor.List:
			for range item.Int {
				if out, err = parseEntry(&p, out); err != nil {
					return err
				}
			}
		default:
			return corrupt("a node with %.20q, a %v", key, item.Kind)
		}
		seen++
		return nil
	})
	if err == nil {
		err = p.Done()
	}
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			err = corrupt("%v", err)
		}
		return nil, err
	}
	if seen != 2 {
		return nil, corrupt("a node without e or l")
	}
	if left != (dagcbor.CID{}) {
		out = append([]element{{tree: true, cid: left}}, out...)
	}
	return out, nil
}

func parseEntry(p *dagcbor.Parser, out []element) ([]element, error) {
	record, right := element{}, dagcbor.CID{}
	seen := 0
	err := p.Members(func(key []byte) error {
		item, err := p.Next()
		if err != nil {
			return err
		}
		switch name := string(key); {
		case name == "p" && item.Kind == dagcbor.Int && item.Int >= 0 && item.Int <= maxKey:
			record.prefix = int(item.Int)
		case name == "k" && item.Kind == dagcbor.Bytes && len(item.Data) <= maxKey:
			record.suffix = item.Data
		case name == "v" && item.Kind == dagcbor.Link:
			record.cid = item.CID
		case name == "t" && (item.Kind == dagcbor.Null || item.Kind == dagcbor.Link):
			right = item.CID
		default:
			return corrupt("an entry with %.20q, a %v", key, item.Kind)
		}
		seen++
		return nil
	})
	if err == nil && seen != 4 {
		err = corrupt("an entry without p, k, v or t")
	}
	if err != nil {
		return nil, err
	}
	if out = append(out, record); right != (dagcbor.CID{}) {
		out = append(out, element{tree: true, cid: right})
	}
	return out, nil
}
