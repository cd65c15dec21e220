package actors

import (
	"fmt"
	"time"

	"tempestd/messages"
)

// Ended is why a connection ended. The connection actor fails with it, and the feed's supervision decides what follows.
type Ended struct {
	Epoch      messages.Epoch
	Lived      time.Duration           // from the open websocket to its end; 0 if it was never open
	Reason     string                  // one bounded line, free of secrets
	Clean      bool                    // the upstream said it was going
	Permanent  bool                    // the upstream refuses us: asking again soon will not help
	RetryAfter time.Duration           // what the upstream asked for, 0 if it did not
	Forced     messages.ReconnectCause // "" when the upstream or the network ended it
	SeqReset   bool                    // the upstream's sequence space started anew: resume by time
	Frames     uint64                  // read on it
	NewestUS   int64                   // the greatest upstream time among them, Unix µs
	PresentUS  int64                   // what the host's clock had surely reached then, Unix µs; 0 where nothing is known of it
	Poison     bool                    // it ended within a message, or because of one
	Passing    bool                    // the upstream said that it will be back soon: that counts against nobody
}

func (e *Ended) Error() string {
	return fmt.Sprintf("connection of epoch %d ended: %s", e.Epoch, e.Reason)
}

// Ours says whether the end was decided here, for reasons of our own: it says nothing about the upstream.
func (e *Ended) Ours() bool {
	switch e.Forced {
	case messages.CauseOperator, messages.CauseSleep, messages.CauseFilter, messages.CauseClock, messages.CausePreferred, messages.CauseWriter, messages.CauseBlind:
		return true
	}
	return false
}

// Stale says whether the watchdog ended it.
func (e *Ended) Stale() bool {
	switch e.Forced {
	case messages.CauseSilence, messages.CauseAdaptive, messages.CauseHalfOpen:
		return true
	}
	return false
}
