package accounts

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"time"
)

// Path is where a record stands in its repository.
type Path struct{ Collection, RKey string }

// Tally finds deletes by comparing: it begins with the records that are believed alive, and what a
// whole list or repository does not show of them was deleted. It is not safe for concurrent use.
type Tally struct{ left map[Path]struct{} }

// NewTally returns a Tally of the records that are believed alive.
func NewTally(alive iter.Seq[Path]) *Tally {
	t := &Tally{map[Path]struct{}{}}
	for path := range alive {
		t.left[path] = struct{}{}
	}
	return t
}

// Seen says that a record is there.
func (t *Tally) Seen(path Path) { delete(t.left, path) }

// Gone lists, in order, those that were not seen.
func (t *Tally) Gone() []Path {
	var gone []Path
	for path := range t.left {
		gone = append(gone, path)
	}
	slices.SortFunc(gone, func(a, b Path) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.RKey, b.RKey))
	})
	return gone
}

// Comparison is what became of a search for deletes.
type Comparison struct {
	Outcome
	Gone []Path
	// Unknown are collections whose list did not come to its end: of their records nothing is
	// known.
	Unknown []string
}

// Gone lists those of the records believed alive that are no more. Of an account that is not Active
// nothing is known: a deactivated one keeps its records, and may come back.
func (c *Client) Gone(ctx context.Context, did string, alive iter.Seq[Path]) (Comparison, error) {
	since := map[string]time.Time{} // the oldest key of each collection: the list need go no further
	for path := range alive {
		at, ok := KeyTime(path.RKey)
		before, known := since[path.Collection]
		switch {
		case !ok:
			at = time.Time{}
		case known && before.Before(at):
			at = before
		}
		since[path.Collection] = at
	}
	tally := NewTally(alive)
	var found Comparison
	for _, collection := range slices.Sorted(maps.Keys(since)) {
		saw := func(rkey string) { tally.Seen(Path{collection, rkey}) }
		listing, err := c.List(ctx, did, collection, ListOptions{Since: since[collection], Saw: saw}, func(Record) error { return nil })
		if found.Outcome = listing.Outcome; err != nil || listing.State != Active {
			return found, err
		}
		if !listing.Complete() {
			found.Unknown = append(found.Unknown, collection)
		}
	}
	found.Gone = slices.DeleteFunc(tally.Gone(), func(p Path) bool { return slices.Contains(found.Unknown, p.Collection) })
	return found, nil
}
