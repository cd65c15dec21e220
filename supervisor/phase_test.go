package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// turn is a turn of the feed. It keeps what is sent, and its tree has no actors.
type turn struct {
	actor.Context
	message any
	sent    []string // "receiver type"
	kept    []any    // the same messages
}

func (t *turn) Message() any           { return t.message }
func (t *turn) Self() *actor.PID       { return actor.NewPID("", "feed") }
func (t *turn) Children() []*actor.PID { return nil }
func (t *turn) Send(to *actor.PID, m any) {
	t.sent, t.kept = append(t.sent, to.Id+" "+kindOf(m)), append(t.kept, m)
}
func (t *turn) Request(to *actor.PID, m any)  { t.Send(to, m) }
func (t *turn) RestartChildren(...*actor.PID) {}
func (t *turn) EscalateFailure(any, any)      {}
func (t *turn) ResumeChildren(...*actor.PID)  {}
func (t *turn) StopChildren(...*actor.PID)    {}
func (t *turn) ActorSystem() *actor.ActorSystem {
	return &actor.ActorSystem{}
}

// kindOf is the name of a type, without its package.
func kindOf(v any) string {
	name := fmt.Sprintf("%T", v)
	return name[strings.LastIndexByte(name, '.')+1:]
}

// lifeOf makes a life of a feed without an actor tree.
func lifeOf(t *testing.T, shared bool) *life {
	t.Helper()
	upstream, err := config.ParseEndpoint("ws://127.0.0.1:6008")
	if err != nil {
		t.Fatal(err)
	}
	clock, o := clockwork.NewFakeClock(), observe.Discard()
	cfg := feedConfig{Clock: clock, Observer: o, Monotonic: func() time.Duration { return time.Second }, Feed: config.Feed{
		Name: "bluesky", Endpoints: []config.Endpoint{upstream}, Backoff: []time.Duration{time.Second}, ReplayWindow: time.Hour}}
	f := &feed{cfg: cfg, status: newFeedStatus("bluesky", filterOf(cfg.Feed), clock, o),
		endpoints: NewEndpoints(upstreams(cfg.Feed), cfg.Backoff, rand.New(rand.NewPCG(1, 2))), faults: Intensity{Max: 5, Window: time.Minute}}
	l := &life{feed: f, restarts: map[string]*restart{}}
	for name, pid := range map[string]**actor.PID{"cursor": &l.cursor, "writer": &l.writer, "watchdog": &l.watchdog, "connection": &l.connection, "backfill": &l.backfill} {
		*pid = actor.NewPID("", name)
	}
	if shared {
		f.cfg.Lease, f.holder, f.wanted = &leaseConfig{}, actor.NewPID("", "lease_holder"), true
		l.lease = messages.Lease{Stream: "bluesky", Epoch: 1}
	}
	f.life, f.epoch = l, 1
	return l
}

// fromActors are the messages of a life's actors to the feed.
var fromActors = []any{
	&messages.ConnectionReady{}, &messages.Quiesced{}, &messages.ResumePoint{}, &actors.Connected{}, &messages.ReadingStopped{}, &messages.Committed{},
	&messages.Proven{}, &messages.NoOverlap{}, &messages.GapRecorded{}, &messages.WriterTrouble{Reason: "full"}, &messages.WriterTrouble{},
	&messages.CursorTrouble{Reason: "away"}, &messages.ReadAgain{}, &messages.Heartbeat{}, &messages.Suspicion{}, &messages.Stalled{}, &messages.BackfillDone{},
	&messages.Drained{}, &messages.CheckpointSaved{}, &messages.Fenced{}, &messages.StreamClosed{}, &messages.StreamMoved{}, &messages.LeaseLost{},
}

// A message of a former life's actor comes in one of the phases before the next life starts, and
// changes nothing there.
func TestAFormerLifeReachesNothing(t *testing.T) {
	for _, in := range []func(*life) phase{
		func(l *life) phase { return &ending{inert{l}} },
		func(l *life) phase { return &due{inert{l}} },
		func(l *life) phase { return &standby{inert: inert{l}} },
	} {
		for _, m := range fromActors {
			l := lifeOf(t, true)
			l.lease = messages.Lease{}
			l.phase = in(l)
			before, status := *l, l.feed.status.FeedStatus
			ctx := &turn{message: m}
			l.phase.receive(ctx)
			if len(ctx.sent) > 0 || !reflect.DeepEqual(*l, before) || !reflect.DeepEqual(l.feed.status.FeedStatus, status) {
				t.Errorf("%s in %s: sent %v; %+v", kindOf(m), kindOf(before.phase), ctx.sent, *l)
			}
		}
	}
}

// TestPhases tests what follows what, a row a step.
func TestPhases(t *testing.T) {
	receive := func(m any) func(*life, *turn) {
		return func(l *life, ctx *turn) { ctx.message = m; l.phase.receive(ctx) }
	}
	halt := func(l *life, ctx *turn) { l.phase.halt(ctx) }
	resume := func(l *life, ctx *turn) { l.phase.resume(ctx) }
	leave := func(l *life, ctx *turn) { l.phase.leave(ctx) }
	ended := func(l *life, ctx *turn) { l.phase.failed(ctx, l.connection, &actors.Ended{Epoch: 1}, nil) }
	holder := func(l *life, ctx *turn) { l.phase.holderRestarted(ctx) }
	paused := func(l *life) { l.feed.paused = true }
	leaving := func(l *life) { l.leaving = true }
	closed := func(l *life) { l.closed = true }

	for _, row := range []struct {
		name string
		in   func(running) phase
		but  func(*life) // nil: nothing is special
		what func(*life, *turn)
		want string
		sent string // the last message that is sent, "" for none
	}{
		{"ready", atStart, nil, receive(&messages.ConnectionReady{}), "preparing", "writer Quiesce"},
		{"ready and paused", atStart, paused, receive(&messages.ConnectionReady{}), "idle", ""},
		{"ready and closed", atStart, closed, receive(&messages.ConnectionReady{}), "idle", ""},
		{"ready and leaving", atStart, leaving, receive(&messages.ConnectionReady{}), "draining", "writer Drain"},
		{"leaves before it is ready", atStart, nil, leave, "starting", "backfill StopBackfill"},
		{"fails before it is ready, and leaves", atStart, leaving, ended, "draining", "writer Drain"},
		{"an answer that is not due", atStart, nil, receive(&messages.ReadingStopped{}), "starting", ""},

		{"the writer is done", atPreparing, func(l *life) { l.quiescing = 1 }, receive(&messages.Quiesced{Epoch: 1}), "preparing", "cursor ResumeQuery"},
		{"the writer is done with another epoch", atPreparing, func(l *life) { l.quiescing = 2 }, receive(&messages.Quiesced{Epoch: 1}), "preparing", ""},
		{"the position is known", atPreparing, nil, receive(&messages.ResumePoint{Epoch: 1}), "connecting", "connection Connect"},
		{"the position of an older epoch", atPreparing, nil, receive(&messages.ResumePoint{}), "preparing", ""},
		{"halted while it prepares", atPreparing, nil, halt, "stopping", "connection StopReading"},
		{"ready a second time", atPreparing, nil, receive(&messages.ConnectionReady{}), "preparing", ""},

		{"open", atConnecting, nil, receive(&actors.Connected{Epoch: 1}), "connected", "watchdog Watch"},
		{"open in an older epoch", atConnecting, nil, receive(&actors.Connected{}), "connecting", ""},
		{"refused", atConnecting, nil, ended, "waiting", "cursor SaveCheckpoint"},
		{"read again", atConnecting, nil, receive(&messages.ReadAgain{Epoch: 1}), "connecting", "connection ForceReconnect"},

		{"disconnected", atConnected, nil, ended, "waiting", "cursor SaveCheckpoint"},
		{"halted", atConnected, nil, halt, "stopping", "connection StopReading"},
		{"leaves", atConnected, nil, leave, "stopping", "connection StopReading"},
		{"the stream is closed", atConnected, nil, receive(&messages.StreamClosed{Reason: "done"}), "stopping", "connection StopReading"},
		{"the lease is lost", atConnected, nil, receive(&messages.LeaseLost{Lease: messages.Lease{Stream: "bluesky", Epoch: 1}}), "due", "feed lifeDue"},
		{"a former lease is lost", atConnected, nil, receive(&messages.LeaseLost{}), "connected", ""},
		{"the lease holder holds nothing any more", atConnected, nil, holder, "due", "feed lifeDue"},

		{"stopped", atStopping, nil, receive(&messages.ReadingStopped{}), "preparing", "writer Quiesce"},
		{"stopped and paused", atStopping, paused, receive(&messages.ReadingStopped{}), "idle", "cursor SaveCheckpoint"},
		{"stopped and leaving", atStopping, leaving, receive(&messages.ReadingStopped{}), "draining", "writer Drain"},
		{"fails while it stops, and leaves", atStopping, leaving, ended, "draining", "writer Drain"},
		{"fails while it stops, and is paused", atStopping, paused, ended, "waiting", "cursor SaveCheckpoint"},

		{"resumed", atIdle, nil, resume, "preparing", "writer Quiesce"},
		{"idle leaves", atIdle, nil, leave, "draining", "writer Drain"},
		{"idle leaves a closed stream", atIdle, closed, leave, "saving", "cursor SaveCheckpoint"},

		{"the wait ends early", atWaiting, nil, resume, "starting", ""},
		{"halted in its wait", atWaiting, nil, halt, "waiting", "backfill StopBackfill"},
		{"leaves in its wait", atWaiting, nil, leave, "draining", "writer Drain"},
		{"a message of its suspended mailbox", atWaiting, nil, receive(&messages.ConnectionReady{}), "waiting", ""},

		{"drained", atDraining, leaving, receive(&messages.Drained{}), "saving", "cursor SaveCheckpoint"},
		{"closed before it is drained", atDraining, leaving, receive(&messages.StreamClosed{}), "saving", "cursor SaveCheckpoint"},
		{"told to leave again", atDraining, leaving, leave, "draining", ""},
		{"drained twice", atSaving, leaving, receive(&messages.Drained{}), "saving", ""},
		{"saved", atSaving, leaving, receive(&messages.CheckpointSaved{}), "releasing", "lease_holder ReleaseLease"},
		{"released", atReleasing, leaving, receive(&messages.LeaseReleased{}), "due", "feed lifeDue"},
	} {
		l := lifeOf(t, true)
		l.phase = row.in(runs(l))
		if row.but != nil {
			row.but(l)
		}
		ctx := &turn{}
		row.what(l, ctx)
		sent := ""
		if n := len(ctx.sent); n > 0 {
			sent = ctx.sent[n-1]
		}
		if got := kindOf(l.feed.life.phase); got != row.want || sent != row.sent {
			t.Errorf("%s: %s, last sent %q; want %s, %q", row.name, got, sent, row.want, row.sent)
		}
	}
}

func atStart(r running) phase      { return &starting{r} }
func atPreparing(r running) phase  { return &preparing{r} }
func atConnecting(r running) phase { return &connecting{dialled{r}} }
func atConnected(r running) phase  { return &connected{dialled: dialled{r}} }
func atStopping(r running) phase   { return &stopping{r} }
func atIdle(r running) phase       { return &idle{r} }
func atDraining(r running) phase   { return &draining{finishing{r}} }
func atSaving(r running) phase     { return &saving{finishing{r}} }
func atReleasing(r running) phase  { return &releasing{finishing{r}} }

func atWaiting(r running) phase {
	r.restarts[r.connection.Id] = &restart{pid: r.connection}
	return &waiting{r}
}

// The end of a life cancels the restarts of its own actors, and not that of the lease holder.
func TestALifeThatEndsLeavesTheLeaseHolderAlone(t *testing.T) {
	l := lifeOf(t, true)
	f := l.feed
	l.phase = atConnected(runs(l))
	ctx := &turn{}
	f.HandleFailure(nil, ctx, f.holder, nil, errors.New("fault"), nil)
	pending := f.holderRestart
	if pending == nil {
		t.Fatal("no restart of the lease holder is pending")
	}
	l.lose(ctx, "an append was refused", "other")
	f.restartActor(ctx, pending)
	if f.holderRestart != nil || kindOf(f.life.phase) != "due" {
		t.Errorf("the restart %v is pending in %s", f.holderRestart, kindOf(f.life.phase))
	}
}

// A quiet connection that answers a ping is at the tip, by its host's clock. It is not while it has to
// prove that nothing is missing, or waits for the writer.
func TestWhenAConnectionIsAtTheTip(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		change func(*connected, *messages.Heartbeat)
		want   bool
	}{
		"quiet":                {func(*connected, *messages.Heartbeat) {}, true},
		"busy":                 {func(_ *connected, m *messages.Heartbeat) { m.LastFrame = m.Pong.Add(-time.Second) }, false},
		"not proven":           {func(p *connected, m *messages.Heartbeat) { p.continuity.unproven = true }, false},
		"events to pass over":  {func(p *connected, m *messages.Heartbeat) { p.continuity.skip = true }, false},
		"waits for the writer": {func(_ *connected, m *messages.Heartbeat) { m.Blocked = time.Millisecond }, false},
		"the same pong":        {func(p *connected, m *messages.Heartbeat) { p.pong = m.Pong }, false},
	} {
		l := lifeOf(t, false)
		p := &connected{dialled: dialled{runs(l)}, at: at}
		l.phase = p
		m := &messages.Heartbeat{Epoch: 1, At: at.Add(5 * time.Minute), LastFrame: at, Pong: at.Add(4 * time.Minute), TipUS: 7, PresentUS: 9}
		c.change(p, m)
		ctx := &turn{message: m}
		p.receive(ctx)
		told := false
		for _, sent := range ctx.kept {
			if tip, ok := sent.(*messages.AtTip); ok {
				if told = true; tip.At.US != 7 || tip.At.Host != l.feed.endpoints.Current().Host() {
					t.Errorf("%s: the tip is %+v", name, tip.At)
				}
			}
		}
		if told != c.want {
			t.Errorf("%s: it is at the tip: %v", name, told)
		}
	}
}
