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

// Cursor returns the stored position of a feed.
func (c *Client) Cursor(ctx context.Context, feed string) (messages.Cursor, error) {
	var cursor messages.Cursor
	err := c.get(ctx, &cursor, nil, "v1", "feeds", feed, "cursor")
	return cursor, err
}

// Trim drops the oldest entries of a stream now, so that it keeps no more than keep.
func (c *Client) Trim(ctx context.Context, stream string, keep persistence.Retention) (messages.Trimmed, error) {
	query := url.Values{}
	for name, n := range map[string]int64{"age_s": int64(keep.Age / time.Second), "bytes": keep.Bytes, "entries": keep.Entries} {
		if n > 0 {
			query.Set(name, strconv.FormatInt(n, 10))
		}
	}
	var done messages.Trimmed
	status, body, err := c.do(ctx, http.MethodPost, query, deleteTime, "v1", "streams", stream, "trim")
	if err == nil && status != http.StatusOK {
		err = apiError(status, body)
	}
	if err == nil {
		err = c.decode(body, &done)
	}
	return done, err
}

// LogLevel returns the level of the daemon's log.
func (c *Client) LogLevel(ctx context.Context) (string, error) {
	var answer struct{ Level string }
	err := c.get(ctx, &answer, nil, "v1", "log", "level")
	return answer.Level, err
}

// SetLogLevel changes the level of the daemon's log, until its next reload or restart.
func (c *Client) SetLogLevel(ctx context.Context, level string) error {
	status, body, err := c.do(ctx, http.MethodPost, url.Values{"level": {level}}, 0, "v1", "log", "level")
	if err == nil && status != http.StatusOK {
		err = apiError(status, body)
	}
	return err
}

// Log returns the newest lines of the daemon's log.
func (c *Client) Log(ctx context.Context) ([]byte, error) { return c.raw(ctx, nil, "v1", "log") }

// Goroutines returns the stacks of all goroutines of the daemon.
func (c *Client) Goroutines(ctx context.Context) ([]byte, error) {
	return c.raw(ctx, url.Values{"text": {"1"}}, "v1", "profiles", "goroutine")
}

// Metrics returns the daemon's metrics in the format of Prometheus.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) { return c.raw(ctx, nil, "metrics") }

// raw returns an answer as it is.
func (c *Client) raw(ctx context.Context, query url.Values, path ...string) ([]byte, error) {
	status, body, err := c.do(ctx, http.MethodGet, query, 0, path...)
	if err == nil && status != http.StatusOK {
		err = apiError(status, body)
	}
	return body, err
}
