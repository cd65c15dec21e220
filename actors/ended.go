package actors

import (
	"fmt"
	"time"

	"tempestd/messages"
)

// Ended is why a connection ended. The connection actor fails with it, and the feed's supervision
// decides what follows.
type Ended struct {
	Epoch  messages.Epoch
	Lived  time.Duration // from the open websocket to its end; 0 if it was never open
	Reason string        // one bounded line, free of secrets
	Clean  bool          // the upstream announced the end
	// Permanent says that the upstream refuses us, and that another request soon will not help.
	Permanent  bool
	RetryAfter time.Duration           // the wait that the upstream asked for, 0 for none
	Forced     messages.ReconnectCause // "" when the upstream or the network ended it
	SeqReset   bool                    // the upstream's sequence numbers began anew: resume by time
	Frames     uint64                  // read on this connection
	NewestUS   int64                   // the greatest upstream time among them, Unix µs
	// PresentUS is a moment that the host's clock had surely reached at the end, Unix µs; 0 where
	// nothing is known of that clock.
	PresentUS int64
	Poison    bool // the connection ended within a message, or because of one
	Passing   bool // the upstream said that it will be back soon: its host is not blamed
}

func (e *Ended) Error() string {
	return fmt.Sprintf("connection of epoch %d ended: %s", e.Epoch, e.Reason)
}

// Ours says whether we ended the connection for reasons of our own. Such an end says nothing about
// the upstream.
func (e *Ended) Ours() bool {
	switch e.Forced {
	case messages.CauseOperator, messages.CauseSleep, messages.CauseFilter, messages.CauseClock, messages.CausePreferred, messages.CauseWriter, messages.CauseBlind:
		return true
	}
	return false
}

// Stale says whether the watchdog ended the connection.
func (e *Ended) Stale() bool {
	switch e.Forced {
	case messages.CauseSilence, messages.CauseAdaptive, messages.CauseHalfOpen:
		return true
	}
	return false
}
