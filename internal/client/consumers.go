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

// Batch is a batch of a named consumer: entries of its stream, leased until they are acknowledged.
type Batch struct {
	// Token names the lease for Ack, Nack and Extend. It is "" when there is no entry yet, and when
	// a batch is already out or held back after a Nack.
	Token string
	// Until is when the batch goes out again, by the store's clock. Without a token, it is when
	// that other batch goes out again; it is zero if there is none.
	Until      time.Time
	Left       time.Duration       // from now to Until, by the same clock
	Deliveries int                 // how often the batch was handed out
	Frames     []persistence.Entry // oldest first
	LagEntries int64               // entries of the stream after the batch

	// ClosedAt is set when the stream is closed for good. Then a batch without entries is the end.
	ClosedAt     time.Time
	ClosedReason string
}

// NextOptions are the options of Next. The zero value asks without waiting, with the daemon's
// defaults.
type NextOptions struct {
	Limit int           // entries, 1…1000; 0 for 100
	Block time.Duration // how long to wait for entries, 0…30 s
	Lease time.Duration // 1 s…1 h; 0 for 30 s
}

// Consumers describes a stream's consumers, sorted by name.
func (c *Client) Consumers(ctx context.Context, stream string) ([]messages.ConsumerStatus, error) {
	var body struct{ Consumers []messages.ConsumerStatus }
	err := c.get(ctx, &body, nil, "v1", "streams", stream, "consumers")
	return body.Consumers, err
}

// Consumer describes one consumer. The error matches persistence.ErrNoConsumer when the stream has
// no consumer with that name.
func (c *Client) Consumer(ctx context.Context, stream, name string) (status messages.ConsumerStatus, err error) {
	err = c.get(ctx, &status, nil, consumerPath(stream, name)...)
	return status, err
}

// CreateConsumer creates a consumer that begins after an entry's ID, at "0-0" (the oldest stored
// entry) or at "now". made is false if the same consumer exists already. If another consumer has
// that name, the error is a 409 ConsumerExists.
func (c *Client) CreateConsumer(ctx context.Context, stream, name, after string, filter messages.ConsumerFilter) (status messages.ConsumerStatus, made bool, err error) {
	body := struct {
		After  string                  `json:"after"`
		Filter messages.ConsumerFilter `json:"filter,omitzero"`
	}{after, filter}
	code, err := c.send(ctx, http.MethodPut, body, &status, consumerPath(stream, name)...)
	return status, code == http.StatusCreated, err
}

// DeleteConsumer deletes a consumer and its position.
func (c *Client) DeleteConsumer(ctx context.Context, stream, name string) error {
	_, err := c.send(ctx, http.MethodDelete, nil, nil, consumerPath(stream, name)...)
	return err
}

// SeekConsumer moves a consumer backward or forward, to after an entry's ID, "0-0" or "now", and
// ends its lease. A consumer that retention has overtaken continues this way.
func (c *Client) SeekConsumer(ctx context.Context, stream, name, after string) (status messages.ConsumerStatus, err error) {
	_, err = c.send(ctx, http.MethodPost, map[string]string{"after": after}, &status, consumerPath(stream, name, "seek")...)
	return status, err
}

// Next leases the consumer's next batch. It waits up to opt.Block for an entry and for the turn. A
// batch without entries is no error: there was none in time.
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
		Frames       []persistence.Entry
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

// Ack acknowledges the token's batch. A repeated Ack is no error. If the lease is lost, the error
// is a 409 LeaseLost.
func (c *Client) Ack(ctx context.Context, stream, name, token string) error {
	return c.lease(ctx, stream, name, "ack", map[string]any{"token": token})
}

// Nack returns the token's batch. The batch goes out again after the delay, 0…1 h.
func (c *Client) Nack(ctx context.Context, stream, name, token string, delay time.Duration) error {
	return c.lease(ctx, stream, name, "nack", map[string]any{"token": token, "delay_ms": delay.Milliseconds()})
}

// Extend makes the token's lease end after the duration lease from now, 1 s…1 h.
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
