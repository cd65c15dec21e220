package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

// UpdateFilter gives a v1 subscription another filter in place of the one it has; the connection stays, and so does its place in the stream. Nothing is
// lost: what the new filter wants comes from the moment on at which the server has read the update, and what only the old one wanted is left out from
// now on. v2 cannot do that: there it returns ErrNeedsReconnect and changes nothing.
//
// A filter that servers refuse is not sent: they would end the connection. If ctx ends before the update is written the connection is closed.
func (c *Conn) UpdateFilter(ctx context.Context, f Filter) error {
	if c.spoken.Protocol != ProtocolV1 {
		return ErrNeedsReconnect
	}
	if errs := ValidateFilter(f, ProtocolV1); len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrBadRequest, errors.Join(errs...))
	}
	ask, _ := f.split(ProtocolV1)
	// From here on the whole filter is applied here too: the server still sends what was wanted before.
	c.filter.Store(NewMatcher(f))
	if err := c.ws.Write(ctx, websocket.MessageText, optionsUpdate(ask, c.maxSize)); err != nil {
		return fmt.Errorf("update the filter at %s: %w", c.endpoint, err)
	}
	return nil
}
