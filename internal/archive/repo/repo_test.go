package repo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var dagMode = must(cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode())

// store is the blocks of a repository.
type store map[dagcbor.CID][]byte

func (s store) put(v any) dagcbor.CID {
	block := must(dagMode.Marshal(v))
	cid := dagcbor.Sum(dagcbor.CodecDAGCBOR, block)
	s[cid] = block
	return cid
}

func (s store) get(cid dagcbor.CID) ([]byte, error) {
	block, ok := s[cid]
	if !ok {
		return nil, fmt.Errorf("no block %v", cid)
	}
	return block, nil
}

func link(cid dagcbor.CID) any {
	if cid == (dagcbor.CID{}) {
		return nil
	}
	return cbor.Tag{Number: 42, Content: must(cid.AppendBinary([]byte{0}))}
}

func layer(key string) int {
	sum, zeros := sha256.Sum256([]byte(key)), 0
	for _, b := range sum {
		zeros += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return zeros / 2
}

// tree makes the tree of the keys in [from, to) at a layer, and gives its root.
func (s store) tree(keys []string, records map[string]dagcbor.CID, at int) dagcbor.CID {
	if len(keys) == 0 {
		return dagcbor.CID{}
	}
	node := map[string]any{"l": nil, "e": []any{}}
	var entries []any
	var last map[string]any
	prev := ""
	below := func(keys []string) {
		sub := s.tree(keys, records, at-1)
		if last == nil {
			node["l"] = link(sub)
		} else {
			last["t"] = link(sub)
		}
	}
	from := 0
	for i, key := range keys {
		if layer(key) != at {
			continue
		}
		below(keys[from:i])
		p := 0
		for p < len(prev) && p < len(key) && prev[p] == key[p] {
			p++
		}
		last = map[string]any{"p": p, "k": []byte(key[p:]), "v": link(records[key]), "t": nil}
		entries, prev, from = append(entries, last), key, i+1
	}
	below(keys[from:])
	if entries != nil {
		node["e"] = entries
	}
	return s.put(node)
}

func (s store) build(records map[string]dagcbor.CID) dagcbor.CID {
	keys := slices.Sorted(maps.Keys(records))
	if len(keys) == 0 {
		return s.put(map[string]any{"l": nil, "e": []any{}})
	}
	top := 0
	for _, key := range keys {
		top = max(top, layer(key))
	}
	return s.tree(keys, records, top)
}

func walk(root dagcbor.CID, s store) (map[string]dagcbor.CID, []string, error) {
	got, order := map[string]dagcbor.CID{}, []string{}
	err := repo.Walk(root, s.get, func(key []byte, cid dagcbor.CID) error {
		got[string(key)] = cid
		order = append(order, string(key))
		return nil
	})
	return got, order, err
}

// Whatever records a repository has, the walk gives them all, in order.
func TestTheTreeIsWalkedInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := map[string]dagcbor.CID{}
		for _, key := range rapid.SliceOfN(rapid.StringMatching(`app\.bsky\.(feed\.post|graph\.follow)/[a-c0-9]{1,6}`), 0, 200).Draw(t, "keys") {
			records[key] = dagcbor.Sum(dagcbor.CodecDAGCBOR, []byte(key))
		}
		s := store{}
		got, order, err := walk(s.build(records), s)
		if err != nil || !maps.Equal(got, records) || !slices.IsSorted(order) {
			t.Fatalf("%d of %d records, %v", len(got), len(records), err)
		}
	})
}

func TestTreesThatAreRefused(t *testing.T) {
	v := link(dagcbor.Sum(dagcbor.CodecDAGCBOR, nil))
	entry := func(p int, k string, t any) map[string]any {
		return map[string]any{"p": p, "k": []byte(k), "v": v, "t": t}
	}
	key := func(from, at int) string { // one of the layer
		for ; ; from++ {
			if k := fmt.Sprintf("a.b/%06d", from); layer(k) == at {
				return k
			}
		}
	}
	shared := func(a, b string) (n int) {
		for a[n] == b[n] {
			n++
		}
		return n
	}
	low, next := key(0, 0), key(500, 0)
	high := key(700, 1)
	for name, root := range map[string]func(s store) any{
		"keys out of order": func(store) any {
			return map[string]any{"l": nil, "e": []any{entry(0, next, nil), entry(5, low[5:], nil)}}
		},
		"a key twice": func(store) any {
			return map[string]any{"l": nil, "e": []any{entry(0, low, nil), entry(len(low), "", nil)}}
		},
		"a prefix too short":  func(store) any { return map[string]any{"l": nil, "e": []any{entry(0, low, nil), entry(0, next, nil)}} },
		"a prefix of nothing": func(store) any { return map[string]any{"l": nil, "e": []any{entry(3, low, nil)}} },
		"layers mixed": func(store) any {
			return map[string]any{"l": nil, "e": []any{entry(0, low, nil), entry(shared(low, high), high[shared(low, high):], nil)}}
		},
		"no collection":      func(store) any { return map[string]any{"l": nil, "e": []any{entry(0, "abc", nil)}} },
		"a key with a space": func(store) any { return map[string]any{"l": nil, "e": []any{entry(0, "a.b/c d", nil)}} },
		"an empty node below": func(s store) any {
			return map[string]any{"l": link(s.put(map[string]any{"l": nil, "e": []any{}})), "e": []any{entry(0, high, nil)}}
		},
		"a subtree in the lowest layer": func(s store) any {
			return map[string]any{"l": link(s.put(map[string]any{"l": nil, "e": []any{entry(0, low, nil)}})), "e": []any{entry(0, next, nil)}}
		},
		"a subtree alone": func(s store) any {
			return map[string]any{"l": link(s.put(map[string]any{"l": nil, "e": []any{entry(0, low, nil)}})), "e": []any{}}
		},
		"a key of below above": func(s store) any {
			return map[string]any{"l": link(s.put(map[string]any{"l": nil, "e": []any{entry(0, key(900, 0), nil)}})), "e": []any{entry(0, high, nil)}}
		},
		"a key of its own layer below": func(s store) any {
			return map[string]any{"l": link(s.put(map[string]any{"l": nil, "e": []any{entry(0, high, nil)}})), "e": []any{entry(0, key(800, 1), nil)}}
		},
		"no left":        func(store) any { return map[string]any{"e": []any{}} },
		"another member": func(store) any { return map[string]any{"l": nil, "e": []any{}, "x": 1} },
		"an entry without link": func(store) any {
			return map[string]any{"l": nil, "e": []any{map[string]any{"p": 0, "k": []byte(low), "v": nil, "t": nil}}}
		},
		"a list": func(store) any { return []any{} },
	} {
		s := store{}
		if got, _, err := walk(s.put(root(s)), s); !errors.Is(err, repo.ErrCorrupt) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
	s := store{}
	missing := s.put(map[string]any{"l": link(dagcbor.CID{Codec: dagcbor.CodecDAGCBOR}), "e": []any{entry(0, high, nil)}})
	if _, _, err := walk(missing, s); err == nil || errors.Is(err, repo.ErrCorrupt) {
		t.Errorf("a block that was not sent: %v", err)
	}
}

// car is a CAR file of some sections.
func car(header any, sections ...[]byte) []byte {
	h := must(dagMode.Marshal(header))
	file := append(binary.AppendUvarint(nil, uint64(len(h))), h...)
	for _, s := range sections {
		file = append(binary.AppendUvarint(file, uint64(len(s))), s...)
	}
	return file
}

func section(data []byte) []byte {
	return append(must(dagcbor.Sum(dagcbor.CodecDAGCBOR, data).AppendBinary(nil)), data...)
}

func readAll(file []byte) (root dagcbor.CID, blocks store, err error) {
	r, err := repo.NewReader(bytes.NewReader(file))
	if err != nil {
		return root, nil, err
	}
	blocks = store{}
	for {
		cid, data, err := r.Next()
		if err == io.EOF {
			return r.Root(), blocks, nil
		}
		if err != nil {
			return r.Root(), blocks, err
		}
		blocks[cid] = bytes.Clone(data)
	}
}

func TestCARFiles(t *testing.T) {
	root := dagcbor.Sum(dagcbor.CodecDAGCBOR, []byte("root"))
	header := map[string]any{"version": 1, "roots": []any{link(root)}}
	good := car(header, section([]byte("root")), section(nil), section(bytes.Repeat([]byte("x"), repo.MaxBlock)))
	if got, blocks, err := readAll(good); err != nil || got != root || len(blocks) != 3 {
		t.Fatal(got, len(blocks), err)
	}
	ends := map[int]bool{}
	for at, n := 0, 0; at < len(good); at += n {
		size, w := binary.Uvarint(good[at:])
		n = w + int(size)
		ends[at+n] = true
	}
	for _, cut := range []int{0, 1, 2, 30, 59, 60, 61, 80, 100, 1000, len(good) - 1} {
		if _, _, err := readAll(good[:cut]); !ends[cut] && !errors.Is(err, repo.ErrCorrupt) {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
	wrong := section([]byte("root"))
	wrong[len(wrong)-1]++
	for name, file := range map[string][]byte{
		"a wrong hash":          car(header, wrong),
		"a block too large":     car(header, section(make([]byte, repo.MaxBlock+1))),
		"a section of nothing":  car(header, nil),
		"a foreign hash":        car(header, append([]byte{1, 0x71, 0x13, 0x20}, make([]byte, 33)...)),
		"version 2":             car(map[string]any{"version": 2, "roots": []any{link(root)}}),
		"no root":               car(map[string]any{"version": 1, "roots": []any{}}),
		"two roots":             car(map[string]any{"version": 1, "roots": []any{link(root), link(root)}}),
		"no header":             car([]any{}),
		"a length too long":     append(bytes.Clone(good[:60]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a length in two bytes": append([]byte{0x80 | good[0], 0}, good[1:]...),
	} {
		if _, _, err := readAll(file); !errors.Is(err, repo.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	failing := errors.New("the network is gone")
	r := must(repo.NewReader(io.MultiReader(bytes.NewReader(good[:90]), errReader{failing})))
	if _, _, err := r.Next(); !errors.Is(err, failing) {
		t.Errorf("an error of the network is %v", err)
	}
}

type errReader struct{ error }

func (e errReader) Read([]byte) (int, error) { return 0, e.error }

func TestCommits(t *testing.T) {
	data := dagcbor.Sum(dagcbor.CodecDAGCBOR, nil)
	commit := map[string]any{"did": "did:plc:abcdefghijklmnopqrstuvwx", "rev": "3migo7fijwi2k", "data": link(data), "prev": nil, "version": 3}
	unsigned := must(dagMode.Marshal(commit))
	commit["sig"] = []byte("signature")
	got, err := repo.ParseCommit(must(dagMode.Marshal(commit)))
	if err != nil || got.DID != commit["did"] || got.Rev != commit["rev"] || got.Data != data || string(got.Sig) != "signature" || !bytes.Equal(got.Signed, unsigned) {
		t.Errorf("%+v, %v; signed %x, want %x", got, err, got.Signed, unsigned)
	}
	for _, lack := range []string{"did", "rev", "data", "sig", "version"} {
		bad := maps.Clone(commit)
		delete(bad, lack)
		if _, err := repo.ParseCommit(must(dagMode.Marshal(bad))); !errors.Is(err, repo.ErrCorrupt) {
			t.Errorf("without %s: %v", lack, err)
		}
		bad[lack] = []any{}
		if _, err := repo.ParseCommit(must(dagMode.Marshal(bad))); !errors.Is(err, repo.ErrCorrupt) {
			t.Errorf("%s is a list: %v", lack, err)
		}
	}
}

// With TEMPEST_CORPUS, a whole repository as its server sent it.
func TestGoldenRepository(t *testing.T) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	file := func(name string) string { return string(must(os.ReadFile(filepath.Join(dir, "archive", name)))) }
	root, blocks, err := readAll([]byte(file("repo.car")))
	if err != nil {
		t.Fatal(err)
	}
	commit := must(repo.ParseCommit(must(blocks.get(root))))
	for _, want := range []string{commit.DID, commit.Data.String(), commit.Rev} {
		if !strings.Contains(file("car_expected_commit.txt"), want+"\n") {
			t.Errorf("the commit has %s", want)
		}
	}
	var lines []string
	err = repo.Walk(commit.Data, blocks.get, func(key []byte, cid dagcbor.CID) error {
		if _, err := blocks.get(cid); err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s\t%v\n", key, cid))
		return nil
	})
	if got, want := strings.Join(lines, ""), file("car_expected_records.tsv"); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
}

// seed is a repository that a server has sent, with TEMPEST_CORPUS.
func seed() (file []byte, ok bool) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		return nil, false
	}
	return must(os.ReadFile(filepath.Join(dir, "archive", "repo.car"))), true
}

// some is a small repository: its commit comes first.
func some() (root dagcbor.CID, s store, commit []byte) {
	s = store{}
	records := map[string]dagcbor.CID{}
	for i := range 30 {
		records[fmt.Sprintf("a.b/%d", i)] = s.put(map[string]any{"n": i})
	}
	root = s.build(records)
	return root, s, must(dagMode.Marshal(map[string]any{"did": "did:plc:x", "rev": "3migo7fijwi2k", "data": link(root), "prev": nil, "sig": []byte{1}, "version": 3}))
}

// A block of a CAR file that is accepted is the one that its CID names, and bounded.
func FuzzCAR(f *testing.F) {
	_, s, commit := some()
	sections := [][]byte{section(commit)}
	for _, block := range s {
		sections = append(sections, section(block))
	}
	f.Add(car(map[string]any{"version": 1, "roots": []any{link(dagcbor.Sum(dagcbor.CodecDAGCBOR, commit))}}, sections...))
	if file, ok := seed(); ok {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		root, blocks, err := readAll(file)
		if err != nil && !errors.Is(err, repo.ErrCorrupt) {
			t.Fatal(err)
		}
		for cid, block := range blocks {
			if len(block) > repo.MaxBlock || dagcbor.Sum(cid.Codec, block) != cid {
				t.Fatalf("the block %v of %d bytes is accepted", cid, len(block))
			}
		}
		if blocks != nil && root.Codec != dagcbor.CodecDAGCBOR {
			t.Fatalf("the root is %v", root)
		}
	})
}

// What a commit's signature is of is the commit without it.
func FuzzCommit(f *testing.F) {
	_, _, commit := some()
	f.Add(commit)
	if file, ok := seed(); ok {
		root, blocks, _ := readAll(file)
		f.Add(blocks[root])
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		c, err := repo.ParseCommit(block)
		if err != nil {
			if !errors.Is(err, repo.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		p := dagcbor.NewParser(c.Signed)
		if _, err := p.Skip(); err != nil || p.Done() != nil || len(c.Signed) >= len(block) {
			t.Fatalf("%x is signed as %x: %v", block, c.Signed, err)
		}
	})
}

// Whatever blocks a server sends as nodes, and even if links lead anywhere, also back: the walk ends,
// and its keys rise. A block has a length of two bytes in front; the last one is the root. A link
// that names none of them leads to the one that the first byte of its hash gives.
func FuzzTree(f *testing.F) {
	pack := func(root dagcbor.CID, s store) (packed []byte) {
		add := func(block []byte) {
			packed = append(binary.BigEndian.AppendUint16(packed, uint16(len(block))), block...)
		}
		_ = repo.Walk(root, func(cid dagcbor.CID) ([]byte, error) {
			block, err := s.get(cid)
			if cid != root {
				add(block)
			}
			return block, err
		}, func([]byte, dagcbor.CID) error { return nil })
		add(s[root])
		return packed
	}
	root, s, _ := some()
	f.Add(pack(root, s))
	if file, ok := seed(); ok {
		at, blocks, _ := readAll(file)
		f.Add(pack(must(repo.ParseCommit(blocks[at])).Data, blocks))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		var nodes [][]byte
		at := map[dagcbor.CID][]byte{}
		for len(packed) >= 2 {
			n := min(int(binary.BigEndian.Uint16(packed)), len(packed)-2)
			nodes = append(nodes, packed[2:2+n])
			at[dagcbor.Sum(dagcbor.CodecDAGCBOR, packed[2:2+n])] = packed[2 : 2+n]
			packed = packed[2+n:]
		}
		if len(nodes) == 0 {
			return
		}
		last, steps := "", 0
		err := repo.Walk(dagcbor.Sum(dagcbor.CodecDAGCBOR, nodes[len(nodes)-1]), func(cid dagcbor.CID) ([]byte, error) {
			if steps++; steps > 1<<16 {
				t.Fatal("the walk does not end")
			}
			if block, ok := at[cid]; ok {
				return block, nil
			}
			return nodes[int(cid.Hash[0])%len(nodes)], nil
		}, func(key []byte, _ dagcbor.CID) error {
			if string(key) <= last {
				t.Fatalf("%q comes after %q", key, last)
			}
			last = string(key)
			return nil
		})
		if err != nil && !errors.Is(err, repo.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
