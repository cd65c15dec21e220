package streamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/messages"
	"tempestd/persistence"
)

// gapOpened is when the oldest row of the tests was opened.
var gapOpened = time.UnixMilli(1_700_000_000_000).UTC()

// gapRow returns a row that is opened n seconds after the oldest one.
func gapRow(n int, version uint64, state messages.GapState) messages.GapRow {
	gap := messages.Gap{Host: "jetstream.example", FromUS: int64(n+1) * 1_000_000, ToUS: int64(n+2) * 1_000_000, Cause: messages.GapReplayWindow}
	at := gapOpened.Add(time.Duration(n) * time.Second)
	return messages.GapRow{ID: messages.GapID("feed", gap), Version: version, Feed: "feed", Gap: gap, State: state, OpenedAt: at, ChangedAt: at}
}

// fullGapRow returns a row whose fields are all set.
func fullGapRow(n int, version uint64) messages.GapRow {
	row := gapRow(n, version, messages.GapWaiting)
	row.FromSeq, row.ToSeq, row.Known = 10, 20, true
	row.Event = &messages.MissingEvent{TimeUS: 5, Seq: 11, Bytes: 7, DID: "did:plc:a", Rev: "r", Collection: "c.d.e", RKey: "k", Operation: "create"}
	row.Source, row.Recovered, row.Held, row.Attempts, row.Bytes, row.Planned = messages.SourceArchive, 1, 2, 3, 4, 5
	row.Why, row.Missing, row.RetryAt = "the quota is used up", "versions in between", gapOpened.Add(time.Hour)
	row.Tried, row.Progress = []messages.GapSource{messages.SourceSocket}, json.RawMessage(`{"block":7}`)
	return row
}

// testGaps saves rows, and reads them in another handle and after the store was opened again.
func testGaps(t *testing.T, b Backend) {
	f := open(t, b)
	ctx := t.Context()
	f.expectGaps("a new stream")
	late, early, full := gapRow(5, 1, messages.GapOpen), gapRow(2, 1, messages.GapOpen), fullGapRow(3, 7)
	must(t, f.stream.SaveGaps(ctx, []messages.GapRow{late, early, full}))
	f.expectGaps("oldest first", early, full, late)
	must(t, f.stream.SaveGaps(ctx, nil))

	newer, older, same := late, full, early
	newer.Version, newer.State, newer.Why = 2, messages.GapRepaired, "done"
	older.Version, older.Why = 6, "an older version"
	same.Why = "another row of the same version"
	must(t, f.stream.SaveGaps(ctx, []messages.GapRow{newer, older, same}))
	f.expectGaps("versions", early, full, newer)
	twice := newer
	twice.Version = 3
	must(t, f.stream.SaveGaps(ctx, []messages.GapRow{newer, twice, newer}))
	f.expectGaps("one row twice", early, full, twice)

	other, err := f.store.OpenStream(ctx, "feed2", persistence.StreamOptions{})
	must(t, err)
	must(t, other.SaveGaps(ctx, []messages.GapRow{gapRow(9, 1, messages.GapOpen)}))
	handle, err := f.store.Stream(ctx, "feed")
	must(t, err)
	expectRows(t, "another handle", rowsOf(t, handle), early, full, twice)

	// Rows have nothing to do with the entries that retention drops.
	f.append(50)
	_, err = f.stream.Trim(ctx, persistence.Retention{Entries: 1})
	must(t, err)
	b.Maintain(ctx, f.store)
	f.reopen()
	f.expectGaps("after the store was opened again", early, full, twice)
	must(t, f.stream.Close(ctx, "over"))
	twice.Version++
	must(t, f.stream.SaveGaps(ctx, []messages.GapRow{twice}))
	f.expectGaps("a closed stream", early, full, twice)
}

// testGapsInTheCheckpoint appends checkpoints that carry rows. They are there as soon as the append
// is, and the greater version counts.
func testGapsInTheCheckpoint(t *testing.T, b Backend) {
	f := open(t, b)
	carry := func(rows ...messages.GapRow) {
		t.Helper()
		_, err := f.stream.Append(t.Context(), f.events.Fill(new(messages.Batch), 1), messages.Checkpoint{Gaps: rows})
		must(t, err)
	}
	row, other := gapRow(1, 1, messages.GapOpen), gapRow(0, 1, messages.GapOpen)
	carry(row)
	f.expectGaps("carried", row)
	row.Version, row.Recovered, row.State = 2, 7, messages.GapRepairing
	carry(row, other)
	f.expectGaps("carried twice", other, row)
	f.reopen()
	f.expectGaps("carried, after the store was opened again", other, row)

	must(t, f.stream.SaveGaps(t.Context(), []messages.GapRow{row, other}))
	carry()
	f.expectGaps("saved and not carried any more", other, row)
	saved := row
	saved.Version, saved.Recovered = 4, 9
	must(t, f.stream.SaveGaps(t.Context(), []messages.GapRow{saved}))
	row.Version = 3
	carry(row)
	f.expectGaps("an older version is carried", other, saved)
	row.Version = 5
	carry(row)
	f.expectGaps("a newer version is carried", other, row)
}

// testGapBound saves more rows than a ledger keeps. Final rows are dropped, the oldest first. When
// there are no more of them, the oldest of the others are.
func testGapBound(t *testing.T, b Backend) {
	f := open(t, b)
	final := func(n int) bool { return n%2 == 0 }
	row := func(n int) messages.GapRow {
		if final(n) {
			return gapRow(n, 1, messages.GapUnrepairable)
		}
		return gapRow(n, 1, messages.GapOpen)
	}
	save := func(from, to int) {
		t.Helper()
		rows := make([]messages.GapRow, 0, to-from)
		for n := from; n < to; n++ {
			rows = append(rows, row(n))
		}
		must(t, f.stream.SaveGaps(t.Context(), rows))
	}
	save(0, persistence.MaxGaps)
	if got := rowsOf(t, f.stream); len(got) != persistence.MaxGaps {
		t.Fatalf("%d rows, want all %d", len(got), persistence.MaxGaps)
	}
	save(persistence.MaxGaps, persistence.MaxGaps+1)
	dropped := persistence.MaxGaps/10 + 1
	var want []messages.GapRow
	for n := range persistence.MaxGaps + 1 {
		if !final(n) || n >= 2*dropped {
			want = append(want, row(n))
		}
	}
	expectRows(t, "beyond the bound", rowsOf(t, f.stream), want...)
}

// testGapModel saves and carries random rows and compares with a map by ID.
func testGapModel(t *testing.T, b Backend) {
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		dir, err := os.MkdirTemp(t.TempDir(), "gaps")
		check(r, err)
		m := &model{backend: b, dir: dir, events: NewEvents(3, b.Now().Add(-time.Hour).UnixMicro())}
		m.open(r)
		defer func() {
			if m.stream != nil {
				check(r, m.store.Close())
			}
		}()
		stored, carried := make(map[string]messages.GapRow), make(map[string]messages.GapRow)
		draw := func(r *rapid.T) (rows []messages.GapRow) {
			for range rapid.IntRange(0, 4).Draw(r, "rows") {
				row := gapRow(rapid.IntRange(0, 5).Draw(r, "gap"), uint64(rapid.IntRange(1, 6).Draw(r, "version")), rapid.SampledFrom(messages.GapStates).Draw(r, "state"))
				row.Why = fmt.Sprintf("%d %s", row.Version, row.State)
				rows = append(rows, row)
			}
			return rows
		}
		take := func(into map[string]messages.GapRow, rows []messages.GapRow) {
			for _, row := range rows {
				if row.Version > into[row.ID].Version {
					into[row.ID] = row
				}
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"save": func(r *rapid.T) {
				rows := draw(r)
				check(r, m.stream.SaveGaps(ctx, rows))
				take(stored, rows)
			},
			"carry": func(r *rapid.T) {
				rows := draw(r)
				_, err := m.stream.Append(ctx, m.events.Fill(new(messages.Batch), 1), messages.Checkpoint{Gaps: rows})
				check(r, err)
				clear(carried)
				take(carried, rows)
			},
			"reopen":   m.reopen,
			"maintain": func(*rapid.T) { b.Maintain(ctx, m.store) },
			"": func(r *rapid.T) {
				want := maps.Clone(stored)
				take(want, slices.Collect(maps.Values(carried)))
				got, err := m.stream.Gaps(ctx)
				check(r, err)
				if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b messages.GapRow) int { return a.OpenedAt.Compare(b.OpenedAt) }) {
					r.Fatalf("%d rows, want %d, oldest first", len(got), len(want))
				}
				for _, row := range got {
					if !sameRow(row, want[row.ID]) {
						r.Fatalf("row %+v, want %+v", row, want[row.ID])
					}
				}
			},
		})
	})
}

func (f *fixture) expectGaps(what string, want ...messages.GapRow) {
	f.t.Helper()
	expectRows(f.t, what, rowsOf(f.t, f.stream), want...)
}

func rowsOf(t *testing.T, l persistence.Ledger) []messages.GapRow {
	t.Helper()
	rows, err := l.Gaps(t.Context())
	must(t, err)
	return rows
}

func expectRows(t *testing.T, what string, got []messages.GapRow, want ...messages.GapRow) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !sameRow(got[i], want[i]) {
			t.Fatalf("%s: row %d is %+v, want %+v", what, i, got[i], want[i])
		}
	}
}

// sameRow compares rows whose times are in UTC.
func sameRow(a, b messages.GapRow) bool { return reflect.DeepEqual(a, b) }
