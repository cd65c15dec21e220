package actors

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/backfill"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// RepairConfig says how a feed's gaps are repaired.
type RepairConfig struct {
	Policy  backfill.Policy
	Sources map[messages.GapSource]backfill.Source // those of Policy.Sources
	Raw     bool                                   // keep v2 frames as they are
	Stream  persistence.Stream                     // what the sources without revs compare with
}

// repairs is the part of the backfill actor that closes the gaps of the ledger: one fetch at a time,
// chosen by the policy. The writer owns the rows; these are copies.
type repairs struct {
	of  *backfiller
	cfg RepairConfig

	loaded   bool // the rows are known
	rows     map[string]messages.GapRow
	failures map[string]int // attempts in a row that failed, by the row's ID
	open     bool           // the feed lets gaps be fetched
	filter   jetstream.Filter
	fetch    *fetch // nil while there is none
	lastID   uint64 // of the fetches
	again    *fetchAgain
	timer    clockwork.Timer
}

// fetchAgain is the actor's message to itself that it is time to choose again.
type fetchAgain struct{}

// onceMore is the wait after a fetch that the writer could not take.
const onceMore = time.Second

func newRepairs(of *backfiller, cfg RepairConfig) *repairs {
	return &repairs{of: of, cfg: cfg, rows: map[string]messages.GapRow{}, failures: map[string]int{}}
}

func (r *repairs) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		ctx.Send(r.of.cfg.Writer, &messages.LedgerQuery{})
	case *actor.Restarting, *actor.Stopping:
		r.schedule(ctx, time.Time{})
	case *messages.LedgerLoaded:
		r.load(ctx, m.Rows)
	case *messages.GapRecorded:
		r.learn(m.Row)
	case *messages.GapChanged:
		r.learn(m.Row)
	case *StartFetches:
		r.open, r.filter = true, m.Filter
	case *messages.StopFetches:
		r.open = false
		r.interrupt(ctx)
	case *messages.FetchReady:
		r.ready(ctx, m)
	case *sourceTold:
		r.told(ctx, m)
	case *fetchEnded:
		r.ended(ctx, m)
	case *messages.FetchDone:
		r.done(ctx, m)
	case *fetchAgain:
		if m != r.again {
			return
		}
		r.again = nil
	case *messages.RepairGap:
		r.order(ctx, m)
	case *messages.DismissGap:
		r.dismiss(ctx, m)
	case *priced:
		m.task.End(errOver)
	}
	r.next(ctx)
}

// load takes over the ledger. The writer that sends it knows of no fetch.
func (r *repairs) load(ctx actor.Context, rows []messages.GapRow) {
	if r.fetch != nil {
		r.fetch.end()
		r.fetch = nil
	}
	r.loaded = true
	clear(r.rows)
	for _, row := range rows {
		r.learn(row)
	}
}

// learn takes over a row, unless a newer version is known.
func (r *repairs) learn(row messages.GapRow) {
	if row.ID != "" && row.Version >= r.rows[row.ID].Version {
		r.rows[row.ID] = row
	}
}

// next begins the fetch that is due, if there is none under way.
func (r *repairs) next(ctx actor.Context) {
	for r.loaded && r.open && r.fetch == nil && r.again == nil && r.of.task == nil {
		rows := slices.SortedFunc(maps.Values(r.rows), func(a, b messages.GapRow) int {
			return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), cmp.Compare(a.ID, b.ID))
		})
		c := r.cfg.Policy.Choose(rows, r.failures, r.of.cfg.Clock.Now())
		switch {
		case c.Row.ID == "":
			r.schedule(ctx, c.At)
			return
		case c.Fetch:
			r.begin(ctx, c.Row)
		default:
			r.change(ctx, c.Row)
		}
	}
}

// schedule sets the time of the next look at the rows; zero sets none.
func (r *repairs) schedule(ctx actor.Context, at time.Time) {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if !at.IsZero() {
		// The message needs no owner: a look too many does no harm.
		r.timer = Later(ctx, r.of.cfg.Clock, max(at.Sub(r.of.cfg.Clock.Now()), time.Millisecond), &lookDue{})
	}
}

// lookDue is the actor's message to itself that a gap may be due.
type lookDue struct{}

// pause keeps the actor from choosing for a moment.
func (r *repairs) pause(ctx actor.Context) {
	r.again = &fetchAgain{}
	Later(ctx, r.of.cfg.Clock, onceMore, r.again)
}

// begin asks the writer for a fetch.
func (r *repairs) begin(ctx actor.Context, row messages.GapRow) {
	r.lastID++
	r.fetch = &fetch{id: r.lastID, row: row, began: r.of.cfg.Clock.Now()}
	r.emit(observe.GapRepairing, row, "source", string(row.Source), "gap_from", timeText(row.FromUS), "gap_to", timeText(row.ToUS),
		"host", row.Host, "attempt", row.Attempts, "planned_bytes", row.Planned)
	ctx.Send(r.of.cfg.Writer, &messages.BeginFetch{ID: r.fetch.id, Row: row})
}

// ready starts the source.
func (r *repairs) ready(ctx actor.Context, m *messages.FetchReady) {
	f := r.fetch
	if f == nil || f.id != m.ID || f.over {
		return
	}
	r.learn(m.Row)
	f.row = m.Row
	r.startFetch(ctx, f)
}

// interrupt ends the fetch under way. What it has handed over counts, and it goes on there later.
func (r *repairs) interrupt(ctx actor.Context) {
	f := r.fetch
	if f == nil || f.over {
		return
	}
	f.end()
	f.interrupted = true
	r.tellEnd(ctx, f)
}

// ended tells the writer that its batches were all.
func (r *repairs) ended(ctx actor.Context, m *fetchEnded) {
	f := r.fetch
	if f == nil || f.id != m.id || f.over {
		return
	}
	f.end()
	f.result, f.err = m.result, m.err
	r.tellEnd(ctx, f)
}

func (r *repairs) tellEnd(ctx actor.Context, f *fetch) {
	ctx.Send(r.of.cfg.Writer, &messages.EndFetch{ID: f.id, Batches: f.batches.Load(), Bytes: f.bytes.Load()})
}

// done decides what becomes of a gap once everything that was fetched of it is stored.
func (r *repairs) done(ctx actor.Context, m *messages.FetchDone) {
	f := r.fetch
	if f == nil || f.id != m.ID {
		return
	}
	f.end()
	r.fetch = nil
	if m.Row.ID == f.row.ID {
		r.learn(m.Row)
		r.count(f, m.Row)
	}
	if errors.Is(m.Err, messages.ErrNoGap) {
		delete(r.rows, f.row.ID)
		return
	}
	if m.Err != nil || f.interrupted {
		r.pause(ctx)
		return
	}
	row := m.Row
	var wait *backfill.WaitError
	moved := row.Recovered+row.Held > f.row.Recovered+f.row.Held
	switch {
	case f.err == nil || moved || errors.As(f.err, &wait):
		delete(r.failures, row.ID)
	}
	if f.err != nil && !errors.As(f.err, &wait) {
		r.failures[row.ID]++
		r.of.cfg.Observer.Metrics().RepairFail.WithLabelValues(r.of.cfg.Feed, string(row.Source)).Inc()
	}
	tried := len(row.Tried)
	row = r.cfg.Policy.After(row, f.result, f.err, r.failures[row.ID], r.of.cfg.Clock.Now())
	if len(row.Tried) > tried {
		delete(r.failures, row.ID)
	}
	r.tell(row, r.of.cfg.Clock.Since(f.began))
	r.change(ctx, row)
}

// count counts what a fetch has brought.
func (r *repairs) count(f *fetch, row messages.GapRow) {
	m, from := r.of.cfg.Observer.Metrics(), string(f.row.Source)
	m.Recovered.WithLabelValues(r.of.cfg.Feed, from).Add(float64(max(row.Recovered-f.row.Recovered, 0)))
	m.Downloaded.WithLabelValues(r.of.cfg.Feed, from).Add(float64(max(row.Bytes-f.row.Bytes, 0)))
}

// told shows what a source has told: how much there is to download, and whether it waits.
func (r *repairs) told(ctx actor.Context, m *sourceTold) {
	f := r.fetch
	if f == nil || f.id != m.id || f.over {
		return
	}
	row := r.rows[f.row.ID]
	waited := row.RetryAt
	row.Bytes = max(row.Bytes, f.row.Bytes+f.bytes.Load())
	if planned := f.planned.Load(); planned > 0 {
		row.Planned = f.row.Bytes + planned
	}
	row.State, row.RetryAt, row.Why = messages.GapRepairing, time.Time{}, ""
	if !m.until.IsZero() {
		row.State, row.RetryAt, row.Why = messages.GapWaiting, m.until, backfill.WaitingFor(row.Source, m.why)
		if !m.until.Equal(waited) {
			r.tell(row, 0)
		}
	}
	r.change(ctx, row)
}

// change asks the writer to change a row.
func (r *repairs) change(ctx actor.Context, row messages.GapRow) {
	r.rows[row.ID] = row // until the writer reports the next version
	ctx.Send(r.of.cfg.Writer, &messages.ChangeGap{Row: row})
}

// tell emits the log event of a row's new state.
func (r *repairs) tell(row messages.GapRow, took time.Duration) {
	from := string(row.Source)
	switch row.State {
	case messages.GapWaiting:
		r.emit(observe.GapWaiting, row, "source", from, "reason", row.Why, "attempt", row.Attempts, "retry_at", row.RetryAt.UTC().Format(time.RFC3339))
	case messages.GapRepaired:
		r.emit(observe.GapRepaired, row, "source", from, "recovered", row.Recovered, "held", row.Held, "bytes", row.Bytes,
			"missing", row.Missing, "took", took.String())
	case messages.GapPartly:
		r.emit(observe.GapPartly, row, "source", from, "recovered", row.Recovered, "held", row.Held, "bytes", row.Bytes,
			"missing", row.Missing, "reason", row.Why)
	case messages.GapUnrepairable:
		r.emit(observe.GapUnrepairable, row, "missing", row.Missing, "reason", row.Why)
	}
}

func (r *repairs) emit(e observe.Event, row messages.GapRow, args ...any) {
	r.of.cfg.Observer.Emit(e, r.of.cfg.Feed, append([]any{"gap", row.ID}, args...)...)
}

func timeText(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

// Refusals of commands about gaps.
var (
	errNotLoaded = fmt.Errorf("%w: the ledger is being read", messages.ErrNotNow)
	errNoSource  = fmt.Errorf("%w: the feed has no source to repair from", messages.ErrNotNow)
	errTooLarge  = fmt.Errorf("%w: the event is larger than max_message_size, and every source has it as it is", messages.ErrNotNow)
)

// find returns the row of a command.
func (r *repairs) find(id string) (row messages.GapRow, err error) {
	row, known := r.rows[id]
	switch {
	case !r.loaded:
		return row, errNotLoaded
	case !known:
		return row, messages.ErrNoGap
	}
	return row, nil
}

// order follows an operator's order to repair a gap.
func (r *repairs) order(ctx actor.Context, m *messages.RepairGap) {
	row, err := r.find(m.ID)
	switch {
	case err != nil:
	case len(r.cfg.Policy.Sources) == 0:
		err = errNoSource
	case row.Cause == messages.GapOversized:
		err = errTooLarge
	case m.DryRun:
		r.price(ctx, row)
		return
	case r.fetch == nil || r.fetch.row.ID != row.ID:
		delete(r.failures, row.ID)
		row = backfill.Ordered(row, r.of.cfg.Clock.Now())
		r.change(ctx, row)
	}
	ctx.Respond(&messages.GapAnswer{Row: row, Err: err})
}

// dismiss gives a gap up.
func (r *repairs) dismiss(ctx actor.Context, m *messages.DismissGap) {
	row, err := r.find(m.ID)
	if err == nil && !(row.State == messages.GapRepaired) {
		if r.fetch != nil && r.fetch.row.ID == row.ID {
			r.interrupt(ctx)
		}
		row = backfill.Dismissed(row, m.Why)
		r.emit(observe.GapDismissed, row, "recovered", row.Recovered, "reason", row.Why)
		r.change(ctx, row)
	}
	ctx.Respond(&messages.GapAnswer{Row: row, Err: err})
}
