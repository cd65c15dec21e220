package dedupe_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// memory is a stream in memory: the methods that a Deduper needs, with faults that a test can set.
type memory struct {
	persistence.Stream // other methods are not called

	blocks  []memoryBlock
	dropped []memoryBlock // dropped by retention
	last    messages.EntryID
	corrupt bool  // entries cannot be read
	fail    error // nothing can be read
}

type memoryBlock struct {
	ids          []messages.EntryID
	fingerprints []uint64
	entries      [][]byte
}

func (b *memoryBlock) last() messages.EntryID { return b.ids[len(b.ids)-1] }

func (m *memory) Name() string { return "memory" }

func (m *memory) Append(_ context.Context, batch *messages.Batch, _ messages.Checkpoint) (persistence.Appended, error) {
	var b memoryBlock
	for i := range batch.Events {
		e := &batch.Events[i]
		if e.Drop {
			continue
		}
		m.last = messages.DeriveID(e.TimeUS, m.last)
		b.ids = append(b.ids, m.last)
		b.fingerprints = append(b.fingerprints, e.Fingerprint)
		b.entries = append(b.entries, slices.Clone(batch.Bytes(i)))
	}
	if len(b.ids) == 0 {
		return persistence.Appended{}, nil
	}
	m.blocks = append(m.blocks, b)
	return persistence.Appended{First: b.ids[0], Last: b.last(), Entries: len(b.ids)}, nil
}

func (m *memory) Info(context.Context) (persistence.StreamInfo, error) {
	var info persistence.StreamInfo
	if n := len(m.blocks); n > 0 {
		oldest, newest := m.blocks[0].ids[0], m.blocks[n-1].last()
		info.Oldest, info.Newest = &oldest, &newest
	}
	return info, m.fail
}

// Read returns at most limit entries of a range.
func (m *memory) Read(_ context.Context, from, to persistence.StreamCursor, limit int) (page persistence.Page, err error) {
	for _, b := range m.blocks {
		for i, id := range b.ids {
			if id.Compare(from.Lower()) >= 0 && id.Compare(to.Upper()) <= 0 && len(page.Entries) < limit {
				page.Entries = append(page.Entries, persistence.Entry{ID: id, Event: b.entries[i]})
			}
		}
	}
	return page, m.fail
}

func (m *memory) Fingerprints(_ context.Context, h persistence.Horizon, yield func(persistence.FingerprintBlock) bool) error {
	n := 0
	for _, b := range slices.Backward(m.blocks) {
		if h.Entries > 0 && n >= h.Entries || !yield(persistence.FingerprintBlock{First: b.ids[0], Last: b.last(), Fingerprints: b.fingerprints}) {
			break
		}
		n += len(b.ids)
	}
	return m.fail
}

func (m *memory) Entry(_ context.Context, last messages.EntryID, i int) ([]byte, error) {
	if m.corrupt {
		return nil, fmt.Errorf("look: %w", &persistence.CorruptError{Stream: "memory", Block: last, Err: m.fail})
	}
	at, found := slices.BinarySearchFunc(m.blocks, last, func(b memoryBlock, id messages.EntryID) int { return b.last().Compare(id) })
	if !found || i >= len(m.blocks[at].entries) {
		return nil, fmt.Errorf("look: %w", persistence.ErrNotFound)
	}
	return m.blocks[at].entries[i], nil
}

// stored returns the identities of the entries, as event made them.
func (m *memory) stored(t fataler) []int {
	var ids []int
	for _, b := range append(slices.Clone(m.dropped), m.blocks...) {
		for _, entry := range b.entries {
			ids = append(ids, identityOf(t, entry))
		}
	}
	return ids
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// event is an event of the tests: its identity, and the parts that may change when it is sent
// again.
type event struct {
	id     int
	timeUS int64
	seq    int
}

// epoch is when the tests' upstream began, Unix µs.
const epoch = 1795327636563030

const rkey = `"rkey":"`

// frame appends the event's JSON. Every fourth identity is an identity event, the others are
// commits.
func (e event) frame(buf []byte) []byte {
	if e.id%4 == 3 {
		return fmt.Appendf(buf, `{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"identity","identity":{"did":"did:plc:a","seq":%d}}`, e.timeUS, e.seq, e.id+1)
	}
	return fmt.Appendf(buf, `{"did":"did:plc:%d","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"delete","collection":"c.d",%s%d"}}`,
		e.id%7, e.timeUS, e.seq, e.id/8, rkey, e.id)
}

// identityOf reads the identity of a frame.
func identityOf(t fataler, frame []byte) int {
	t.Helper()
	for before, less := range map[string]int{rkey: 0, `"did:plc:a","seq":`: 1} {
		if _, after, found := bytes.Cut(frame, []byte(before)); found {
			n, err := strconv.Atoi(string(bytes.TrimRight(after, `"}`)))
			if err != nil {
				t.Fatalf("%s: %v", frame, err)
			}
			return n - less
		}
	}
	t.Fatalf("no identity in %s", frame)
	return 0
}

// batch puts the events into a batch. The fingerprints are cut to bits bits; with few bits they
// often collide.
func batch(t fataler, bits int, events ...event) *messages.Batch {
	t.Helper()
	b := &messages.Batch{}
	for _, e := range events {
		off := len(b.Buf)
		b.Buf = e.frame(b.Buf)
		scanned := messages.Event{Off: uint32(off), Len: uint32(len(b.Buf) - off)}
		if err := jetstream.Scan(b.Buf[off:], &scanned); err != nil {
			t.Fatalf("%s: %v", b.Buf[off:], err)
		}
		scanned.Fingerprint &= 1<<bits - 1
		b.Events = append(b.Events, scanned)
	}
	return b
}

// run returns the events from…to-1, one per millisecond.
func run(from, to int) []event {
	var events []event
	for id := from; id < to; id++ {
		events = append(events, event{id: id, timeUS: epoch + int64(id)*1000, seq: id + 1})
	}
	return events
}
