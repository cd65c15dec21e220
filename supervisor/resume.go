package supervisor

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// begin starts a new epoch. Nothing is dialled before the writer has committed what it holds of the last one, so that the position asked for is the
// newest there is, and so that a writer that waits for disk space is not fed.
func (f *feed) begin(ctx actor.Context) {
	f.phase = preparing
	f.epoch++
	f.book.status.Epoch, f.book.status.Endpoint = f.epoch, f.endpoints.Current().String()
	if f.epoch == 1 {
		f.book.enter(messages.StateConnecting, "started")
	} else {
		f.book.status.Reconnects++
		f.book.enter(messages.StateReconnecting, f.stalled)
	}
	ctx.Send(f.writer, &messages.Quiesce{Epoch: f.epoch})
}

// connect plans the resume and dials.
func (f *feed) connect(ctx actor.Context, point *messages.ResumePoint) {
	cp, endpoint := point.Checkpoint, f.endpoints.Current()
	cp.Clean = f.clean
	if f.blind && cp.CommitUS > 0 {
		// What came after the last commit on a host that saw none covers nothing.
		cp.Position, cp.AtTip = messages.Position{Host: cp.Host, TimeUS: cp.CommitUS}, 0
	}
	filter := hash(f.book.filter)
	sameFilter := cp.Filter == filter
	cp.Clean = cp.Clean || !sameFilter // a rewind would bring what the new filter wants and the old one did not
	rewind := f.rewind
	if cp.Seq == 0 {
		rewind = max(rewind, legacyRewind)
	}
	f.plan = jetstream.PlanResume(jetstream.Resume{
		Checkpoint: cp, Found: point.Found, Endpoint: endpoint, Now: f.cfg.Clock.Now(),
		ReplayWindow: f.cfg.ReplayWindow, Rewind: rewind, ByTime: f.seqReset,
	})
	cp.Filter = filter
	from, byTime := f.plan.Cursor.TimeUS()
	f.handover = byTime
	f.cfg.Observer.Emit(observe.FeedResume, f.cfg.Name, "epoch", uint64(f.epoch), "cursor", f.plan.Cursor.String(),
		"covered", coveredText(cp), "behind", f.plan.Behind.Round(time.Millisecond).String())
	f.request = jetstream.Request{
		Endpoint: endpoint,
		Filter:   f.book.filter,
		Cursor:   f.plan.Cursor,
		Protocol: f.cfg.Protocol, Compress: f.cfg.Compress, Raw: f.cfg.Raw,
	}
	// A time is another on every host's clock: only an event that we hold shows that we asked for enough.
	prove := byTime && sameFilter && cp.Host != "" && from <= cp.TimeUS
	accept := f.rewind >= f.cfg.ReplayWindow
	f.unproven = prove && !accept
	ctx.Send(f.writer, &messages.BeginEpoch{Epoch: f.epoch, Host: endpoint.Host(), Resume: cp, Overlap: f.plan.Overlap, Gap: f.plan.Gap,
		SameClock: cp.Host == endpoint.Host(),
		Prove:     prove, Accept: accept,
	})
	ctx.Send(f.connection, &actors.Connect{Epoch: f.epoch, Resume: cp, Request: f.request})
	f.phase = connecting
}

// proofAfter is how long an upstream that was asked for an event we hold may send nothing at all: where its clock is behind, what was asked for lies
// in its future, and it waits for that without a word.
const proofAfter = 10 * time.Second

// rewindFurther reconnects with a longer rewind: the replay began behind what we hold, as it does where an upstream's clock is behind the last one's.
func (f *feed) rewindFurther(ctx actor.Context) {
	if f.phase != connected {
		return
	}
	f.unproven = false
	f.rewind = min(max(6*f.rewind, time.Minute), f.cfg.ReplayWindow)
	ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseNoOverlap})
}

func coveredText(cp messages.Checkpoint) string {
	if cp.CoveredUS() == 0 {
		return ""
	}
	return time.UnixMicro(cp.CoveredUS()).UTC().Format(time.RFC3339Nano)
}
