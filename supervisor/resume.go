package supervisor

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// begin starts a new epoch. It dials only when the writer has finished the batches of the last
// epoch. So the request asks for the newest position, and a writer that waits for disk space gets
// no more batches.
func (f *feed) begin(ctx actor.Context) {
	f.phase = preparing
	f.epoch++
	f.book.status.Epoch, f.book.status.Endpoint = f.epoch, f.endpoints.Current().String()
	if f.epoch > 1 {
		f.book.status.Reconnects++
	}
	f.showBegun()
	f.quiesce(ctx)
}

// connect plans the resume and dials.
func (f *feed) connect(ctx actor.Context, point *messages.ResumePoint) {
	endpoint := f.endpoints.Current()
	host := endpoint.Host()
	if f.resuming.judge() {
		f.endpoints.Brought()
	}
	f.repairUnseen(ctx, point.Checkpoint, host)
	f.place(ctx, point.Checkpoint.FirstUS)
	cp := f.resuming.from(point.Checkpoint)
	f.filters.load(f.book.filter, point)
	f.filters.reached(cp)
	cp.Filter, cp.FilterUS = hash(f.book.filter), f.filters.sinceUS(cp.FilterUS)
	r := f.resuming.plan(cp, point.Found, host, f.cfg.Monotonic())
	r.Endpoint, r.Now = endpoint, f.cfg.Clock.Now()
	r.ReplayWindow, r.Auto, r.Spoken = f.cfg.ReplayWindow, f.cfg.ReplayWindowAuto, f.spoken(endpoint)
	r.Rewind = f.cfg.Rewind
	if cp.Seq == 0 && !f.resuming.begun {
		r.BackfillRewind = legacyRewind
	}
	if r.NoProof = f.filters.unsettled(); (r.NoProof || cp.Moment) && cp.Host != host && r.Ahead == 0 {
		r.Rewind = max(r.Rewind, unprovenRewind)
	}
	var passed messages.Position
	if f.filters.unknown && cp.Host == host && cp.Seq > 0 {
		passed = cp.Position
	}
	plan := jetstream.PlanResume(r)
	f.resuming.begin(f.epoch, plan)
	_, f.handover = plan.Cursor.TimeUS()
	f.cfg.Observer.Emit(observe.FeedResume, f.cfg.Name, "epoch", uint64(f.epoch), "cursor", plan.Cursor.String(),
		"covered", coveredText(cp), "behind", plan.Behind.Round(time.Millisecond).String())
	f.request = jetstream.Request{
		Endpoint: endpoint,
		Filter:   f.book.filter,
		Cursor:   plan.Cursor,
		Protocol: f.protocol(endpoint), Compress: f.cfg.Compress, Raw: f.cfg.Raw,
	}
	ctx.Send(f.writer, &actors.BeginEpoch{
		Epoch: f.epoch, Host: host, Resume: cp, Plan: plan, Lost: point.Lost, FormerFilters: f.filters.before(r.Ahead), UnwantedUntil: passed,
	})
	f.recordGaps(ctx)
	ctx.Send(f.connection, &actors.Connect{Epoch: f.epoch, Request: f.request, Resume: r, Plan: plan})
	f.phase = connecting
}

// spoken is the protocol that a connection to the endpoint will speak, ProtocolAuto where that is
// not known.
func (f *feed) spoken(e jetstream.Endpoint) jetstream.Protocol {
	switch {
	case f.cfg.Protocol != jetstream.ProtocolAuto:
		return f.cfg.Protocol
	case e.Protocol() != jetstream.ProtocolAuto:
		return e.Protocol()
	}
	return f.resuming.hosts[e.Host()].protocol
}

// The feed tries the other protocol while the number of connections in a row that ended where they
// began lies between these bounds.
const (
	otherProtocolFrom = 4
	otherProtocolTo   = 5
)

// protocol is the protocol to ask the endpoint for.
func (f *feed) protocol(e jetstream.Endpoint) jetstream.Protocol {
	cut := f.resuming.reach.Cut
	if f.cfg.Protocol == jetstream.ProtocolAuto && f.spoken(e) == jetstream.ProtocolV2 && e.Protocol() == jetstream.ProtocolAuto &&
		cut >= otherProtocolFrom && cut <= otherProtocolTo {
		return jetstream.ProtocolV1
	}
	return f.cfg.Protocol
}

const (
	// proofAfter is how long an upstream that was asked for an event that we hold may be silent. A
	// longer silence means that the replay began too late: the upstream's clock is behind, the
	// requested time lies in its future, and it began at its live tip without a word.
	proofAfter = 10 * time.Second
	// unprovenRewind is how far a resume goes back if nothing can prove the overlap and the host's
	// clock is not known.
	unprovenRewind = 15 * time.Minute
)

// tooLate reconnects with a longer rewind, because the replay began after the events that we hold.
// This happens where the upstream's clock is behind the last upstream's. said is true if the
// upstream has said that it cannot go back further.
func (f *feed) tooLate(ctx actor.Context, said bool) {
	f.resuming.unproven = false
	f.resuming.late(said)
	if f.phase == connected {
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseNoOverlap})
	}
}

func coveredText(cp messages.Checkpoint) string {
	if cp.Covered().IsZero() {
		return ""
	}
	return showTime(cp.Covered().US)
}
