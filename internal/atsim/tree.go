package atsim

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"

	"tempestd/internal/archive/dagcbor"
)

// block is one of a repository: of a commit, a node or a record, as DAG-CBOR.
type block struct {
	cid  dagcbor.CID
	data []byte
}

// builder makes the blocks of a tree, a node before what is below it.
type builder struct {
	records map[string]block // by path, "collection/rkey"
	blocks  []block
}

// encode makes a block of a value that has an encoding.
func encode(v any) block {
	data, err := dagcbor.Append(nil, v)
	if err != nil {
		panic(err)
	}
	return block{dagcbor.Sum(dagcbor.CodecDAGCBOR, data), data}
}

// tree makes the one tree of the records and returns the CID of its root.
func (b *builder) tree() dagcbor.CID {
	paths := slices.Sorted(maps.Keys(b.records))
	top := 0
	for _, path := range paths {
		top = max(top, layer(path))
	}
	return b.node(paths, top)
}

// layer is half the zero bits that a path's hash begins with.
func layer(path string) int {
	zeros := 0
	for _, c := range sha256.Sum256([]byte(path)) {
		zeros += bits.LeadingZeros8(c)
		if c != 0 {
			break
		}
	}
	return zeros / 2
}

// node makes the node of some paths, which are in order, in a layer.
func (b *builder) node(paths []string, at int) dagcbor.CID {
	var left any
	entries := []any{}
	place := len(b.blocks)
	b.blocks = append(b.blocks, block{})
	from, prev := 0, ""
	below := func(to int) any {
		if from == to {
			return nil
		}
		return b.node(paths[from:to], at-1)
	}
	for i, path := range paths {
		if layer(path) != at {
			continue
		}
		if sub := below(i); len(entries) == 0 {
			left = sub
		} else {
			entries[len(entries)-1].(map[string]any)["t"] = sub
		}
		shared := 0
		for shared < len(prev) && shared < len(path) && prev[shared] == path[shared] {
			shared++
		}
		entries = append(entries, map[string]any{"p": shared, "k": []byte(path[shared:]), "v": b.records[path].cid, "t": nil})
		from, prev = i+1, path
	}
	if sub := below(len(paths)); len(entries) == 0 {
		left = sub
	} else {
		entries[len(entries)-1].(map[string]any)["t"] = sub
	}
	b.blocks[place] = encode(map[string]any{"l": left, "e": entries})
	return b.blocks[place].cid
}

// commit makes the signed commit of a tree.
func commit(did, rev string, data dagcbor.CID, key signer) block {
	c := map[string]any{"did": did, "version": 3, "data": data, "rev": rev, "prev": nil}
	c["sig"] = key.sign(encode(c).data)
	return encode(c)
}

// appendCAR appends a CAR file. The first block is its root.
func appendCAR(dst []byte, blocks []block) []byte {
	header := encode(map[string]any{"version": 1, "roots": []any{blocks[0].cid}})
	dst = append(binary.AppendUvarint(dst, uint64(len(header.data))), header.data...)
	for _, b := range blocks {
		dst = binary.AppendUvarint(dst, uint64(dagcbor.CIDSize+len(b.data)))
		dst, _ = b.cid.AppendBinary(dst)
		dst = append(dst, b.data...)
	}
	return dst
}
