package streamtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/messages"
	"tempestd/persistence"
)

// model is the expected content of a stream.
type model struct {
	backend Backend
	dir     string
	store   persistence.Store
	stream  persistence.Stream
	events  *Events

	entries      []persistence.Entry
	fingerprints []uint64
	largest      int // entries of the largest append: a trim may keep this many too many
	last         persistence.EntryID
	trimmed      persistence.EntryID // the newest entry that was dropped
	timeUS       int64
}

// testModel runs random operations on a store and compares all results with the model. Each run
// opens a store several times. -rapid.checks sets the number of runs.
func testModel(t *testing.T, b Backend) {
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "model")
		check(r, err)
		m := &model{backend: b, dir: dir, events: NewEvents(3, 0), timeUS: b.Now().Add(-time.Hour).UnixMicro()}
		m.open(r)
		defer func() {
			if m.stream != nil {
				check(r, m.store.Close())
			}
		}()
		r.Repeat(map[string]func(*rapid.T){
			"append":       m.append,
			"append again": m.append, // as often as all other operations together
			"small":        m.appendSmall,
			"reopen":       m.reopen,
			"maintain":     func(*rapid.T) { b.Maintain(context.Background(), m.store) },
			"trim":         m.trim,
			"read":         m.read,
			"tail":         m.tail,
			"index":        m.index,
			"":             m.info,
		})
	})
}

func (m *model) open(r *rapid.T) {
	var err error
	m.stream = nil // of a closed store
	m.store, err = m.backend.Open(context.Background(), m.dir)
	check(r, err)
	m.stream, err = m.store.OpenStream(context.Background(), "feed", persistence.StreamOptions{})
	check(r, err)
}

func (m *model) reopen(r *rapid.T) {
	check(r, m.store.Close())
	m.open(r)
}

func (m *model) append(r *rapid.T) { m.put(r, rapid.IntRange(0, 40).Draw(r, "events")) }

// appendSmall appends small blocks, which packing can merge.
func (m *model) appendSmall(r *rapid.T) {
	for range rapid.IntRange(1, 100).Draw(r, "batches") {
		m.put(r, 1)
	}
}

func (m *model) put(r *rapid.T, n int) {
	batch := m.events.Fill(new(messages.Batch), n)
	for i := range batch.Events {
		// Times that stay, that step by less or more than a millisecond, and that go back.
		m.timeUS += rapid.SampledFrom([]int64{0, 0, 1, 500, 3_000, 90_000, -1, -4_000}).Draw(r, "step")
		batch.Events[i].TimeUS = m.timeUS
		batch.Events[i].Drop = n > 1 && rapid.IntRange(0, 5).Draw(r, "drop") == 0
	}
	want := entries(batch, m.last)
	cp := messages.Checkpoint{Position: messages.Position{TimeUS: m.timeUS}}
	got, err := m.stream.Append(context.Background(), batch, cp)
	check(r, err)
	for i := range batch.Events {
		if !batch.Events[i].Drop {
			m.fingerprints = append(m.fingerprints, batch.Events[i].Fingerprint)
		}
	}
	m.entries = append(m.entries, want...)
	m.largest = max(m.largest, len(want))
	if len(want) > 0 {
		m.last = want[len(want)-1].ID
	}
	if got.Entries != len(want) || len(want) > 0 && (got.First != want[0].ID || got.Last != m.last) {
		r.Fatalf("append stored %+v, want %d up to %s", got, len(want), m.last)
	}
	stored, err := m.stream.Checkpoint(context.Background())
	check(r, err)
	cp.LastID = m.last
	if !reflect.DeepEqual(stored, cp) {
		r.Fatalf("checkpoint %+v, want %+v", stored, cp)
	}
}

func (m *model) trim(r *rapid.T) {
	keep := rapid.Int64Range(1, int64(len(m.entries))+1).Draw(r, "keep")
	done, err := m.stream.Trim(context.Background(), persistence.Retention{Entries: keep})
	check(r, err)
	if done.Entries > max(int64(len(m.entries))-keep, 0) {
		r.Fatalf("a trim to %d of %d dropped %d", keep, len(m.entries), done.Entries)
	}
	if done.Entries > 0 {
		m.trimmed = m.entries[done.Entries-1].ID
	}
	m.entries, m.fingerprints = m.entries[done.Entries:], m.fingerprints[done.Entries:]
}

// id draws the ID of an entry, an ID near one, or an ID after all of them.
func (m *model) id(r *rapid.T, label string) persistence.EntryID {
	if len(m.entries) == 0 {
		return persistence.EntryID{MS: rapid.Uint64().Draw(r, label)}
	}
	id := rapid.SampledFrom(m.entries).Draw(r, label).ID
	switch rapid.IntRange(0, 4).Draw(r, label+" shifted") {
	case 0:
		id = id.Next()
	case 1:
		id.MS -= min(id.MS, 1)
	case 2:
		id.MS++
	}
	return id
}

func (m *model) read(r *rapid.T) {
	from, to := m.id(r, "from"), m.id(r, "to")
	limit := rapid.IntRange(1, 200).Draw(r, "limit")
	page, err := m.stream.Read(context.Background(), persistence.CursorAt(from), persistence.CursorAt(to), limit)
	if m.expired(r, from.IsZero() || from.Compare(m.trimmed) > 0, err) {
		return
	}
	var want []persistence.Entry
	for _, f := range m.entries {
		if f.ID.Compare(from) >= 0 && f.ID.Compare(to) <= 0 && len(want) < limit {
			want = append(want, f)
		}
	}
	if !sameEntries(page.Entries, want) {
		r.Fatalf("read %s to %s, limit %d: %d entries, want %d", from, to, limit, len(page.Entries), len(want))
	}
}

func (m *model) tail(r *rapid.T) {
	after := m.id(r, "after")
	limit := rapid.IntRange(1, 200).Draw(r, "limit")
	page, err := m.stream.Tail(context.Background(), persistence.CursorAt(after), 0, limit)
	if m.expired(r, after.IsZero() || after.Compare(m.trimmed) >= 0, err) {
		return
	}
	var want []persistence.Entry
	for _, f := range m.entries {
		if f.ID.Compare(after) > 0 && len(want) < limit {
			want = append(want, f)
		}
	}
	if !sameEntries(page.Entries, want) {
		r.Fatalf("tail after %s, limit %d: %d entries, want %d", after, limit, len(page.Entries), len(want))
	}
}

// expired checks that the call returned the error of an expired cursor exactly if retention had
// overtaken the cursor.
func (m *model) expired(r *rapid.T, reaches bool, err error) bool {
	gone, ok := errors.AsType[*persistence.CursorExpiredError](err)
	if ok == reaches || !ok && err != nil || ok && gone.Oldest != m.trimmed {
		r.Fatalf("error %v, want one: %t; dropped up to %s", err, !reaches, m.trimmed)
	}
	return ok
}

func (m *model) index(r *rapid.T) {
	end := len(m.fingerprints)
	check(r, m.stream.Fingerprints(context.Background(), persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		n := len(b.Fingerprints)
		if n == 0 || n > end {
			r.Fatalf("a block of %d fingerprints, %d are left", n, end)
		}
		for i, fingerprint := range b.Fingerprints {
			if want := m.fingerprints[end-n+i]; fingerprint != want {
				r.Fatalf("fingerprint %d is %x, want %x", end-n+i, fingerprint, want)
			}
		}
		if b.Last != m.entries[end-1].ID || b.First != m.entries[end-n].ID {
			r.Fatalf("a block from %s to %s, want %s to %s", b.First, b.Last, m.entries[end-n].ID, m.entries[end-1].ID)
		}
		i := rapid.IntRange(0, n-1).Draw(r, "entry")
		event, err := m.stream.Entry(context.Background(), b.Last, i)
		check(r, err)
		if !bytes.Equal(event, m.entries[end-n+i].Event) {
			r.Fatalf("entry %d of block %s is not what was appended", i, b.Last)
		}
		end -= n
		return true
	}))
	if end != 0 {
		r.Fatalf("%d entries have no fingerprint", end)
	}
}

func (m *model) info(r *rapid.T) {
	info, err := m.stream.Info(context.Background())
	check(r, err)
	if info.Entries != int64(len(m.entries)) || info.Bytes < 0 || (info.Bytes == 0) != (len(m.entries) == 0) {
		r.Fatalf("info %+v, want %d entries", info, len(m.entries))
	}
	if (info.Trimmed != nil) != !m.trimmed.IsZero() || info.Trimmed != nil && *info.Trimmed != m.trimmed {
		r.Fatalf("info says %v was dropped, want %s", info.Trimmed, m.trimmed)
	}
	if len(m.entries) > 0 && (*info.Oldest != m.entries[0].ID || *info.Newest != m.last) {
		r.Fatalf("info from %s to %s, want %s to %s", info.Oldest, info.Newest, m.entries[0].ID, m.last)
	}
}

func check(r *rapid.T, err error) {
	if err != nil {
		r.Fatal(err)
	}
}
