package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// ledgered is a stream whose ledger may refuse its rows.
type ledgered struct {
	persistence.Stream
	refuse bool
	saved  []messages.GapRow // by the last call
}

func (l *ledgered) SaveGaps(ctx context.Context, rows []messages.GapRow) error {
	if l.refuse {
		return errors.New("odd")
	}
	l.saved = slices.Clone(rows)
	return l.Stream.SaveGaps(ctx, rows)
}

func writerOn(t *testing.T, stream persistence.Stream) *stage {
	clock := clockwork.NewRealClock()
	return newStage(t, func(ear *actor.PID) *actor.Props {
		return actors.NewWriter(actors.WriterConfig{Feed: feedName, Stream: stream, Dedupe: dedupe.Options{Clock: clock}, Cursor: ear, Clock: clock, Observer: observe.Discard()})
	})
}

// live tells the writer of an epoch whose connection is open.
func (s *stage) live(epoch messages.Epoch) {
	at := position(hostA, 20, 0)
	s.tell(&actors.BeginEpoch{Epoch: epoch, Host: hostA, Resume: at},
		&messages.EpochOpened{Epoch: epoch, Present: messages.UpstreamTime{Host: hostA, US: time.Now().UnixMicro()}})
}

// gap has the writer record a gap, and returns its row.
func (s *stage) gap() messages.GapRow {
	s.t.Helper()
	at := position(hostA, 5, 0)
	s.tell(&messages.RecordGap{Gap: messages.Gap{Host: hostA, FromUS: at.TimeUS, ToUS: at.TimeUS + 10_000_000, Cause: messages.GapServerMoved}})
	return last[*messages.GapRecorded](s).Row
}

// fetch tells the writer that a source fetches a gap.
func (s *stage) fetch(id uint64, row messages.GapRow, source messages.GapSource) messages.GapRow {
	s.t.Helper()
	row.State, row.Source = messages.GapRepairing, source
	s.tell(&messages.BeginFetch{ID: id, Row: row})
	ready := last[*messages.FetchReady](s)
	if ready.ID != id {
		s.t.Fatalf("ready is fetch %d, want %d", ready.ID, id)
	}
	return ready.Row
}

// fetched hands the writer a batch of a fetch.
func (s *stage) fetched(id, number uint64, place string, seqs ...int64) {
	b := batchOf(s.t, seqs...)
	b.Number = number
	s.tell(&messages.AppendFetched{ID: id, Batch: b, At: json.RawMessage(place), Release: make(chan *messages.Batch, 1)})
}

func carried(t *testing.T, stream persistence.Stream) []messages.GapRow {
	t.Helper()
	cp, err := stream.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return cp.Gaps
}

// A batch that is missing must not be passed over: the place of the repair would lie behind it.
func TestI2_ABatchOfAFetchIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stream := openStore(t)
		s := writerOn(t, stream)
		s.live(1)
		row := s.fetch(1, s.gap(), messages.SourceSocket)
		s.fetched(1, 1, `"1"`, 6, 7)
		s.fetched(1, 3, `"3"`, 10, 11)
		if done := last[*messages.FetchDone](s); done.ID != 1 || done.Err == nil {
			t.Errorf("%+v", done)
		}
		s.tell(&messages.LedgerQuery{})
		rows := last[*messages.LedgerLoaded](s).Rows
		if len(rows) != 1 || rows[0].ID != row.ID || rows[0].Recovered != 2 || string(rows[0].Progress) != `"1"` {
			t.Errorf("%+v", rows)
		}
	})
}

// The checkpoint carries a row until the ledger has it, and so may carry an older version.
func TestI4_TheNewestVersionOfARowCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stream := openStore(t)
		row := messages.GapRow{ID: "0011223344556677", Version: 4, Feed: feedName, State: messages.GapRepaired, Recovered: 9}
		older := row
		older.Version, older.State, older.Recovered = 3, messages.GapRepairing, 5
		if err := stream.SaveGaps(context.Background(), []messages.GapRow{row}); err != nil {
			t.Fatal(err)
		}
		cp := position(hostA, 20, 0)
		cp.Gaps, cp.Ledger = []messages.GapRow{older}, true
		if _, err := stream.Append(context.Background(), &messages.Batch{}, cp); err != nil {
			t.Fatal(err)
		}
		s := writerOn(t, stream)
		if rows := last[*messages.LedgerLoaded](s).Rows; len(rows) != 1 || rows[0].Version != 4 || rows[0].Recovered != 9 {
			t.Errorf("%+v", rows)
		}
	})
}

func TestAPlaceBelongsToItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stream := openStore(t)
		s := writerOn(t, stream)
		s.live(1)
		row := s.fetch(1, s.gap(), messages.SourceSocket)
		if row.Progress != nil {
			t.Errorf("at first: %s", row.Progress)
		}
		s.fetched(1, 1, `"1"`, 6, 7)
		s.tell(&messages.EndFetch{ID: 1, Batches: 1})
		if row = s.fetch(2, row, messages.SourceSocket); string(row.Progress) != `"1"` {
			t.Errorf("of the same source: %s", row.Progress)
		}
		s.tell(&messages.EndFetch{ID: 2})
		if row = s.fetch(3, row, messages.SourceArchive); row.Progress != nil {
			t.Errorf("of another source: %s", row.Progress)
		}
	})
}

// The ledger refuses a row. Each checkpoint carries it until the ledger takes it.
func TestI4_ARowIsCarriedUntilTheLedgerHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, inner := openStore(t)
		stream := &ledgered{Stream: inner, refuse: true}
		s := writerOn(t, stream)
		s.live(1)
		row := s.gap()
		pool := actors.NewPool()
		put := func(number uint64, seq int64) {
			b := batchOf(t, seq)
			b.Epoch, b.Number = 1, number
			s.tell(&messages.AppendBatch{Batch: b, Release: make(chan *messages.Batch, len(pool))})
		}
		for i := range 3 {
			if rows := carried(t, inner); len(rows) != 1 || rows[0].ID != row.ID {
				t.Fatalf("after %d appends the checkpoint carries %+v", i, rows)
			}
			put(uint64(i+1), int64(21+i))
		}
		stream.refuse = false
		time.Sleep(time.Minute) // it is not asked for each append
		put(4, 24)
		put(5, 25)
		if rows := carried(t, inner); len(rows) > 0 || len(stream.saved) != 1 || stream.saved[0].ID != row.ID {
			t.Errorf("carried are still %+v, saved are %+v", rows, stream.saved)
		}
	})
}

// A new state has no append that would store it. Progress has, and is saved in the ledger now and
// then.
func TestAChangeOfAGapIsSavedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, inner := openStore(t)
		stream := &ledgered{Stream: inner}
		s := writerOn(t, stream)
		s.live(1)
		row := s.gap()
		stream.saved = nil
		row.State, row.Why = messages.GapWaiting, "ordered by an operator"
		s.tell(&messages.ChangeGap{Row: row})
		if len(stream.saved) != 1 || stream.saved[0].State != messages.GapWaiting {
			t.Errorf("saved are %+v", stream.saved)
		}
	})
}

func TestAGapThatIsRecordedAgainIsANewVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stream := openStore(t)
		s := writerOn(t, stream)
		s.live(1)
		first := s.gap()
		time.Sleep(time.Minute)
		if again := s.gap(); again.ID != first.ID || again.Version <= first.Version || !again.OpenedAt.Equal(first.OpenedAt) {
			t.Errorf("first %+v, then %+v", first, again)
		}
	})
}

// A gap that a connection to another host shows has no number of the host before.
func TestI4_NumbersOfAGapAreThoseOfItsHost(t *testing.T) {
	for host, want := range map[string]int64{hostA: 20, hostB: 0} {
		synctest.Test(t, func(t *testing.T) {
			_, stream := openStore(t)
			s := writerOn(t, stream)
			at := position(hostA, 20, 0)
			gap := &messages.Gap{Host: host, FromUS: at.TimeUS, Cause: messages.GapServerMoved}
			s.tell(&actors.BeginEpoch{Epoch: 1, Host: host, Resume: at, Plan: jetstream.Plan{Gap: gap}},
				&messages.EpochOpened{Epoch: 1, Present: messages.UpstreamTime{Host: host, US: time.Now().UnixMicro()}})
			if row := last[*messages.GapRecorded](s).Row; row.FromSeq != want {
				t.Errorf("at %s: %+v", host, row)
			}
		})
	}
}
