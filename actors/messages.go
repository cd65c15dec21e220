package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// The messages that carry an actor's address or a type of a package above messages. All others are
// in package messages, which imports the standard library alone.

// Connect tells the connection what to dial. The feed sends it as the answer to a
// messages.ConnectionReady.
type Connect struct {
	Epoch   messages.Epoch
	Request jetstream.Request
	Resume  jetstream.Resume // the input of the plan
	Plan    jetstream.Plan
	// Archive is what to read of the endpoint's archive instead of its socket; nil for the socket.
	Archive *Archive
	// OrArchive says that the connection ends if the socket has not everything from Plan.Begin on,
	// because the archive may have it.
	OrArchive bool
}

// Archive is what a connection reads of the archive of a Request's endpoint.
type Archive struct {
	Point   []byte // as in messages.Fill: where the last one stopped; nil for the beginning
	SinceUS int64  // without a Point: the time from which on everything is wanted, 0 for none
}

// Connected says that a websocket is open.
type Connected struct {
	Epoch messages.Epoch
	At    time.Time
	Wire  jetstream.Wire // what is spoken on this connection
	// Present is what the host's clock shows. It has no host if it had to be taken from our own
	// clock.
	Present messages.UpstreamTime
}

// UpdateFilter tells the connection that the feed's filter has changed. The connection sends the
// filter to an upstream that accepts updates. Otherwise it ends, and the next connection asks for
// the new filter.
type UpdateFilter struct {
	Epoch  messages.Epoch
	Filter jetstream.Filter
}

// BeginEpoch tells the writer what the next batches follow.
type BeginEpoch struct {
	Epoch  messages.Epoch
	Host   string // the instance that the batches' sequence numbers and times belong to
	Resume messages.Checkpoint
	// Plan says what may come again, and what has to prove that the replay begins early enough. The
	// writer stores nothing, and the position does not move, before that proof. Without a proof
	// nothing of the epoch is stored and the feed gets a messages.NoOverlap, unless the plan
	// accepts that: then a gap is recorded.
	Plan jetstream.Plan
	// Lost is what the store has lost: a gap that is recorded before the first event, unless that
	// event is as old.
	Lost *messages.Gap
	// FormerFilters are the filters that applied until FilterUS of Resume and earlier, oldest
	// first. An event that is older than a filter is stored only if the previous filter wanted it
	// too.
	FormerFilters []messages.FormerFilter
	// UnwantedUntil is a position that was reached with an unknown filter. Events of Host up to
	// there that the stream lacks were not wanted. It is zero if the filter is known.
	UnwantedUntil messages.Position
}

// bySeq says that the epoch resumes by the numbers of Host, which are valid. Events before Resume
// are a replay.
func (m *BeginEpoch) bySeq() bool {
	_, _, bySeq := m.Plan.Cursor.Sequence()
	return bySeq && m.Plan.Proof != jetstream.ProofHeld
}

// Watch tells the watchdog which connection to watch.
type Watch struct {
	Connection *actor.PID
	Host       string // the host whose clock stamps the events
	Epoch      messages.Epoch
	At         time.Time
}

// StartBackfill tells the backfill actor to fetch the events that an upstream sent between two
// times, and to append those that the stream lacks. The actor does one backfill at a time. The feed
// learns the outcome from a messages.BackfillDone.
type StartBackfill struct {
	ID           uint64
	FromUS, ToUS int64 // Unix µs, inclusive; ToUS lies in the past
	Request      jetstream.Request
	// PresentUS is what the upstream's clock showed at At, Unix µs; 0 if unknown. What is later is
	// from before that clock was set back, and shows nothing about how far the fetch has come.
	PresentUS int64
	At        time.Time
}

// present is what the upstream's clock shows now at most, Unix µs; 0 if unknown.
func (m *StartBackfill) present(now time.Time) int64 {
	if m.PresentUS == 0 {
		return 0
	}
	return m.PresentUS + (now.Sub(m.At) + presentSlack).Microseconds()
}

// presentSlack is how much later a host's clock may be than what is known of it.
const presentSlack = 5 * time.Second

// StartFetches tells the backfill actor that it may fetch gaps, and what the feed wants.
type StartFetches struct{ Filter jetstream.Filter }

// LeaseGranted says that the lease holder holds the lease, and hands over the stream.
type LeaseGranted struct {
	Lease  messages.Lease
	Stream persistence.Stream
	Info   persistence.StreamInfo // of the stream at that time; zero where it could not be read
}

// HealthReply travels up the tree. A supervisor sends it when all its children have answered.
type HealthReply struct {
	ID   uint64
	From *actor.PID
}

// FeedTrouble says why a feed is not fully ready. The reason is "" when the feed is ready again.
type FeedTrouble struct {
	Feed   *actor.PID
	Reason string
}

// Stopped answers Stop.
type Stopped struct {
	From *actor.PID
	Err  error
}
