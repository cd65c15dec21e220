package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/messages"
)

// The messages that carry an actor's address. All others are in package messages, which knows no actor framework.

// Watch tells the watchdog which connection to watch.
type Watch struct {
	Connection *actor.PID
	Host       string // whose clock stamps the events
	Epoch      messages.Epoch
	At         time.Time
}

// HealthReply travels up the tree once everything below has answered.
type HealthReply struct {
	ID   uint64
	From *actor.PID
}

// FeedTrouble says why a feed is not as ready as one can be, "" when it is again.
type FeedTrouble struct {
	Feed   *actor.PID
	Reason string
}

// Stopped answers Stop.
type Stopped struct {
	From *actor.PID
	Err  error
}
