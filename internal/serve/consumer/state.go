package consumer

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// State is a named consumer between two requests, as the store keeps it. It is a value: its methods
// take the time and return what to do or the changed state, and never change s. They do not read,
// write or wait, and they draw no random numbers; the time is the store's.
//
//	       Grant                   Ack: Acked = Last
//	idle ─────────▶ leased ───────────────────────────▶ idle
//	                │    ▲
//	  Nack, or the  │    │ Grant: the same batch,
//	  lease's end   ▼    │ deliveries+1, another token
//	               returned ── Ack, by the last token, until then
//
// At most one batch is out, so that a consumer handles its entries in order. A batch goes out again
// until it is acknowledged. Seek leads from every phase to idle.
type State persistence.ConsumerState

// Errors of the state machine. A method that returns one has changed nothing.
var (
	// ErrLeaseLost says that a token holds no batch: it was never given, or the batch went out
	// again or was returned since.
	ErrLeaseLost = errors.New("the token holds no batch")
	// ErrNotDue says that a batch may not go out: another one is out, or is due first.
	ErrNotDue = errors.New("the batch is not due")
)

// phase is the part of a consumer's cycle.
type phase int

const (
	idle     phase = iota // no batch is out: the next one begins after Acked
	leased                // a batch is out, or held back after a Nack, until Lease.Until
	returned              // the batch came back and goes out again unchanged
)

func (s State) phase(now time.Time) phase {
	switch {
	case s.Lease.Last.IsZero():
		return idle
	case now.Before(s.Lease.Until) && !s.Lease.Until.After(now.Add(maxLease)):
		return leased
	}
	// The lease has ended; or it ends later than any lease does, because the clock was set back since.
	return returned
}

// IsLeased reports whether a worker holds a batch.
func (s State) IsLeased(now time.Time) bool { return s.phase(now) == leased && s.Lease.Token != "" }

// Action is what a request for the next batch has to do.
type Action int

// Actions.
const (
	Deliver   Action = iota // read on after Step.After, and lease what was read
	Redeliver               // read from Step.After to Step.Last again, and lease that
	Wait                    // until Step.Until, or until the consumer changes
)

// Step is what a request for the next batch has to do, and with which entries.
type Step struct {
	Do    Action
	After persistence.EntryID // the batch begins after this entry
	Last  persistence.EntryID // of Redeliver: the batch ends with this entry
	Until time.Time           // of Wait
	// Held says that a Wait has no end but Until: a worker returned the batch with a delay.
	// Otherwise an ack can end it at any time.
	Held bool
}

// Next returns what a request for the next batch has to do.
func (s State) Next(now time.Time) Step {
	switch s.phase(now) {
	case leased:
		return Step{Do: Wait, After: s.Acked, Until: s.Lease.Until, Held: s.Lease.Token == ""}
	case returned:
		return Step{Do: Redeliver, After: s.Acked, Last: s.Lease.Last}
	}
	return Step{Do: Deliver, After: s.Acked}
}

// Grant leases the batch that ends with last under the token: a new batch to an idle consumer, or
// the returned batch once more. Of a returned batch the end may be gone, for example after a server
// came back with older data; it never grows. The error is ErrNotDue.
func (s State) Grant(now time.Time, token string, last persistence.EntryID, lease time.Duration) (State, error) {
	p := s.phase(now)
	if p == leased || last.Compare(s.Acked) <= 0 || p == returned && last.Compare(s.Lease.Last) > 0 {
		return s, ErrNotDue
	}
	s.Lease = persistence.ConsumerLease{Token: token, Last: last, Until: now.Add(lease), Deliveries: s.Lease.Deliveries + 1}
	return s, nil
}

// Ack moves the position to the end of the token's batch. If the position is already there, nothing
// changes, and that is no error. The token stays valid until the batch goes out again, even after
// the lease has ended: the work was done. The error is ErrLeaseLost.
func (s State) Ack(now time.Time, token string) (next State, moved bool, err error) {
	if s.Holds(token) {
		return s.Seek(now, s.Lease.Last), true, nil
	}
	if end, ok := tokenEnd(token); ok && end.Compare(s.Acked) <= 0 {
		return s, false, nil
	}
	return s, false, ErrLeaseLost
}

// Nack returns the token's batch. The batch goes out again after the delay. The error is
// ErrLeaseLost.
func (s State) Nack(now time.Time, token string, delay time.Duration) (State, error) {
	if !s.Holds(token) {
		return s, ErrLeaseLost
	}
	s.Lease.Token, s.Lease.Until = "", now.Add(delay)
	return s, nil
}

// Extend makes the token's lease end after the duration lease, counted from now. The error is
// ErrLeaseLost.
func (s State) Extend(now time.Time, token string, lease time.Duration) (State, error) {
	if !s.Holds(token) {
		return s, ErrLeaseLost
	}
	s.Lease.Until = now.Add(lease)
	return s, nil
}

// Holds reports whether the token is the one of the batch's latest lease.
func (s State) Holds(token string) bool { return token != "" && token == s.Lease.Token }

// Seek sets the position, and ends the lease if there is one.
func (s State) Seek(now time.Time, to persistence.EntryID) State {
	s.Acked, s.MovedAt, s.Lease = to, now, persistence.ConsumerLease{}
	return s
}

// skipEvery is how often the position moves past entries that the filter leaves out. Moving it is a
// write; until then every request reads those entries again.
const skipEvery = time.Minute

// Skip moves the position to an entry up to which the filter left out all entries, if that is worth
// a write: once every skipEvery, and at once when the request stopped before the end of the stream
// (far), because the next request would get no further. skipped is false if nothing changes.
func (s State) Skip(now time.Time, to persistence.EntryID, far bool) (next State, skipped bool) {
	if to.Compare(s.Acked) <= 0 || !far && now.Sub(s.MovedAt) < skipEvery {
		return s, false
	}
	return s.Seek(now, to), true
}

// Same reports whether nothing has changed since the state was seen, so that a batch that was read
// for that state is still the next one.
func (s State) Same(seen State) bool {
	return s.Acked == seen.Acked && s.CreatedAt.Equal(seen.CreatedAt) && bytes.Equal(s.Definition, seen.Definition) &&
		s.Lease.Token == seen.Lease.Token && s.Lease.Last == seen.Lease.Last && s.Lease.Until.Equal(seen.Lease.Until) &&
		s.Lease.Deliveries == seen.Lease.Deliveries
}

// secretLength is the length of the random part of a token.
const secretLength = 26

// Token returns the token for a lease of the batch that ends with last; secret are secretLength
// random characters. The token contains the batch's end: a repeated ack, sent because the first
// answer was lost, is recognized by it after the lease is gone.
func Token(last persistence.EntryID, secret string) string { return last.String() + "." + secret }

// tokenEnd returns the end of the token's batch. ok is false for a text that Token never returned.
func tokenEnd(token string) (persistence.EntryID, bool) {
	end, secret, _ := strings.Cut(token, ".")
	id, err := messages.ParseEntryID(end)
	return id, err == nil && len(secret) == secretLength
}
