package supervisor

import (
	"cmp"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/atproto"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// A feed without a position begins where its configuration says: with a replay of the socket, or
// with the server's archive. The archive is read by connections of their own kind, one after the
// other, until nothing more is sealed. The next connection is then a socket that is asked for the
// last number of the archive, so there is no seam. If the socket does not go back so far, because
// the archive took too long, what was sealed meanwhile is read first; that is less each time.

const (
	// mostSweeps is how often in a row the archive may be read again without getting nearer to the
	// socket.
	mostSweeps = 5
	// sweepRewind is how far a time is rewound if an archive is not the one that the position is
	// of. What the stream holds already is dropped.
	sweepRewind = time.Minute
	// fillTold is the time between two log events about a fill's progress.
	fillTold = time.Minute
)

// fill is what a life knows of the history that its feed begins with.
type fill struct {
	sweeping bool // the newest connection reads an archive
	replays  bool // it replays the socket from the feed's beginning
	atOnce   bool // the connection that ended is followed by the next one at once
	// swept is the host whose archive is read to its end, "" for none. The next connection to its
	// socket goes on behind it.
	swept   string
	refused bool // the archive cannot be had, or has nothing: the socket alone counts
	tooOld  bool // the socket does not go back to the beginning
	// byTime says that the numbers of the archive mean something else now.
	byTime bool

	// The way of the archive's end towards the socket's beginning: how far the last reading came,
	// how many numbers it read, and how many readings did not get nearer.
	through, span uint64
	far           int

	// What is shown of it.

	begun    bool
	beganAt  time.Time
	stored   uint64 // entries stored before
	told     time.Time
	bytes    int64 // downloaded by the readings of the archive before this one
	progress messages.SweepProgress
}

// beginning is how a connection of a feed begins that begins with history.
type beginning struct {
	checkpoint messages.Checkpoint // what the writer begins with
	begin      jetstream.Begin
	swept      bool            // the archive is read up to the checkpoint
	givenUp    bool            // the socket does not go back to the checkpoint
	archive    *actors.Archive // nil for the socket
	orArchive  bool
}

// begin decides where the next connection begins. It returns nil for a feed that goes on from its
// position, or that begins with what comes from now on.
func (l *life) begin(point *messages.ResumePoint, e jetstream.Endpoint) *beginning {
	f, cp := l.feed, point.Checkpoint
	l.fill.sweeping, l.fill.replays, l.fill.atOnce = false, false, false
	// A connection that ended before its first event has left the beginning as the position.
	begun := cp.Fill != nil && cp.Moment
	if (point.Found || point.Lost != nil) && !begun {
		if cp.Fill == nil {
			f.ignoreStart()
			return nil
		}
		return l.fillOn(cp, e)
	}
	f.status.startUsed = true
	var at int64
	switch start := f.cfg.Start.(type) {
	case config.StartEarliest:
		return socketFrom(e, jetstream.Begin{Earliest: true})
	case config.StartArchive:
		if l.fill.refused || l.fill.swept == e.Host() {
			return socketFrom(e, jetstream.Begin{Earliest: true}) // nothing is sealed yet
		}
		return &beginning{checkpoint: fillFrom(e, 0), archive: &actors.Archive{}}
	case config.StartAt:
		at = start.At.UnixMicro()
	case config.StartAgo:
		at = f.cfg.Clock.Now().Add(-start.Ago).UnixMicro()
	default:
		return nil
	}
	if begun && cp.Fill.SinceUS > 0 {
		at = cp.Fill.SinceUS // a time that is counted back from now moves on
	}
	archived := f.cfg.Archive != nil && l.archives(e) && !l.fill.refused && l.fill.swept != e.Host()
	if l.fill.tooOld && archived {
		return &beginning{checkpoint: fillFrom(e, at), archive: &actors.Archive{SinceUS: at}}
	}
	b := socketFrom(e, jetstream.Begin{US: at})
	b.orArchive = archived
	return b
}

// archives says whether the endpoint may have an archive.
func (l *life) archives(e jetstream.Endpoint) bool {
	return config.MayHaveArchive(l.feed.cfg.Protocol, e.Protocol())
}

// fillOn goes on with history of which a part is stored.
func (l *life) fillOn(cp messages.Checkpoint, e jetstream.Endpoint) *beginning {
	switch host := e.Host(); {
	case cp.Fill.Point == nil:
		return nil // as any replay of a socket is resumed
	case l.fill.far >= mostSweeps:
		return &beginning{checkpoint: cp, givenUp: true}
	case l.fill.swept == host && cp.Host == host && !l.fill.byTime:
		return &beginning{checkpoint: cp, swept: true}
	case cp.Host == host && !l.fill.byTime:
		return &beginning{checkpoint: cp, archive: &actors.Archive{Point: cp.Fill.Point}}
	}
	return &beginning{checkpoint: cp, archive: &actors.Archive{SinceUS: cp.TimeUS - sweepRewind.Microseconds()}}
}

// fillFrom is the checkpoint of a feed that begins at a time, Unix µs. 0 is before everything.
func fillFrom(e jetstream.Endpoint, us int64) messages.Checkpoint {
	return messages.Checkpoint{
		Position: messages.Position{Host: e.Host(), TimeUS: cmp.Or(us, atproto.FirstTime), Moment: true},
		Fill:     &messages.Fill{SinceUS: us},
	}
}

func socketFrom(e jetstream.Endpoint, b jetstream.Begin) *beginning {
	return &beginning{checkpoint: fillFrom(e, b.US), begin: b}
}

// ignoreStart says once that the feed has a position, so that its configured start means nothing.
func (f *feed) ignoreStart() {
	if s := f.status; !s.startUsed {
		s.startUsed = true
		if _, live := f.cfg.Start.(config.StartLive); !live && f.cfg.Start != nil {
			f.cfg.Observer.Emit(observe.StartIgnored, f.cfg.Name, "start", config.ShowStart(f.cfg.Start))
		}
	}
}

// sweepPlan is the plan of a connection to the archive. With a point nothing comes again.
func sweepPlan(b *beginning) jetstream.Plan {
	plan := jetstream.Plan{From: b.checkpoint.Position}
	if b.archive.Point == nil && b.checkpoint.Fill.Point != nil {
		plan.Overlap = jetstream.OverlapFull
	}
	return plan
}

// fillEnded notes how a connection ended that has to do with the feed's history.
func (l *life) fillEnded(host string, e *actors.Ended) {
	s := &l.fill
	if e.Sweep != nil {
		s.bytes += e.Sweep.Bytes
		s.progress = messages.SweepProgress{Through: e.Sweep.Through, Skipped: e.Sweep.Skipped}
	}
	switch {
	case s.sweeping && e.Swept:
		s.swept, s.byTime, s.atOnce = host, false, true
	case s.sweeping && e.SeqReset:
		s.byTime, e.SeqReset = true, false
	case s.sweeping && e.Permanent:
		// A feed that is to begin with the archive waits for it. Another one has the socket.
		_, wanted := l.feed.cfg.Start.(config.StartArchive)
		s.refused = s.refused || !wanted && s.tooOld
		s.atOnce = s.refused
	case s.sweeping:
	case e.TooOld && s.swept == host:
		span := s.progress.Through - min(s.through, s.progress.Through)
		s.swept, e.SeqReset, s.atOnce = "", false, span > 0
		if s.span > 0 && span < s.span {
			s.far = 0
		} else {
			s.far++
		}
		s.through, s.span = s.progress.Through, span
	case e.TooOld && s.replays:
		s.tooOld, s.atOnce = true, true
	case e.SeqReset && s.swept == host:
		s.swept, s.byTime, e.SeqReset = "", true, false // the host's numbers began anew
	}
}

// sweeping: the archive is being read.
type sweeping struct {
	dialled
	at time.Time
}

func (p *sweeping) receive(ctx actor.Context) {
	m, beats := ctx.Message().(*messages.Heartbeat)
	switch {
	case !beats:
		p.dialled.receive(ctx)
	case m.Epoch == p.feed.epoch && m.Sweep != nil:
		p.heartbeat(m)
	}
}

// show enters filling, or the state that keeps the feed from it. A wait for the archive's quota is
// shown as the reason.
func (p *sweeping) show() bool {
	s := p.feed.status
	switch wait := p.fill.progress; {
	case p.stalled != "":
		s.enter(messages.StateBackpressured, p.stalled)
	case !wait.WaitUntil.IsZero():
		s.enter(messages.StateFilling, fmt.Sprintf("waiting until %s: %s", wait.WaitUntil.UTC().Format(time.RFC3339), wait.Why))
	default:
		s.enter(messages.StateFilling, "")
	}
	return true
}

func (p *sweeping) heartbeat(m *messages.Heartbeat) {
	f := p.feed
	p.fill.progress = *m.Sweep
	if m.Blocked >= blockedFor && p.stalled == "" {
		f.status.enter(messages.StateBackpressured, "the store does not keep up")
	} else {
		p.show()
	}
	f.showFill(m.At)
}

// showFill shows how far the history has come: in the status, and once a minute in the log.
func (f *feed) showFill(now time.Time) {
	l, s := &f.life.fill, f.status
	if !l.begun {
		l.begun, l.beganAt, l.stored, l.told = true, now, s.Stored, now
	}
	p := l.progress
	status := &messages.FillStatus{Source: messages.SourceSocket, Since: l.beganAt, Events: s.Stored - l.stored, Skipped: p.Skipped,
		Bytes: l.bytes + p.Bytes}
	if p.Planned > 0 {
		status.PlannedBytes = l.bytes + p.Planned
	}
	if d := now.Sub(l.beganAt); d > 0 {
		status.EventsPerSec = float64(status.Events) / d.Seconds()
	}
	if l.sweeping {
		status.Source = messages.SourceArchive
		status.WaitUntil, status.Why = p.WaitUntil, p.Why
		if p.Sealed > p.From && p.Through >= p.From {
			status.Done = float64(p.Through-p.From) / float64(p.Sealed-p.From)
		}
	}
	if status.Done > 0 && status.Done < 1 && p.WaitUntil.IsZero() {
		status.ETASeconds = int64(now.Sub(l.beganAt).Seconds() * (1 - status.Done) / status.Done)
	}
	s.Fill = status
	if now.Sub(l.told) >= fillTold {
		l.told = now
		f.cfg.Observer.Emit(observe.FillProgress, f.cfg.Name, fillFields(s)...)
	}
}

func fillFields(s *feedStatus) []any {
	p := s.Fill
	fields := []any{"source", string(p.Source), "events", p.Events, "events_per_s", int64(p.EventsPerSec), "done", fmt.Sprintf("%.3f", p.Done),
		"eta", (time.Duration(p.ETASeconds) * time.Second).String(), "bytes", p.Bytes, "planned_bytes", p.PlannedBytes}
	if at := s.Position.TimeUS; at > 0 {
		fields = append(fields, "reached", showTime(at))
	}
	return fields
}

// fillLive follows the history on the socket, until the feed has reached the tip.
func (f *feed) fillLive(m *messages.Heartbeat) {
	l, s := &f.life.fill, f.status
	if !l.begun {
		return
	}
	f.showFill(m.At)
	if !s.tip.After(l.beganAt) {
		return
	}
	f.cfg.Observer.Emit(observe.FillDone, f.cfg.Name, fillFields(s)...)
	l.begun, s.Fill = false, nil
}
