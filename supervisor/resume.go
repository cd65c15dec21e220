package supervisor

import (
	"cmp"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// preparing: the writer and the cursor are asked what the next epoch follows.
type preparing struct{ running }

// prepare begins an epoch. It dials only when the writer has finished the batches of the last
// epoch. So the request asks for the newest position, and a writer that waits for disk space gets
// no more batches.
func (l *life) prepare(ctx actor.Context) {
	f := l.feed
	l.phase = &preparing{runs(l)}
	f.epoch++
	f.status.Epoch, f.status.Endpoint = f.epoch, f.endpoints.Current().String()
	if f.epoch > 1 {
		f.status.Reconnects++
	}
	l.phase.show()
	// At most one Quiesce is under way: its answer about an earlier epoch serves this one too,
	// because no epoch has begun since the question.
	if l.quiescing == 0 {
		l.quiescing = f.epoch
		ctx.Send(l.writer, &messages.Quiesce{Epoch: f.epoch})
	}
}

// quiesced says whether the message answers the Quiesce that is under way.
func (l *life) quiesced(m *messages.Quiesced) bool {
	if m.Epoch != l.quiescing {
		return false
	}
	l.quiescing = 0
	return true
}

func (p *preparing) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *messages.Quiesced:
		if p.quiesced(m) {
			ctx.Request(p.cursor, &messages.ResumeQuery{Epoch: p.feed.epoch})
		}
	case *messages.ResumePoint:
		if m.Epoch != p.feed.epoch {
			return
		}
		if m.Found {
			p.feed.status.resumed(m.Checkpoint)
		}
		p.connect(ctx, m)
	default:
		p.running.receive(ctx)
	}
}

// show enters the state of an epoch that has begun and is not connected yet.
func (p *preparing) show() bool {
	f := p.feed
	switch trouble := cmp.Or(p.stalled, p.unread); {
	case trouble != "":
		f.status.enter(messages.StateBackpressured, trouble)
	case f.epoch == 1:
		f.status.enter(messages.StateConnecting, "started")
	default:
		f.status.enter(messages.StateReconnecting, "")
	}
	return true
}

func (p *preparing) halt(ctx actor.Context) {
	p.running.halt(ctx)
	p.stopReading(ctx)
}

// requestGap does nothing: connect asks for the gap in the new epoch.
func (p *preparing) requestGap(actor.Context, messages.Gap) {}

// restarted begins another epoch: the message at which the actor failed is lost, and may have been
// the question of this one.
func (p *preparing) restarted(ctx actor.Context, _ *actor.PID) { p.prepare(ctx) }

// connect plans the resume and dials.
func (p *preparing) connect(ctx actor.Context, point *messages.ResumePoint) {
	f := p.feed
	endpoint := f.endpoints.Current()
	host := endpoint.Host()
	if p.continuity.judge() {
		f.endpoints.Progressed()
	}
	p.orderUnseen(ctx, point.Checkpoint, host)
	p.locate(ctx, point.Checkpoint.FirstUS)
	cp := p.continuity.from(point.Checkpoint)
	begins := p.begin(point, endpoint)
	if begins != nil {
		cp = begins.checkpoint
	}
	p.filters.load(f.status.filter, point)
	p.filters.reached(cp)
	cp.Filter, cp.FilterUS = hash(f.status.filter), p.filters.sinceUS(cp.FilterUS)
	r := p.continuity.resume(cp, point.Found, host, f.cfg.Monotonic())
	r.Endpoint, r.Now = endpoint, f.cfg.Clock.Now()
	r.ReplayWindow, r.Auto, r.Spoken = f.cfg.ReplayWindow, f.cfg.ReplayWindowAuto, p.spoken(endpoint)
	r.Rewind = f.cfg.Rewind
	if cp.Seq == 0 && !p.continuity.connected {
		r.BackfillRewind = legacyRewind
	}
	if r.NoProof = p.filters.unsettled(); (r.NoProof || cp.Moment) && cp.Host != host && r.Ahead == 0 {
		r.Rewind = max(r.Rewind, unprovenRewind)
	}
	order := &actors.Connect{Epoch: f.epoch}
	if begins != nil {
		r.Begin, r.Swept, r.Unreachable = begins.begin, begins.swept, begins.givenUp
		order.Archive, order.OrArchive = begins.archive, begins.orArchive
		p.fill.replays = begins.begin != (jetstream.Begin{})
	}
	plan := jetstream.PlanResume(r)
	if order.Archive != nil {
		plan, p.fill.sweeping = sweepPlan(begins), true
	}
	p.continuity.planned(f.epoch, plan)
	_, p.backfills.replaying = plan.Cursor.TimeUS()
	p.backfills.noticed = false
	f.cfg.Observer.Emit(observe.FeedResume, f.cfg.Name, "epoch", uint64(f.epoch), "cursor", askedFor(order, plan),
		"covered", coveredText(point.Checkpoint), "behind", plan.Behind.Round(time.Millisecond).String())
	p.request = jetstream.Request{
		Endpoint: endpoint,
		Filter:   f.status.filter,
		Cursor:   plan.Cursor,
		Protocol: p.protocol(endpoint), Compress: f.cfg.Compress, Raw: f.cfg.Raw,
	}
	p.beginEpoch(ctx, r, plan, point.Lost)
	order.Request, order.Resume, order.Plan = p.request, r, plan
	ctx.Send(p.connection, order)
	p.phase = &connecting{dialled{p.running}}
}

// beginEpoch tells the writer what the next batches follow, and asks again for the gaps that are
// not recorded. By then the writer has done everything that it was asked for before.
func (l *life) beginEpoch(ctx actor.Context, r jetstream.Resume, plan jetstream.Plan, lost *messages.Gap) {
	cp, host := r.Checkpoint, r.Endpoint.Host()
	var unwanted messages.Position
	if l.filters.unknown && cp.Host == host && cp.Seq > 0 {
		unwanted = cp.Position
	}
	ctx.Send(l.writer, &actors.BeginEpoch{
		Epoch: l.feed.epoch, Host: host, Resume: cp, Plan: plan, Lost: lost, FormerFilters: l.filters.before(r.Ahead), UnwantedUntil: unwanted,
	})
	for _, g := range l.unrecorded {
		ctx.Send(l.writer, &messages.RecordGap{Gap: g})
	}
}

// spoken is the protocol that a connection to the endpoint will speak, ProtocolAuto where that is
// not known.
func (l *life) spoken(e jetstream.Endpoint) jetstream.Protocol {
	switch {
	case l.feed.cfg.Protocol != jetstream.ProtocolAuto:
		return l.feed.cfg.Protocol
	case e.Protocol() != jetstream.ProtocolAuto:
		return e.Protocol()
	}
	return l.continuity.hosts[e.Host()].protocol
}

// The feed tries the other protocol while the number of connections in a row that ended where they
// began lies between these bounds.
const (
	otherProtocolFrom = 4
	otherProtocolTo   = 5
)

// protocol is the protocol to ask the endpoint for.
func (l *life) protocol(e jetstream.Endpoint) jetstream.Protocol {
	cut := l.continuity.reach.Cut
	if l.feed.cfg.Protocol == jetstream.ProtocolAuto && l.spoken(e) == jetstream.ProtocolV2 && e.Protocol() == jetstream.ProtocolAuto &&
		cut >= otherProtocolFrom && cut <= otherProtocolTo {
		return jetstream.ProtocolV1
	}
	return l.feed.cfg.Protocol
}

// unprovenRewind is how far a resume goes back if nothing can prove the overlap and the host's
// clock is not known.
const unprovenRewind = 15 * time.Minute

// askedFor is what a connection asks for, for the log.
func askedFor(order *actors.Connect, plan jetstream.Plan) string {
	switch a := order.Archive; {
	case a == nil:
		return plan.Cursor.String()
	case a.SinceUS > 0:
		return "the archive since " + showTime(a.SinceUS)
	}
	return "the archive"
}

func coveredText(cp messages.Checkpoint) string {
	if cp.Covered().IsZero() {
		return ""
	}
	return showTime(cp.Covered().US)
}
