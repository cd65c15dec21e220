package jetsim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"tempestd/internal/archive/jss"
	"tempestd/internal/subscribe"
)

// ArchiveOptions say how a server serves its archive.
type ArchiveOptions struct {
	// Key is the bearer key that archive calls need; "" for none.
	Key string

	// Quota is the number of compressed bytes that may be downloaded in each period of QuotaEvery (0
	// means 1 h); 0 sets no bound.
	Quota      int64
	QuotaEvery time.Duration

	// PlanEntries is the most entries in a page of a plan; 0 means 100 000.
	PlanEntries int
}

// archive checks the archive's options and sets their defaults.
func (o *Options) archive() error {
	if o.Archive == nil {
		return nil
	}
	a := *o.Archive
	o.Archive = &a
	setDefault(&a.QuotaEvery, time.Hour)
	setDefault(&a.PlanEntries, 100_000)
	switch {
	case !o.Protocol.includes(ProtocolV2):
		return errors.New("an archive is served by v2 servers alone")
	case a.Quota < 0 || a.QuotaEvery < 0 || a.PlanEntries < 0:
		return errors.New("a number of the archive's options is negative")
	}
	return nil
}

// segmentStore holds the sealed segments of the archive as files. A segment is built from the log
// when it is first asked for, and again after a compaction that changed it. Forget does not touch
// the archive.
type segmentStore struct {
	sim *Sim
	dir string
	enc *zstd.Encoder

	mu        sync.Mutex
	closed    bool
	segments  []*sealed
	built     int    // files so far
	overtaken bitset // the ranks that compactions removed
	// rebuiltUS is when the server was replaced by one that is rebuilt: its numbers and witnessed
	// times are its own. 0 before that.
	rebuiltUS int64
}

// sealed is a sealed segment. It is immutable: a compaction replaces it.
type sealed struct {
	path     string
	header   jss.Header
	blocks   []jss.BlockInfo
	marks    []marks // by block
	modified time.Time
	stale    bool
}

// marks tell what is in a block: its shapes, and a bloom of its accounts with one hash.
type marks struct {
	shapes   uint32
	accounts [accountBits / 64]uint64
}

const accountBits = 1 << 14

func accountBit(did []byte) uint64 { return xxh3.Hash(did) % accountBits }

func newSegmentStore(s *Sim) (*segmentStore, error) {
	enc, err := jss.NewCompressor()
	if err != nil {
		return nil, fmt.Errorf("jetsim: %w", err)
	}
	dir, err := os.MkdirTemp("", "jetsim-archive-")
	if err != nil {
		return nil, fmt.Errorf("jetsim: %w", err)
	}
	return &segmentStore{sim: s, dir: dir, enc: enc}, nil
}

func (t *segmentStore) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return os.RemoveAll(t.dir)
}

// count is the number of sealed segments.
func (t *segmentStore) count() int {
	t.sim.mu.Lock()
	defer t.sim.mu.Unlock()
	return t.sim.archive().sealed() / t.sim.opt.Segment
}

// bounds are the sequence numbers of the first and the last event that segment k ever had.
func (t *segmentStore) bounds(k int) (first, last uint64) {
	recs := t.records(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(recs)
	return uint64(t.seq(k*n, &recs[0])), uint64(t.seq(k*n+n-1, &recs[n-1]))
}

// seq is the sequence number of the record at a rank. The caller holds the lock.
func (t *segmentStore) seq(rank int, r *record) int64 {
	if t.rebuiltUS > 0 {
		return int64(rank) + 1
	}
	return r.seq
}

// records copies the records of segment k.
func (t *segmentStore) records(k int) []record {
	s := t.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	recs := make([]record, s.opt.Segment)
	for i := range recs {
		recs[i] = *s.log.ranked(k*s.opt.Segment + i)
	}
	return recs
}

// segment returns segment k, which must be sealed.
func (t *segmentStore) segment(k int) (*sealed, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.segments) <= k {
		t.segments = append(t.segments, nil)
	}
	old := t.segments[k]
	if old != nil && !old.stale {
		return old, nil
	}
	if t.closed {
		return nil, ErrClosed
	}
	g, err := t.build(k)
	if err != nil {
		return nil, err
	}
	if old != nil {
		err = os.Remove(old.path)
	}
	t.segments[k] = g
	return g, err
}

// build writes the file of segment k.
func (t *segmentStore) build(k int) (*sealed, error) {
	recs := t.records(k)
	b := jss.NewBuilder(t.enc)
	g := &sealed{modified: t.sim.clock.Now()}
	var blooms []byte
	var rows []jss.Row
	for from := 0; from < len(recs); from += t.sim.opt.Block {
		to := min(from+t.sim.opt.Block, len(recs))
		var m marks
		rows = rows[:0]
		for i := from; i < to; i++ {
			rank := k*len(recs) + i
			if int(rank/64) < len(t.overtaken) && t.overtaken.has(int64(rank)) {
				continue
			}
			e := t.sim.net.event(recs[i].num)
			m.shapes |= 1 << e.shape
			bit := accountBit(t.sim.net.did(e.account))
			m.accounts[bit/64] |= 1 << (bit % 64)
			rows = append(rows, t.row(&e, rank, &recs[i]))
		}
		b.Add(rows)
		g.marks = append(g.marks, m)
		for _, w := range m.accounts[:4] { // any bytes will do: no reader with a plan looks at them
			blooms = append(blooms, byte(w), byte(w>>8))
		}
	}
	file := b.Seal(blooms)
	var err error
	if g.header, err = jss.ParseHeader(file); err != nil {
		return nil, err
	}
	if g.blocks, err = jss.ParseIndex(&g.header, file[g.header.IndexOffset:g.header.AccountBloomOffset]); err != nil {
		return nil, err
	}
	t.built++
	g.path = filepath.Join(t.dir, fmt.Sprintf("%d-%d.jss", k, t.built))
	return g, os.WriteFile(g.path, file, 0o600)
}

// row is the row of an event: the same members that its frame has.
func (t *segmentStore) row(e *event, rank int, r *record) jss.Row {
	w := t.sim.net
	row := jss.Row{Seq: uint64(t.seq(rank, r)), WitnessedUS: r.timeUS, DID: w.did(e.account)}
	if t.rebuiltUS > 0 {
		row.WitnessedUS = max(t.rebuiltUS+int64(rank), r.timeUS) // copied when it was rebuilt, or seen later
	}
	switch e.shape.kind() {
	case subscribe.Identity:
		row.Kind = jss.Identity
	case subscribe.Account:
		row.Kind = jss.Account
	case subscribe.Sync:
		row.Kind = jss.Sync
	default:
		return t.commit(row, e)
	}
	row.Payload = appendCBOR(nil, string(w.appendMarker(nil, e)))
	return row
}

// commit completes the row of a commit. The server found one in 64 of the created records when it
// read a repository anew.
func (t *segmentStore) commit(row jss.Row, e *event) jss.Row {
	w := t.sim.net
	c := w.commitOf(e)
	spec := &w.specs[e.shape]
	switch {
	case spec.operation == "delete":
		row.Kind = jss.Delete
	case spec.operation == "update":
		row.Kind = jss.Update
	case w.hash(saltResync, uint64(e.num))%64 == 0:
		row.Kind = jss.Resync
	default:
		row.Kind = jss.Create
	}
	row.Collection = []byte(spec.collection)
	row.Rev = appendTID(nil, c.us, c.clock)
	row.Key = w.appendKey(nil, e, &c)
	if row.Kind != jss.Delete {
		row.Payload = w.appendRecordCBOR(make([]byte, 0, 512), e, &c)
	}
	return row
}

// replace makes the archive that of a rebuilt server.
func (t *segmentStore) replace(nowUS int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rebuiltUS = nowUS
	for _, g := range t.segments {
		if g != nil {
			g.stale = true
		}
	}
}
