package backfill

import (
	"time"

	"tempestd/messages"
)

// Span is what is to be fetched of a gap.
type Span struct {
	Host           string // whose numbers and times these are
	FromUS, ToUS   int64  // Unix µs
	FromSeq, ToSeq int64  // exclusive, 0 if unknown
}

// SpanOf is what is to be fetched of a row: the gap, or what no source had so far.
func SpanOf(row messages.GapRow) Span {
	s := Span{Host: row.Host, FromUS: row.FromUS, ToUS: max(row.ToUS, row.FromUS), FromSeq: row.FromSeq, ToSeq: row.ToSeq}
	if row.RestToUS > 0 {
		if row.RestFromUS > s.FromUS {
			s.FromUS, s.FromSeq = row.RestFromUS, 0
		}
		if row.RestToUS < s.ToUS {
			s.ToUS, s.ToSeq = row.RestToUS, 0
		}
	}
	if s.FromSeq >= s.ToSeq && s.ToSeq > 0 {
		s.FromSeq, s.ToSeq = 0, 0 // the host has numbered its events anew
	}
	return s
}

const (
	// sameMargin and otherMargin are how far beyond the span events are taken by their times: on the
	// gap's own host, and on another one, whose clock differs. What the stream holds is left out.
	sameMargin  = 2 * time.Second
	otherMargin = 30 * time.Second
	// settle is how long the live feed has to store the events after a gap before times tell them
	// from the gap's own.
	settle = 3 * time.Second
)

// margin is in Unix µs.
func (s Span) margin(host string) int64 {
	if host == s.Host {
		return sameMargin.Microseconds()
	}
	return otherMargin.Microseconds()
}

// begins returns the time from which on events of a host are wanted, and ends the time up to which
// they are, Unix µs.
func (s Span) begins(host string) int64 { return s.FromUS - s.margin(host) }
func (s Span) ends(host string) int64   { return s.ToUS + s.margin(host) }

// wants says whether an event of a host lies in the span. Numbers count on the gap's own host, as
// far as they are known; an event that has got another number since, but lies in the span by its
// time, is wanted too.
func (s Span) wants(e *messages.Event, host string) bool {
	after, before := e.TimeUS >= s.begins(host), e.TimeUS <= s.ends(host)
	if host == s.Host && e.Seq > 0 {
		if s.FromSeq > 0 {
			after = e.Seq > s.FromSeq || e.TimeUS > s.FromUS
		}
		if s.ToSeq > 0 {
			before = e.Seq < s.ToSeq || e.TimeUS < s.ToUS
		}
	}
	return after && before
}

// narrow drops the events of a batch that lie outside of the span.
func (s Span) narrow(b *messages.Batch, host string) {
	for i := range b.Events {
		if e := &b.Events[i]; !s.wants(e, host) {
			e.Drop = true
		}
	}
}

// passed says whether a host that sends in order has sent the whole span.
func (s Span) passed(seq, timeUS int64, host string) bool {
	if host == s.Host && s.ToSeq > 0 && seq > 0 {
		return seq >= s.ToSeq && timeUS >= s.ToUS
	}
	return timeUS > s.ends(host)
}

// lacks returns the time up to which events of the span may be missing on a host whose history begins
// at a time by the host's own clock, and 0 if it begins early enough. The result is by the clock of
// the gap's host, Unix µs.
func (s Span) lacks(host string, beginsUS int64) int64 {
	switch {
	case host == s.Host && beginsUS > s.FromUS:
		return beginsUS
	case host != s.Host && beginsUS > s.begins(host):
		return max(beginsUS, min(beginsUS+s.margin(host), s.ToUS))
	}
	return 0
}

// over returns the time after which everything that a host sends lies behind the span, Unix µs. The
// times of one host rise with its numbers.
func (s Span) over(host string) int64 {
	if host == s.Host && s.ToSeq > 0 {
		return s.ToUS
	}
	return s.ends(host)
}

// settles returns a *WaitError while events of the host after the span may not be stored yet, so
// that they could be taken for the gap's.
func (s Span) settles(host string, now time.Time) error {
	if host == s.Host && s.ToSeq > 0 {
		return nil
	}
	if until := time.UnixMicro(s.ends(host)).Add(settle); now.Before(until) {
		return &WaitError{Until: until, Why: "the events after the gap are still being stored"}
	}
	return nil
}
