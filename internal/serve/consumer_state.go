package serve

import (
	"bytes"
	"crypto/rand"
	"strings"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// The state machine of a named consumer: what a request makes of the state that the store keeps. Nothing here reads, writes or waits, and
// the time is the store's.
//
//	        next                    ack: Acked = Last
//	 idle ─────────▶ leased ───────────────────────────▶ idle
//	                 │    ▲
//	   nack, or the  │    │ next: the same batch,
//	   lease's end   ▼    │ deliveries+1, another token
//	                returned ── ack, by the last token, until then
//
// One batch at most is out, so that a consumer's entries are dealt with in order; it goes out again until somebody acknowledges it.

// phase is where a consumer is between two requests.
type phase int

const (
	idle     phase = iota // no batch is out: the next one begins after Acked
	leased                // a batch is out, or is held back after a nack, until Lease.Until
	returned              // the batch came back and goes out again as it was
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

// isLent says whether somebody works on a batch.
func isLent(s *persistence.ConsumerState, now time.Time) bool {
	return phaseOf(s, now) == leased && s.Lease.Token != ""
}

// newToken names a lease of the batch that ends with last. An ack that comes again, its first answer lost, is known by the batch's end even though the
// lease is gone.
func newToken(last persistence.EntryID) string { return last.String() + "." + rand.Text() }

// tokenEnd is where the token's batch ends; false for what newToken never gave.
func tokenEnd(token string) (persistence.EntryID, bool) {
	end, secret, _ := strings.Cut(token, ".")
	id, err := messages.ParseEntryID(end)
	return id, err == nil && len(secret) == len(rand.Text())
}

// lend gives the batch that ends with last out under the token: a new one to an idle consumer, the one that was returned again.
func lend(s *persistence.ConsumerState, now time.Time, token string, last persistence.EntryID, lease time.Duration) {
	s.Lease = persistence.ConsumerLease{Token: token, Last: last, Until: now.Add(lease), Deliveries: s.Lease.Deliveries + 1}
}

// ack moves the position to the end of the token's batch. Where it is already, nothing changes, and that is no error. The token is good until the batch has gone
// out again, its lease's end or not: the work was done.
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

// nack gives the token's batch back; it goes out again after the delay.
func nack(s *persistence.ConsumerState, now time.Time, token string, delay time.Duration) error {
	if !holds(s, token) {
		return errLeaseLost(token)
	}
	s.Lease.Token, s.Lease.Until = "", now.Add(delay)
	return nil
}

// extend makes the token's lease end so long from now.
func extend(s *persistence.ConsumerState, now time.Time, token string, lease time.Duration) error {
	if !holds(s, token) {
		return errLeaseLost(token)
	}
	s.Lease.Until = now.Add(lease)
	return nil
}

// holds says whether the token is the one that the batch last went out under.
func holds(s *persistence.ConsumerState, token string) bool {
	return token != "" && token == s.Lease.Token
}

// move sets the position. What was out is not any more.
func move(s *persistence.ConsumerState, now time.Time, to persistence.EntryID) {
	s.Acked, s.MovedAt, s.Lease = to, now, persistence.ConsumerLease{}
}

// skipEvery is how often the position moves past what the filter leaves out, which is read again by every request until it has: moving it is a write.
const skipEvery = time.Minute

// worthSkipping says whether the position should move past what the filter left out: now and then, and at once where a request ended before what there is (far says
// so), for the next one would get no further.
func worthSkipping(s *persistence.ConsumerState, now time.Time, far bool) bool {
	return far || now.Sub(s.MovedAt) >= skipEvery
}

// unchanged says whether the state is still the one that was seen, so that what was read for that one holds for it.
func unchanged(s, seen *persistence.ConsumerState) bool {
	return s.Acked == seen.Acked && s.CreatedAt.Equal(seen.CreatedAt) && bytes.Equal(s.Definition, seen.Definition) &&
		s.Lease.Token == seen.Lease.Token && s.Lease.Last == seen.Lease.Last && s.Lease.Until.Equal(seen.Lease.Until) &&
		s.Lease.Deliveries == seen.Lease.Deliveries
}
