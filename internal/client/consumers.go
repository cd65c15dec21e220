package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// Batch is what a named consumer was handed out: some of its stream's entries, leased until they are acknowledged.
type Batch struct {
	Token      string              // names the lease to Ack, Nack and Extend; "" for nothing that is there yet, or is the caller's turn
	Until      time.Time           // when the batch goes out again, by the store's clock; without a token: when the one does that somebody else has
	Left       time.Duration       // from now to Until, by the same clock
	Deliveries int                 // how often the batch went out
	Frames     []persistence.Frame // oldest first
	LagEntries int64               // entries of the stream after the batch

	ClosedAt     time.Time // of a stream that is closed for good; without frames nothing more comes
	ClosedReason string
}

// NextOptions say what is wanted of Next. The zero value is a peek with the daemon's defaults.
type NextOptions struct {
	Limit int           // entries, 1…1000; 0 for 100
	Block time.Duration // how long to wait for some, 0…30 s
	Lease time.Duration // 1 s…1 h; 0 for 30 s
}

// Consumers describes a stream's consumers, by name.
func (c *Client) Consumers(ctx context.Context, stream string) ([]messages.ConsumerStatus, error) {
	var body struct{ Consumers []messages.ConsumerStatus }
	err := c.get(ctx, &body, nil, "v1", "streams", stream, "consumers")
	return body.Consumers, err
}

// Consumer describes one. The error matches persistence.ErrNoConsumer when the stream has none of that name.
func (c *Client) Consumer(ctx context.Context, stream, name string) (status messages.ConsumerStatus, err error) {
	err = c.get(ctx, &status, nil, consumerPath(stream, name)...)
	return status, err
}

// CreateConsumer makes a consumer that begins after an entry's ID, at "0-0" (with what is kept) or "now". Made is false where it was there already, the same;
// another one of that name is a 409 ConsumerExists.
func (c *Client) CreateConsumer(ctx context.Context, stream, name, after string, filter messages.ConsumerFilter) (status messages.ConsumerStatus, made bool, err error) {
	body := struct {
		After  string                  `json:"after"`
		Filter messages.ConsumerFilter `json:"filter,omitzero"`
	}{after, filter}
	code, err := c.send(ctx, http.MethodPut, body, &status, consumerPath(stream, name)...)
	return status, code == http.StatusCreated, err
}

// DeleteConsumer removes a consumer and its position.
func (c *Client) DeleteConsumer(ctx context.Context, stream, name string) error {
	_, err := c.send(ctx, http.MethodDelete, nil, nil, consumerPath(stream, name)...)
	return err
}

// SeekConsumer moves a consumer, back or on, to after an entry's ID, "0-0" or "now", and takes back what is out. It is how one goes on that retention has
// overtaken.
func (c *Client) SeekConsumer(ctx context.Context, stream, name, after string) (status messages.ConsumerStatus, err error) {
	_, err = c.send(ctx, http.MethodPost, map[string]string{"after": after}, &status, consumerPath(stream, name, "seek")...)
	return status, err
}

// Next leases the consumer's next batch, waiting for one and for the turn. A batch without frames is no error: there was none in time.
func (c *Client) Next(ctx context.Context, stream, name string, opt NextOptions) (Batch, error) {
	query := url.Values{"block_ms": {strconv.FormatInt(opt.Block.Milliseconds(), 10)}}
	if opt.Limit != 0 {
		query.Set("limit", strconv.Itoa(opt.Limit))
	}
	if opt.Lease != 0 {
		query.Set("lease_ms", strconv.FormatInt(opt.Lease.Milliseconds(), 10))
	}
	var body struct {
		Token        string
		Until        time.Time
		UntilMS      int64 `json:"until_ms"`
		Deliveries   int
		Frames       []persistence.Frame
		LagEntries   int64     `json:"lag_entries"`
		ClosedAt     time.Time `json:"closed_at"`
		ClosedReason string    `json:"closed_reason"`
	}
	status, text, err := c.do(ctx, http.MethodGet, query, opt.Block, consumerPath(stream, name, "next")...)
	if err == nil && status != http.StatusOK {
		err = apiError(status, text)
	}
	if err == nil {
		err = c.decode(text, &body)
	}
	return Batch{Token: body.Token, Until: body.Until, Left: time.Duration(body.UntilMS) * time.Millisecond, Deliveries: body.Deliveries,
		Frames: body.Frames, LagEntries: body.LagEntries, ClosedAt: body.ClosedAt, ClosedReason: body.ClosedReason}, err
}

// Ack says that the token's batch was dealt with. Saying it again is no error; a lease that was lost is a 409 LeaseLost.
func (c *Client) Ack(ctx context.Context, stream, name, token string) error {
	return c.lease(ctx, stream, name, "ack", map[string]any{"token": token})
}

// Nack gives the token's batch back. It goes out again after the delay, 0…1 h.
func (c *Client) Nack(ctx context.Context, stream, name, token string, delay time.Duration) error {
	return c.lease(ctx, stream, name, "nack", map[string]any{"token": token, "delay_ms": delay.Milliseconds()})
}

// Extend makes the token's lease end so long from now, 1 s…1 h.
func (c *Client) Extend(ctx context.Context, stream, name, token string, lease time.Duration) error {
	return c.lease(ctx, stream, name, "extend", map[string]any{"token": token, "lease_ms": lease.Milliseconds()})
}

func (c *Client) lease(ctx context.Context, stream, name, verb string, body any) error {
	_, err := c.send(ctx, http.MethodPost, body, nil, consumerPath(stream, name, verb)...)
	return err
}

func consumerPath(stream, name string, verb ...string) []string {
	return append([]string{"v1", "streams", stream, "consumers", name}, verb...)
}
