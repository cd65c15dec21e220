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
}

func (e *Ended) Error() string {
	return fmt.Sprintf("connection of epoch %d ended: %s", e.Epoch, e.Reason)
}
