package serve

import (
	"bytes"
	"crypto/rand"
	"strings"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// The state machine of a named consumer: how a request changes the state that the store keeps.
// Nothing here reads, writes or waits, and the time is the store's.
//
//	        next                    ack: Acked = Last
//	 idle ─────────▶ leased ───────────────────────────▶ idle
//	                 │    ▲
//	   nack, or the  │    │ next: the same batch,
//	   lease's end   ▼    │ deliveries+1, another token
//	                returned ── ack, by the last token, until then
//
// At most one batch is out, so that a consumer handles its entries in order. A batch goes out again
// until it is acknowledged.

// phase is the state of a consumer between two requests.
type phase int

const (
	idle     phase = iota // no batch is out: the next one begins after Acked
	leased                // a batch is out, or held back after a nack, until Lease.Until
	returned              // the batch came back and goes out again unchanged
)

func phaseOf(s *persistence.ConsumerState, now time.Time) phase {
	switch {
	case s.Lease.Last.IsZero():
		return idle
	case now.Before(s.Lease.Until):
		return leased
	}
	return returned
}

// isLent reports whether a worker holds a batch.
func isLent(s *persistence.ConsumerState, now time.Time) bool {
	return phaseOf(s, now) == leased && s.Lease.Token != ""
}

// newToken returns a token for a lease of the batch that ends with last. The token contains the
// batch's end: a repeated ack, sent because the first answer was lost, is recognized by it after
// the lease is gone.
func newToken(last persistence.EntryID) string { return last.String() + "." + rand.Text() }

// tokenEnd returns the end of the token's batch. ok is false for a text that newToken never
// returned.
func tokenEnd(token string) (persistence.EntryID, bool) {
	end, secret, _ := strings.Cut(token, ".")
	id, err := messages.ParseEntryID(end)
	return id, err == nil && len(secret) == len(rand.Text())
}

// lend leases the batch that ends with last under the token: a new batch to an idle consumer, or
// the returned batch once more.
func lend(s *persistence.ConsumerState, now time.Time, token string, last persistence.EntryID, lease time.Duration) {
	s.Lease = persistence.ConsumerLease{Token: token, Last: last, Until: now.Add(lease), Deliveries: s.Lease.Deliveries + 1}
}

// ack moves the position to the end of the token's batch. If the position is already there, nothing
// changes, and that is no error. The token stays valid until the batch goes out again, even after
// the lease has ended: the work was done.
func ack(s *persistence.ConsumerState, now time.Time, token string) (moved bool, err error) {
	if holds(s, token) {
		move(s, now, s.Lease.Last)
		return true, nil
	}
	if end, ok := tokenEnd(token); ok && end.Compare(s.Acked) <= 0 {
		return false, nil
	}
	return false, errLeaseLost(token)
}

// nack returns the token's batch. The batch goes out again after the delay.
func nack(s *persistence.ConsumerState, now time.Time, token string, delay time.Duration) error {
	if !holds(s, token) {
		return errLeaseLost(token)
	}
	s.Lease.Token, s.Lease.Until = "", now.Add(delay)
	return nil
}

// extend makes the token's lease end after the duration lease, counted from now.
func extend(s *persistence.ConsumerState, now time.Time, token string, lease time.Duration) error {
	if !holds(s, token) {
		return errLeaseLost(token)
	}
	s.Lease.Until = now.Add(lease)
	return nil
}

// holds reports whether the token is the one of the batch's latest lease.
func holds(s *persistence.ConsumerState, token string) bool {
	return token != "" && token == s.Lease.Token
}

// move sets the position and ends the lease, if there is one.
func move(s *persistence.ConsumerState, now time.Time, to persistence.EntryID) {
	s.Acked, s.MovedAt, s.Lease = to, now, persistence.ConsumerLease{}
}

// skipEvery is how often the position moves past entries that the filter leaves out. Moving it is a
// write; until then every request reads those entries again.
const skipEvery = time.Minute

// worthSkipping reports whether the position should move past entries that the filter left out:
// once every skipEvery, and at once when a request stopped before the end of the stream (far),
// because the next request would get no further.
func worthSkipping(s *persistence.ConsumerState, now time.Time, far bool) bool {
	return far || now.Sub(s.MovedAt) >= skipEvery
}

// unchanged reports whether the state is still the one that was seen, so that a page read for that
// state is still right.
func unchanged(s, seen *persistence.ConsumerState) bool {
	return s.Acked == seen.Acked && s.CreatedAt.Equal(seen.CreatedAt) && bytes.Equal(s.Definition, seen.Definition) &&
		s.Lease.Token == seen.Lease.Token && s.Lease.Last == seen.Lease.Last && s.Lease.Until.Equal(seen.Lease.Until) &&
		s.Lease.Deliveries == seen.Lease.Deliveries
}
