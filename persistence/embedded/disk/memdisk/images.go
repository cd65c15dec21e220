package memdisk

import (
	"math/rand/v2"
	"slices"
)

// Images calls visit with the file systems that a power cut can leave: for every power cut between
// two operations, beginning with the one after from operations, and for every combination of what
// becomes of the unsynced changes. Each change of a file is dropped, kept or, if it is a write, torn
// in one drawn way; changes of directories are kept up to any one of them. Where there are more than
// most combinations for one state of the directories, so many are drawn. ops is the number of
// operations before the power cut.
func (f *FS) Images(from, most int, rnd *rand.Rand, visit func(ops int, image *FS)) {
	f.mu.Lock()
	ops := slices.Clone(f.ops)
	f.mu.Unlock()
	r := newReplay()
	for i := range len(ops) + 1 {
		if i >= from {
			r.images(most, rnd, func(image *FS) { visit(i, image) })
		}
		if i < len(ops) {
			r.step(ops[i])
		}
	}
}

func (r *replay) images(most int, rnd *rand.Rand, visit func(*FS)) {
	for made := range len(r.made) + 1 {
		names := r.entered(made)
		changes := r.unsynced(names)
		fates := make([]Fate, len(changes))
		if combinations(changes, most) > most {
			for range most {
				for i, p := range changes {
					fates[i] = Fate(rnd.IntN(fatesOf(p)))
				}
				visit(r.image(names, fates, rnd))
			}
			continue
		}
		for more := true; more; more = next(fates, changes) {
			visit(r.image(names, fates, rnd))
		}
	}
}

// fatesOf is how many fates a change can have.
func fatesOf(p Op) int {
	if p.Kind == WriteAt {
		return len(Fates)
	}
	return len(Fates) - 1 // all or nothing
}

// combinations is how many combinations of fates there are, or some number above most.
func combinations(changes []Op, most int) int {
	n := 1
	for _, p := range changes {
		if n *= fatesOf(p); n > most {
			break
		}
	}
	return n
}

// next moves to the next combination. It returns false after the last one.
func next(fates []Fate, changes []Op) bool {
	for i := range fates {
		if fates[i]++; int(fates[i]) < fatesOf(changes[i]) {
			return true
		}
		fates[i] = 0
	}
	return false
}
