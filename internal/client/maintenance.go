package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"tempestd/persistence"
)

// maxLine bounds one line of an answer that has many lines, in bytes. The line of a snapshot names
// every file and contains the consumers.
const maxLine = 64 << 20

// Verify makes the daemon check the files of one stream, or of the whole store if stream is "". It
// reads up to rate MiB per second; 0 stands for the daemon's default. It calls found for each
// finding and progress during the run. Only ctx bounds its duration.
func (c *Client) Verify(ctx context.Context, stream string, rate int, found func(persistence.Finding), progress func(persistence.VerifyProgress)) (persistence.Verified, error) {
	path, query := []string{"v1", "store", "verify"}, url.Values{}
	if stream != "" {
		path = []string{"v1", "streams", stream, "verify"}
	}
	if rate > 0 {
		query.Set("rate", strconv.Itoa(rate))
	}
	lines, err := c.lines(ctx, query, path...)
	if err != nil {
		return persistence.Verified{}, err
	}
	defer lines.Close()
	for {
		var line struct {
			Finding  *persistence.Finding
			Progress *persistence.VerifyProgress
			Verified *persistence.Verified
		}
		if err := lines.next(&line); err != nil {
			return persistence.Verified{}, err
		}
		switch {
		case line.Finding != nil:
			found(*line.Finding)
		case line.Progress != nil:
			progress(*line.Progress)
		case line.Verified != nil:
			return *line.Verified, nil
		}
	}
}

// Snapshot makes the daemon name the files that it has now. The files stay in place until release
// is called.
func (c *Client) Snapshot(ctx context.Context) (snapshot *persistence.Snapshot, release func(), err error) {
	lines, err := c.lines(ctx, nil, "v1", "store", "snapshot")
	if err != nil {
		return nil, nil, err
	}
	var line struct{ Snapshot *persistence.Snapshot }
	if err = lines.next(&line); err == nil && line.Snapshot == nil {
		err = fmt.Errorf("answer of %s is not a tempestd's", c.base.Host)
	}
	if err != nil {
		lines.Close()
		return nil, nil, err
	}
	return line.Snapshot, lines.Close, nil
}

// lines reads a long answer line by line.
type lines struct {
	c      *Client
	body   io.ReadCloser
	in     *bufio.Scanner
	cancel context.CancelFunc
}

// lines makes a request with a long answer. Only ctx bounds its duration.
func (c *Client) lines(ctx context.Context, query url.Values, path ...string) (*lines, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := c.request(ctx, http.MethodPost, query, nil, path...)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cancel()
		return nil, unreachable(c.base.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return nil, apiError(resp.StatusCode, body)
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, maxLine)
	return &lines{c: c, body: resp.Body, in: in, cancel: cancel}, nil
}

// next reads one line. If the line is an error of the daemon, next returns it.
func (l *lines) next(into any) error {
	if !l.in.Scan() {
		err := l.in.Err()
		if err == nil {
			err = errors.New("it ends early: the daemon is gone, or stopping")
		}
		return fmt.Errorf("answer of %s: %w", l.c.base.Host, err)
	}
	if refusal := apiError(http.StatusServiceUnavailable, l.in.Bytes()); refusal.Name != "" {
		return refusal
	}
	return l.c.decode(l.in.Bytes(), into)
}

// Close ends the request.
func (l *lines) Close() {
	l.cancel()
	_ = l.body.Close()
}
