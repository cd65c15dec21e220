package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// UpdateFilter replaces the filter of a v1 subscription. The connection and its place in the stream
// stay. Nothing is lost: the events that the new filter wants come from the moment at which the
// server has read the update, and the events that only the old filter wanted are left out from now
// on. v2 cannot do this: then UpdateFilter returns ErrNeedsReconnect and changes nothing.
//
// A filter that servers refuse is not sent, because they would end the connection; the error
// matches ErrBadRequest. If ctx ends before the update is written, the connection is closed. It is
// safe for concurrent use.
func (c *Conn) UpdateFilter(ctx context.Context, f Filter) error {
	if c.spoken.Protocol != ProtocolV1 {
		return ErrNeedsReconnect
	}
	if errs := ValidateFilter(f, ProtocolV1); len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrBadRequest, errors.Join(errs...))
	}
	ask, _ := f.split(ProtocolV1)
	// From here on the whole filter is applied here too, because the server still sends what the
	// old filter wanted.
	c.filter.Store(NewMatcher(f))
	if err := c.ws.Write(ctx, websocket.MessageText, optionsUpdate(ask, c.maxSize)); err != nil {
		return fmt.Errorf("update the filter at %s: %w", c.endpoint, err)
	}
	return nil
}
