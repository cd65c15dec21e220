package actors

import (
	"fmt"
	"time"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// sink numbers the session's batches and sends them to the writer. The connection fills them. Only
// the connection's read loop calls its methods.
type sink struct {
	session  *session
	up       Upstream
	plan     jetstream.Plan
	done     <-chan struct{}
	number   uint64
	said     jetstream.Said  // what the upstream said of the cursor before its first event
	rejected bool            // nothing more of this connection is used
	filling  *messages.Batch // the batch that the connection fills, nil while it has none
	since    time.Time       // when it got that batch

	bad   int // bad frames since the last report
	badAt time.Time
}

// TryHand implements jetstream.Sink.
func (k *sink) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	select {
	case next := <-k.session.cfg.Pool:
		k.hand(b)
		k.filling = next
		k.since = k.session.cfg.Clock.Now()
		return next, true
	default:
		return b, false
	}
}

// Hand implements jetstream.Sink.
func (k *sink) Hand(b *messages.Batch) *messages.Batch {
	k.hand(b)
	return k.take()
}

// take waits for a free batch. It returns nil when the session has to end.
func (k *sink) take() *messages.Batch {
	select {
	case next := <-k.session.cfg.Pool:
		k.filling = next
		k.since = k.session.cfg.Clock.Now()
		return next
	case <-k.done:
		return nil
	}
}

// giveBack returns the batch that an ended connection did not hand over. Otherwise its credit would
// be lost to the epoch.
func (k *sink) giveBack() {
	if b := k.filling; b != nil {
		k.filling = nil
		release(b, k.session.cfg.Pool)
	}
}

func (k *sink) hand(b *messages.Batch) {
	s := k.session
	s.cfg.Fault.At("connection.read")
	if k.rejected || b.Frames == 0 {
		k.giveBack()
		return
	}
	k.countCommits(b)
	k.readClock(b)
	b.Waited, b.ReadAt = s.cfg.Clock.Since(k.since), k.up.Activity().LastFrame
	k.number++
	b.Epoch, b.Number = s.epoch, k.number
	k.filling = nil
	s.send(s.cfg.Writer, &messages.AppendBatch{Batch: b, Release: s.cfg.Pool})
}

// countCommits counts the batch's commits, which are what the feed is there for.
func (k *sink) countCommits(b *messages.Batch) {
	n, newest := uint64(0), k.session.commitUS.Load()
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == messages.KindCommit {
			n++
			newest = max(newest, e.TimeUS)
		}
	}
	if n > 0 {
		k.session.commitUS.Store(newest)
		k.session.lastCommit.Store(k.session.cfg.Clock.Now().UnixNano())
		k.session.commits.Add(n)
	}
}

// readClock notes in the batch what the host's clock can have reached, and learns from the batch's
// time.
func (k *sink) readClock(b *messages.Batch) {
	s := k.session
	if b.Point != nil {
		return // what was archived long ago says nothing of the present
	}
	b.PresentUS, b.ReachedUS = s.hostTime((*jetstream.HostClock).Latest), s.hostTime((*jetstream.HostClock).Earliest)
	if b.TimeUS > 0 {
		s.sawEvent(b.TimeUS)
	}
}

// Info implements jetstream.Sink. A sequence number in the upstream's future belongs to another
// instance, and the upstream has begun at its live tip. So the session ends, and the feed asks
// again by time, at once.
func (k *sink) Info(name, _ string) {
	switch name {
	case atproto.OutdatedCursor:
		k.said.Outdated = true
	case atproto.FutureCursor:
		k.said.Future = true
		if _, _, bySeq := k.plan.Cursor.Sequence(); bySeq {
			k.reject(errSeqReset)
		}
	}
}

// reject ends the session. Nothing more of it is used.
func (k *sink) reject(why error) {
	k.rejected = true
	k.session.task.Cancel(why)
}

// First implements jetstream.Sink. It compares the connection's first event with what was asked
// for.
func (k *sink) First(first messages.Event) {
	s := k.session
	s.sawEvent(first.TimeUS)
	if seen := (messages.UpstreamTime{Host: s.dial.Request.Endpoint.Host(), US: first.TimeUS}); k.plan.Gap != nil && !k.plan.Stands(s.dial.Resume, s.spoken, seen) {
		k.reject(&forced{messages.CauseClock})
		return
	}
	k.said.Silent = s.spoken == jetstream.ProtocolV1
	switch jetstream.VerifyFirst(k.plan, first.Seq, first.TimeUS, k.said) {
	case jetstream.FirstExact:
		s.send(s.cfg.Writer, &messages.Proven{Epoch: s.epoch, Exact: true})
	case jetstream.FirstSequenceReset:
		k.reject(errSeqReset)
	case jetstream.FirstLate:
		switch begins := k.plan.Begin != (jetstream.Begin{}); {
		case begins && s.dial.OrArchive:
			k.reject(errTooOld)
			return
		case !begins && !k.said.Outdated:
			k.reject(&forced{messages.CauseNoOverlap})
			return
		}
		host := s.dial.Request.Endpoint.Host()
		if k.isEarly(first, host) {
			return
		}
		lost := expectation{gap: messages.Gap{Host: host, FromUS: k.plan.Covered.US, Cause: messages.GapServerMoved}, foreign: k.plan.Foreign, age: k.plan.Since}
		s.send(s.cfg.Writer, &messages.SuspectGap{Epoch: s.epoch, Gap: lost.endingAt(first.TimeUS)})
	}
}

// isEarly says whether the connection's first event is from before the feed's beginning, so that
// nothing is missing: from before the moment at which it began, or before the stream's first event by
// both number and time.
func (k *sink) isEarly(first messages.Event, host string) bool {
	cp := k.session.dial.Resume.Checkpoint
	if from := k.plan.From; from.Moment && from.Host == host && first.TimeUS <= from.TimeUS {
		return true
	}
	return first.Seq > 0 && cp.FirstHost == host && first.Seq <= cp.FirstSeq && first.TimeUS <= cp.FirstUS
}

// The bounds of the log events about bad frames: at most one a second, with so many bytes of the
// frame's beginning.
const (
	badPeriod  = time.Second
	badExcerpt = 120
)

// Bad implements jetstream.Sink.
func (k *sink) Bad(frame []byte, err error) {
	k.bad++
	s := k.session
	now := s.cfg.Clock.Now()
	if !k.badAt.IsZero() && now.Sub(k.badAt) < badPeriod {
		return
	}
	s.cfg.Observer.Emit(observe.FrameBad, s.cfg.Feed, "epoch", uint64(s.epoch), "error", err.Error(),
		"frame", fmt.Sprintf("%.*q", badExcerpt, frame[:min(len(frame), badExcerpt)]), "count", k.bad)
	k.bad, k.badAt = 0, now
}
