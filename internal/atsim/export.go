package atsim

import (
	"maps"
	"net/http"
	"slices"

	"tempestd/internal/archive/dagcbor"
)

// repository is the blocks of an account's repository: commit, tree, records. The caller holds mu.
func (s *Sim) repository(a *account) []block {
	if a.built == nil {
		b := builder{records: a.records, blocks: []block{{}}}
		b.blocks[0] = commit(a.did, a.rev, b.tree(), newSigner(s.opt.Seed, a.did, a.generation))
		have := map[dagcbor.CID]bool{}
		for _, path := range slices.Sorted(maps.Keys(a.records)) {
			if r := a.records[path]; !have[r.cid] {
				have[r.cid] = true
				b.blocks = append(b.blocks, r)
			}
		}
		a.built = b.blocks
	}
	return a.built
}

// getRepo answers with a CAR file, or with what a fault makes of it.
func (s *Sim) getRepo(w http.ResponseWriter, _ *http.Request, a *account) {
	hit := func(name string) bool { _, ok := s.hit(name, a.did, "getRepo"); return ok }
	hash, truncated, cyclic, deep := hit(FaultWrongHash), hit(FaultTruncatedCAR), hit(FaultCyclicTree), hit(FaultDeepTree)
	missing, signature, other := hit(FaultMissingBlock), hit(FaultWrongSignature), hit(FaultOtherAccount)
	s.mu.Lock()
	blocks := slices.Clone(s.repository(a))
	did, rev, key := a.did, a.rev, newSigner(s.opt.Seed, a.did, a.generation)
	b := builder{records: a.records}
	root := b.tree()
	s.mu.Unlock()
	last := len(blocks) - 1
	switch {
	case hash:
		blocks[last].data = slices.Clone(blocks[last].data)
		blocks[last].data[0] ^= 1
	case cyclic:
		// A node cannot have its own hash in it: it stands under one that is not its own.
		blocks[1] = block{root, encode(map[string]any{"l": root, "e": []any{}}).data}
	case deep:
		blocks = deepTree(did, rev, key)
	case missing:
		blocks = blocks[:last]
	case signature:
		blocks[0] = commit(did, rev, root, newSigner(s.opt.Seed, did, -1))
	case other:
		blocks[0] = commit("did:plc:ewvi7nxzyoun6zhxrhs64oiz", rev, root, key)
	}
	car := appendCAR(nil, blocks)
	if truncated {
		car = car[:len(car)-len(blocks[last].data)/2]
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.car")
	_, _ = w.Write(car)
}

// deepTree is a repository of nodes that are nothing but the way to the one below.
func deepTree(did, rev string, key signer) []block {
	record := encode(map[string]any{})
	blocks := []block{encode(map[string]any{"l": nil, "e": []any{map[string]any{"p": 0, "k": []byte("a.b/c"), "v": record.cid, "t": nil}}})}
	for range 1000 {
		blocks = append(blocks, encode(map[string]any{"l": blocks[len(blocks)-1].cid, "e": []any{}}))
	}
	blocks = append(blocks, encode(map[string]any{"l": blocks[len(blocks)-1].cid,
		"e": []any{map[string]any{"p": 0, "k": []byte("a.b/d"), "v": record.cid, "t": nil}}}))
	root := commit(did, rev, blocks[len(blocks)-1].cid, key)
	return append([]block{root, record}, blocks...)
}
