package memdisk

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// Fate is what happens to unsynced data in a power cut.
type Fate int

// The fates.
const (
	Dropped Fate = iota // nothing of it is kept
	Kept                // all of it is kept
	Torn                // some sectors of each write and the first directory changes are kept
)

// Fates are all fates.
var Fates = []Fate{Dropped, Kept, Torn}

func (f Fate) String() string { return [...]string{"dropped", "kept", "torn"}[f] }

const sector = 512

// replay replays the operations on a file system, and keeps track of what would survive a power
// cut.
type replay struct {
	names   map[string]*node // the files on disk
	made    []Op             // changes of directories that are not yet on disk
	data    map[*node][]byte // the data of each file on disk
	pending map[*node][]Op   // writes that are not yet on disk
}

func newReplay() *replay {
	return &replay{names: map[string]*node{"/": {dir: true}}, data: make(map[*node][]byte), pending: make(map[*node][]Op)}
}

// PowerCuts calls visit once for every power cut between two operations, beginning with the one
// after from operations. ops is the number of operations before the power cut. after returns the
// file system after it.
func (f *FS) PowerCuts(from int, visit func(ops int, after func(Fate, *rand.Rand) *FS)) {
	f.mu.Lock()
	ops := slices.Clone(f.ops)
	f.mu.Unlock()
	r := newReplay()
	for i := range len(ops) + 1 {
		if i >= from {
			visit(i, r.after)
		}
		if i < len(ops) {
			r.step(ops[i])
		}
	}
}

// Crash ends the file system at this moment, as the kill of the process (Kept) or a power cut does:
// every later operation on it fails with ended. It returns the file system as it is found then.
func (f *FS) Crash(fate Fate, rnd *rand.Rand, ended error) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Fault = func(Op) error { return ended }
	r := newReplay()
	for _, op := range f.ops {
		r.step(op)
	}
	after := r.after(fate, rnd)
	after.Capacity = f.Capacity
	return after
}

func (r *replay) step(op Op) {
	switch op.Kind {
	case WriteAt, Prealloc, Truncate:
		r.pending[op.node] = append(r.pending[op.node], op)
	case Sync:
		n := &node{data: r.data[op.node]}
		for _, p := range r.pending[op.node] {
			p.apply(n)
		}
		r.data[op.node] = n.data
		delete(r.pending, op.node)
	case syncFailed: // the sizes are in the journal, the bytes are lost
		r.pending[op.node] = slices.DeleteFunc(r.pending[op.node], func(p Op) bool { return p.Kind == WriteAt })
	case Make, Rename, Unlink:
		r.made = append(r.made, op)
		if op.node != nil && op.node.dir { // MakeDir is durable
			makeDirs(r.names, op.Path)
			r.made = r.made[:len(r.made)-1]
		}
	case SyncDir:
		var later []Op
		for _, m := range r.made {
			if path.Dir(m.Path) == op.Path || m.To != "" && path.Dir(m.To) == op.Path {
				m.enter(r.names)
			} else {
				later = append(later, m)
			}
		}
		r.made = later
	}
}

// apply applies the operation to a file.
func (op Op) apply(n *node) {
	switch op.Kind {
	case WriteAt:
		_ = n.write(nil, op.Off, op.Data)
	case Prealloc:
		_ = n.grow(nil, op.Size)
	case Truncate:
		_ = n.truncate(nil, op.Size)
	}
}

// enter applies the operation to the directories.
func (op Op) enter(names map[string]*node) {
	switch op.Kind {
	case Make:
		names[op.Path] = op.node
	case Rename:
		_ = rename(names, op.Path, op.To)
	case Unlink:
		delete(names, op.Path)
	}
}

// after returns the file system after the power cut, with one fate for everything that is unsynced.
func (r *replay) after(fate Fate, rnd *rand.Rand) *FS {
	made := len(r.made)
	switch fate {
	case Dropped:
		made = 0
	case Torn:
		made = rnd.IntN(len(r.made) + 1)
	}
	names := r.entered(made)
	fates := make([]Fate, len(r.unsynced(names)))
	for i := range fates {
		fates[i] = fate
	}
	return r.image(names, fates, rnd)
}

// entered returns the files on disk with the first so many unsynced changes of directories.
func (r *replay) entered(made int) map[string]*node {
	names := maps.Clone(r.names)
	for _, m := range r.made[:made] {
		m.enter(names)
	}
	return names
}

// unsynced returns the unsynced changes of files, in the order in which image applies them.
func (r *replay) unsynced(names map[string]*node) (all []Op) {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, r.pending[names[name]]...)
	}
	return all
}

// image returns a file system with these files, and with a fate for each unsynced change.
func (r *replay) image(names map[string]*node, fates []Fate, rnd *rand.Rand) *FS {
	after := &FS{names: make(map[string]*node, len(names))}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		if n.dir {
			after.names[name] = &node{dir: true}
			continue
		}
		found := &node{data: slices.Clone(r.data[n])}
		for _, p := range r.pending[n] {
			fate := fates[0]
			fates = fates[1:]
			switch {
			case fate == Kept:
				p.apply(found)
			case fate == Torn && p.Kind == WriteAt:
				for off := 0; off < len(p.Data); {
					end := min(len(p.Data), off+sector-int((p.Off+int64(off))%sector))
					if rnd.IntN(2) == 0 {
						_ = found.write(nil, p.Off+int64(off), p.Data[off:end])
					}
					off = end
				}
			case fate == Torn && rnd.IntN(2) == 0:
				p.apply(found)
			}
		}
		after.names[name] = found
		after.used += int64(len(found.data))
	}
	// Everything that is left is durable: a second power cut loses nothing more.
	for name, n := range after.names {
		after.ops = append(after.ops, Op{Kind: Make, Path: name, node: n})
		if !n.dir {
			after.ops = append(after.ops, Op{Kind: WriteAt, Path: name, Data: slices.Clone(n.data), node: n}, Op{Kind: Sync, Path: name, node: n},
				Op{Kind: SyncDir, Path: path.Dir(name)})
		}
	}
	return after
}
