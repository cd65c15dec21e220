package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/crashpoint"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// CursorConfig is what a cursor needs.
type CursorConfig struct {
	Feed        string
	Stream      persistence.Stream          // the truth: its checkpoint commits with the entries
	Checkpoints persistence.CheckpointStore // the cursor's own saves
	// SeparateStore says that the checkpoints are kept in another place than the stream. Then they
	// show when the stream's end was lost.
	SeparateStore bool
	Filters       FilterStore   // present and former filters; nil: not saved
	Interval      time.Duration // between two saves while events flow
	ReplayWindow  time.Duration // beyond it an upstream is not asked to replay
	Clock         clockwork.Clock
	Observer      *observe.Observer
	Fault         Fault
}

// NewCursor makes the props of the actor that knows the position of a feed.
//
// The stream stores the position that counts, with the entries that it covers. The cursor's own
// checkpoint adds changes that come without an append: frames that the filter rejects, and the
// moments at which a quiet connection was known to be at the tip.
func NewCursor(cfg CursorConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &cursor{cfg: cfg} })
}

type cursor struct {
	Tasks
	cfg     CursorConfig
	task    *Task // loads and saves
	latest  messages.Checkpoint
	found   bool
	lost    *messages.Gap       // what the store has lost, until something is stored again
	filters *messages.FilterLog // as saved last, nil while that is not known
	wanted  *messages.FilterLog // still to be saved, nil for none
	writing bool                // filters are being saved
	// The writer has reported a commit since the start: the loaded checkpoint is older.
	newer  bool
	dirty  bool      // latest is not saved
	warned time.Time // when the last warning about the age was logged

	ready bool          // the stored checkpoint is loaded
	query *waitingQuery // the newest query that came before that, nil for none

	due     clockwork.Timer // the next throttled save, nil when none is due
	saving  bool
	cause   string        // of the newest request for a save, "" once that save begins
	waiters []*actor.PID  // actors that wait for a save, each once
	failing time.Time     // since when saves fail, zero while they succeed
	wait    time.Duration // until the next save while they fail
}

// waitingQuery is a ResumeQuery that waits for its answer.
type waitingQuery struct {
	from  *actor.PID
	epoch messages.Epoch
}

// The cursor's messages to itself.
type (
	loaded struct {
		latest  messages.Checkpoint
		found   bool
		lost    *messages.Gap
		filters *messages.FilterLog
		err     error
	}
	saveDue  struct{}
	saveDone struct {
		cause string
		saved messages.Checkpoint
		err   error
	}
)

// saveTimeout bounds one save. After it a store that hangs is tried again.
const saveTimeout = 10 * time.Second

// agingShare is the share of the replay window at which the cursor warns of its age.
const agingShare = 0.75

// Receive implements actor.Actor.
func (c *cursor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		c.start(ctx)
	case *loaded:
		c.takeOver(ctx, m)
	case *actor.Restarting, *actor.Stopping:
		c.stop()
	case *messages.Committed:
		if m.Entries > 0 {
			c.lost = nil
		}
		c.committed(m.Checkpoint)
		c.schedule(ctx)
	case *messages.AtTip:
		c.atTip(ctx, m.At)
	case *messages.ResumeQuery:
		c.resume(ctx, m)
	case *messages.SaveCheckpoint:
		c.cause = m.Cause
		if who := ctx.Sender(); who != nil && !slices.ContainsFunc(c.waiters, who.Equal) {
			c.waiters = append(c.waiters, who)
		}
		c.save(ctx)
	case *messages.SaveFilters:
		c.saveFilters(m.Log)
	case *filtersWritten:
		c.filtersWritten(m.err)
	case *saveDue:
		c.due = nil
		c.cause = "interval"
		c.save(ctx)
	case *saveDone:
		c.saved(ctx, m)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

// committed takes over the checkpoint that the writer has stored. A checkpoint that is still being
// loaded is older.
func (c *cursor) committed(cp messages.Checkpoint) {
	if c.found && cp.Host == c.latest.Host && cp.TimeUS >= c.latest.TimeUS {
		cp.AtTip = max(cp.AtTip, c.latest.AtTip)
	}
	c.latest, c.found, c.dirty, c.newer = cp, true, true, true
}

// atTip moves the moment up to which nothing is missing. The time belongs to the clock of the
// connected host. It says nothing about a position of another host.
func (c *cursor) atTip(ctx actor.Context, at messages.UpstreamTime) {
	if c.found && at.Host != "" && at.Host == c.latest.Host && at.US > c.latest.AtTip {
		c.latest.AtTip, c.dirty = at.US, true
		c.schedule(ctx)
	}
	c.warnOfAge()
}

// resume answers the question where to resume, once the stored checkpoint is loaded.
func (c *cursor) resume(ctx actor.Context, m *messages.ResumeQuery) {
	if !c.ready {
		// A query about an older epoch needs no answer any more.
		c.query = &waitingQuery{ctx.Sender(), m.Epoch}
		return
	}
	c.warnOfAge()
	ctx.Respond(c.resumePoint(m.Epoch))
}

// start loads the stored checkpoint in a task, because a store may be unavailable for long.
func (c *cursor) start(ctx actor.Context) {
	c.task = c.NewTask(ctx)
	root, feed := ctx.ActorSystem().Root, ctx.Parent()
	c.task.Start("cursor.load", func(ctx context.Context) any {
		m := &loaded{}
		var since time.Time
		told := ""
		m.err = retry(ctx, c.cfg.Clock, nil, func(err error, wait time.Duration) {
			if since.IsZero() {
				since = c.cfg.Clock.Now()
				c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", err.Error(), "retry_in", wait.String())
			}
			if reason := StoreReason(err); reason != told {
				told = reason
				root.Send(feed, &messages.CursorTrouble{Reason: reason})
			}
		}, func() (err error) {
			if m.latest, m.found, m.lost, err = c.load(ctx); err == nil {
				m.filters = c.loadFilters(ctx)
			}
			return err
		})
		if m.err == nil && told != "" {
			c.recovered(since)
			root.Send(feed, &messages.CursorTrouble{})
		}
		return m
	})
}

// takeOver takes over the loaded checkpoint, and answers the query that came meanwhile.
func (c *cursor) takeOver(ctx actor.Context, m *loaded) {
	if m.err != nil {
		panic(m.err)
	}
	if !c.newer {
		c.latest, c.found = m.latest, m.found
	}
	c.lost, c.ready = m.lost, true
	if c.filters == nil {
		c.filters = m.filters
	}
	if q := c.query; q != nil {
		ctx.Send(q.from, c.resumePoint(q.epoch))
		c.query = nil
	}
}

// recovered reports that checkpoints are read and written again.
func (c *cursor) recovered(since time.Time) {
	c.cfg.Observer.Emit(observe.CursorRecovered, c.cfg.Feed, "after", c.cfg.Clock.Since(since).String())
}

// resumePoint is the answer to the question where to resume.
func (c *cursor) resumePoint(epoch messages.Epoch) *messages.ResumePoint {
	return &messages.ResumePoint{Epoch: epoch, Checkpoint: c.latest, Found: c.found, Lost: c.lost, Filters: c.filters}
}

// load reads the stream's checkpoint and the saved one. The saved one may be ahead of the stream's
// by frames that were passed over without an append. It does not count if it is about entries that
// the stream does not hold, because the stream's end was lost or another daemon has appended since.
// If the stream has no checkpoint although it held entries, load derives a position from everything
// that is known of them, so that the upstream is asked for all of those events that it may still
// have.
func (c *cursor) load(ctx context.Context) (latest messages.Checkpoint, found bool, lost *messages.Gap, err error) {
	stored, err := c.cfg.Stream.Checkpoint(ctx)
	found = err == nil
	if err != nil && !errors.Is(err, persistence.ErrNoCheckpoint) {
		return latest, false, nil, fmt.Errorf("load the stream's checkpoint: %w", err)
	}
	saved, err := c.cfg.Checkpoints.LoadCheckpoint(ctx, c.cfg.Feed)
	known := err == nil
	if err != nil && !errors.Is(err, persistence.ErrNoCheckpoint) {
		return latest, false, nil, fmt.Errorf("load the checkpoint: %w", err)
	}
	info, err := c.cfg.Stream.Info(ctx)
	if err != nil {
		return latest, false, nil, fmt.Errorf("look at the stream: %w", err)
	}
	if known && c.cfg.SeparateStore && saved.LastID.Compare(stored.LastID) > 0 {
		c.cfg.Observer.Emit(observe.StoreTruncated, c.cfg.Feed, "expected", saved.LastID.String(), "found", stored.LastID.String())
	}
	switch {
	case known && saved.LastID == stored.LastID && saved.Saved >= stored.Saved && (found || info.Lost == nil):
		return saved, true, nil, nil
	case found || !known && info.Lost == nil:
		return stored, found, nil, nil
	}
	position, gap := c.lostPosition(info.Lost, saved)
	return messages.Checkpoint{Position: position}, true, gap, nil
}

// lostPosition is where to resume a stream that has lost all its entries, and the gap if the
// upstream does not send them again. The IDs of the lost entries tell their times.
func (c *cursor) lostPosition(lost *persistence.Truncation, saved messages.Checkpoint) (messages.Position, *messages.Gap) {
	oldest, newest := saved.FirstUS, max(saved.LastID.TimeUS(), saved.Covered().US)
	if lost != nil {
		oldest, newest = cmp.Or(lost.Oldest.TimeUS(), oldest), max(lost.Expected.TimeUS(), newest)
	}
	reach := c.cfg.Clock.Now().Add(-c.cfg.ReplayWindow).Add(replayMargin).UnixMicro()
	from := max(reach, oldest)
	oldest = cmp.Or(oldest, newest)
	return messages.Position{TimeUS: from}, &messages.Gap{Host: saved.Host, FromUS: min(oldest, from), Cause: messages.GapStoreLost}
}

// replayMargin keeps the oldest possible position within the replay window until it is used.
const replayMargin = time.Minute

func (c *cursor) schedule(ctx actor.Context) {
	if c.due != nil || !c.dirty {
		return
	}
	c.due = Later(ctx, c.cfg.Clock, max(c.cfg.Interval, c.wait), &saveDue{})
}

// save writes the latest checkpoint unless a save is under way. A change during a save is saved
// after it.
func (c *cursor) save(ctx actor.Context) {
	if c.saving {
		return
	}
	if !c.dirty || !c.found {
		c.cause = ""
		c.answerWaiters(ctx, nil)
		return
	}
	cause, cp := c.cause, c.latest
	c.saving, c.dirty, c.cause = true, false, ""
	cp.Saved = c.cfg.Clock.Now().UnixMicro()
	c.task.Start("cursor.save", func(ctx context.Context) any {
		limited, cancel := clockwork.WithTimeout(ctx, c.cfg.Clock, saveTimeout)
		defer cancel()
		crashpoint.Pass(crashpoint.CursorSave)
		err := c.cfg.Checkpoints.SaveCheckpoint(limited, c.cfg.Feed, cp)
		crashpoint.Pass(crashpoint.CursorSaved)
		return &saveDone{cause, cp, err}
	})
}

func (c *cursor) saved(ctx actor.Context, m *saveDone) {
	c.saving = false
	if m.err != nil {
		c.dirty = true
		c.wait = nextWait(c.wait, m.err)
		// A failure is reported once when it begins, and once when it is over.
		if c.failing.IsZero() {
			c.failing = c.cfg.Clock.Now()
			c.cfg.Observer.Emit(observe.CursorFailed, c.cfg.Feed, "error", m.err.Error(), "retry_in", max(c.cfg.Interval, c.wait).String())
		}
		c.answerWaiters(ctx, m.err)
		c.schedule(ctx)
		return
	}
	if !c.failing.IsZero() {
		c.recovered(c.failing)
		c.failing, c.wait = time.Time{}, 0
	}
	c.cfg.Observer.Emit(observe.CursorSaved, c.cfg.Feed, "cause", m.cause, "host", m.saved.Host, "seq", m.saved.Seq,
		"time_us", m.saved.TimeUS, "last_id", m.saved.LastID.String())
	if c.dirty && c.cause != "" { // the checkpoint changed during the save
		c.save(ctx)
		return
	}
	c.answerWaiters(ctx, nil)
	c.schedule(ctx)
}

func (c *cursor) answerWaiters(ctx actor.Context, err error) {
	for _, who := range c.waiters {
		ctx.Send(who, &messages.CheckpointSaved{Err: err})
	}
	c.waiters = nil
}

// warnOfAge warns, at most once an hour, that the position nears the age beyond which no upstream
// is asked to replay from it.
func (c *cursor) warnOfAge() {
	if !c.found || c.latest.Fill != nil { // history is old
		return
	}
	now := c.cfg.Clock.Now()
	age := now.Sub(time.UnixMicro(c.latest.Covered().US))
	if age.Seconds() < agingShare*c.cfg.ReplayWindow.Seconds() || now.Sub(c.warned) < time.Hour {
		return
	}
	c.warned = now
	c.cfg.Observer.Emit(observe.CursorAging, c.cfg.Feed, "age", age.Round(time.Second).String(), "window", c.cfg.ReplayWindow.String())
}

func (c *cursor) stop() {
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
}
