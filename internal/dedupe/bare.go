package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// mostBare bounds the places that a Bare remembers, of some 100 bytes each. A record beyond it is
	// stored a second time when it comes live.
	mostBare = 1 << 20
	// defaultReach is how long bare entries are within reach if the horizon has no age. No server
	// replays more than that.
	defaultReach = 48 * time.Hour
	revSize      = 13
)

// Bare compares commits with the bare entries of a stream: records that a repair found without the
// rev of their commit (jetstream.Content). A commit that comes live with the same record is dropped,
// and so is a bare record whose commit came live before it. It belongs to the stream's writer and is
// not safe for concurrent use.
//
// A later commit at the same place overtakes a bare entry. From then on the same record is a new one,
// unless its rev is older than that of the later commit: then it is late, and dropped.
//
// While no bare entry is within reach, a Bare holds nothing, and Mark does nothing.
type Bare struct {
	stream persistence.Stream
	reach  time.Duration
	within messages.BareRange
	places map[uint64]barePlace // by Content.Path
}

// barePlace is the newest bare entry of a place.
type barePlace struct {
	cid uint64 // its hash
	id  messages.EntryID
	// rev is the oldest rev that has overtaken it, all zero for none.
	rev [revSize]byte
}

// NewBare makes a Bare of a stream. It knows no bare entry before Load.
func NewBare(stream persistence.Stream, horizon persistence.Horizon) *Bare {
	reach := horizon.Age
	if reach == 0 {
		reach = defaultReach
	}
	return &Bare{stream: stream, reach: reach}
}

// Range returns where the stream has the bare entries that are within reach. It belongs into the
// checkpoint of every append.
func (x *Bare) Range() messages.BareRange { return x.within }

// Expect says that bare entries with these IDs are appended next, so that their append itself can
// store where they are.
func (x *Bare) Expect(first, last messages.EntryID) {
	if x.within.IsZero() {
		x.within.From = first
	}
	x.within.To = last
}

// Load reads the part of the stream that may have bare entries, as a checkpoint names it. If it is
// not zero, that is every entry from the first bare one within reach on.
func (x *Bare) Load(ctx context.Context, within messages.BareRange, newest messages.EntryID) error {
	x.within, x.places = within, nil
	x.forget(newest)
	if x.within.IsZero() {
		return nil
	}
	if oldest := newest.MS - min(newest.MS, uint64(x.reach.Milliseconds())); x.within.From.MS < oldest {
		x.within.From = messages.EntryID{MS: oldest}
	}
	x.places = map[uint64]barePlace{}
	return persistence.Walk(ctx, x.stream, x.within.From, func(e persistence.Entry) {
		if c, ok := jetstream.ReadContent(e.Event); ok {
			x.learn(&c, e.ID)
		}
	})
}

// learn notes a stored commit.
func (x *Bare) learn(c *jetstream.Content, id messages.EntryID) {
	path := c.Path()
	p, known := x.places[path]
	switch {
	case c.Rev != nil:
		if known && (c.Delete || p.cid != xxhash.Sum64(c.CID)) {
			p.overtake(c.Rev)
			x.places[path] = p
		}
	case c.Delete:
		delete(x.places, path)
	case known || len(x.places) < mostBare:
		x.places[path] = barePlace{cid: xxhash.Sum64(c.CID), id: id}
	}
}

// overtake notes a commit at the same place that has another record, or none.
func (p *barePlace) overtake(rev []byte) {
	var r [revSize]byte
	copy(r[:], rev)
	if p.rev == [revSize]byte{} || string(r[:]) < string(p.rev[:]) {
		p.rev = r
	}
}

// before says whether a rev is older than what has overtaken the entry.
func (p *barePlace) before(rev []byte) bool {
	return p.rev == [revSize]byte{} || string(rev) < string(p.rev[:])
}

// forget drops everything when the stream has gone so far that no bare entry is within reach.
func (x *Bare) forget(newest messages.EntryID) {
	if !x.within.IsZero() && newest.MS > x.within.To.MS+uint64(x.reach.Milliseconds()) {
		x.within, x.places = messages.BareRange{}, nil
	}
}

// Mark sets Drop on the batch's commits whose record the stream has as a bare entry. It returns how
// many these are. Call it before Deduper.Mark, which passes over what is dropped. It may be called
// again for a batch that could not be appended.
func (x *Bare) Mark(ctx context.Context, b *messages.Batch) (dropped int, err error) {
	if len(x.places) == 0 {
		return 0, nil
	}
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop || e.Kind != messages.KindCommit {
			continue
		}
		c, ok := jetstream.ReadContent(b.Bytes(i))
		if !ok || c.Rev == nil {
			continue
		}
		path := c.Path()
		p, known := x.places[path]
		switch {
		case !known:
		case c.Delete || p.cid != xxhash.Sum64(c.CID):
			p.overtake(c.Rev)
			x.places[path] = p
		case p.before(c.Rev):
			if e.Drop, err = x.holds(ctx, p.id, &c); err != nil {
				return dropped, err
			}
			if e.Drop {
				dropped++
			}
		}
	}
	return dropped, nil
}

// holds says exactly whether the entry puts the same record at the same place. An entry that
// retention has dropped counts as the same: two hashes of it are.
func (x *Bare) holds(ctx context.Context, id messages.EntryID, c *jetstream.Content) (bool, error) {
	page, err := x.stream.Read(ctx, persistence.CursorAt(id), persistence.CursorAt(id), 1)
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		return false, nil
	}
	if _, expired := errors.AsType[*persistence.CursorExpiredError](err); expired || err == nil && len(page.Entries) == 0 {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("compare with entry %s of stream %s: %w", id, x.stream.Name(), err)
	}
	stored, ok := jetstream.ReadContent(page.Entries[0].Event)
	return ok && stored.Same(c), nil
}

// MarkFetched sets Drop on the events of a batch of bare events that the stream holds. Up to
// Batch.Compared the source has compared them with the stream; MarkFetched reads on from there. A
// commit that came live since then at the same place also counts, whatever its record is: it is
// newer than what the source saw, or will be followed by what the source saw. It returns how many
// events were dropped.
func (x *Bare) MarkFetched(ctx context.Context, b *messages.Batch) (dropped int, err error) {
	type candidate struct {
		content jetstream.Content
		event   int
	}
	waiting := make(map[uint64]candidate, len(b.Events))
	drop := func(i int) {
		if e := &b.Events[i]; !e.Drop {
			e.Drop = true
			dropped++
		}
	}
	for i := range b.Events {
		if b.Events[i].Drop {
			continue
		}
		c, ok := jetstream.ReadContent(b.Bytes(i))
		if !ok || c.Rev != nil {
			continue
		}
		path := c.Path()
		if before, again := waiting[path]; again && before.content.Same(&c) {
			drop(i)
			continue
		}
		if p, known := x.places[path]; known && !c.Delete && p.cid == xxhash.Sum64(c.CID) && p.rev == [revSize]byte{} {
			same, err := x.holds(ctx, p.id, &c)
			if err != nil {
				return dropped, err
			}
			if same {
				drop(i)
				continue
			}
		}
		waiting[path] = candidate{c, i}
	}
	if len(waiting) == 0 {
		return dropped, nil
	}
	err = persistence.Walk(ctx, x.stream, b.Compared.Next(), func(e persistence.Entry) {
		c, ok := jetstream.ReadContent(e.Event)
		if !ok {
			return
		}
		if w, known := waiting[c.Path()]; known && w.content.SamePath(&c) && (c.Rev != nil || c.Same(&w.content) || c.Delete && w.content.Delete) {
			drop(w.event)
		}
	})
	return dropped, err
}

// Appended says that a batch is stored. fetched says that it is one of bare events.
func (x *Bare) Appended(b *messages.Batch, a persistence.Appended, fetched bool) {
	if a.Entries == 0 {
		return
	}
	if !fetched {
		x.forget(a.Last)
		return
	}
	if x.places == nil {
		x.places = map[uint64]barePlace{}
	}
	x.Expect(a.First, a.Last)
	id := a.First
	first := true
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop {
			continue
		}
		if !first {
			id = messages.DeriveID(e.TimeUS, id)
		}
		first = false
		if c, ok := jetstream.ReadContent(b.Bytes(i)); ok && c.Rev == nil {
			x.learn(&c, id)
		}
	}
}
