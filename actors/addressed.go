package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/messages"
)

// The messages that carry an actor's address. All others are in package messages, which imports no
// actor framework.

// Watch tells the watchdog which connection to watch.
type Watch struct {
	Connection *actor.PID
	Host       string // the host whose clock stamps the events
	Epoch      messages.Epoch
	At         time.Time
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
