package client

import (
	"context"
	"net/http"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// StreamStatus is a stream as the daemon shows it.
type StreamStatus struct {
	persistence.StreamInfo
	Readers int  // tails that are being served
	Feed    bool // a feed of the daemon's configuration fills it
}

// StreamStatuses returns the status of every stream, sorted by name.
func (c *Client) StreamStatuses(ctx context.Context) ([]StreamStatus, error) {
	var answer struct{ Streams []StreamStatus }
	err := c.get(ctx, &answer, nil, "v1", "streams")
	return answer.Streams, err
}

// StreamStatus returns the status of one stream.
func (c *Client) StreamStatus(ctx context.Context, name string) (StreamStatus, error) {
	var status StreamStatus
	err := c.get(ctx, &status, nil, "v1", "streams", name)
	return status, err
}

// DeleteStream removes a stream for good. The daemon refuses it while a feed fills the stream.
func (c *Client) DeleteStream(ctx context.Context, name string) error {
	return c.waitFor(ctx, http.MethodDelete, deleteTime, nil, "v1", "streams", name)
}

// Reload makes the daemon read its configuration again. It returns when that is in force. An
// APIError named ConfigRejected says what is wrong with it; then nothing has changed.
func (c *Client) Reload(ctx context.Context) (changed messages.Reloaded, err error) {
	err = c.waitFor(ctx, http.MethodPost, reloadTime, &changed, "v1", "reload")
	return changed, err
}

// How long the daemon may take.
const (
	deleteTime = time.Minute
	reloadTime = 11 * time.Minute
)

// waitFor sends a request whose answer may take long.
func (c *Client) waitFor(ctx context.Context, method string, wait time.Duration, into any, path ...string) error {
	status, body, err := c.do(ctx, method, nil, wait, path...)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return apiError(status, body)
	}
	if into == nil {
		return nil
	}
	return c.decode(body, into)
}
