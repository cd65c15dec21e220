package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tempestd/internal/version"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	dialTimeout = 5 * time.Second
	// callTimeout bounds a call, in addition to the time that it asks the daemon to wait.
	callTimeout = 30 * time.Second
	maxBody     = 64 << 20 // bytes; the daemon ends a response at 8 MiB or after one entry
)

// Client talks to one daemon. It is safe for concurrent use.
type Client struct {
	base  url.URL
	token string
	http  http.Client
}

// New returns a client of the daemon at addr: "host:port" as in the configuration's http.listen, or
// an http(s) URL. An unspecified host (":7077", "0.0.0.0:7077") means this machine. The token is ""
// for a daemon without one.
func New(addr, token string) (*Client, error) {
	base, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, token: token, http: http.Client{
		// No proxy: the daemon is on this machine or named by its operator, and only the daemon may
		// see the token. For the same reason there are no redirects.
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, IdleConnTimeout: time.Minute, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// NewSocket returns a client of the daemon with that control socket, which needs no token.
func NewSocket(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
	}
	return &Client{base: url.URL{Scheme: "http", Host: "localhost"}, http: http.Client{
		Transport:     &http.Transport{DialContext: dial, IdleConnTimeout: time.Minute, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// plainAddr matches an address that has no place for a password.
var plainAddr = regexp.MustCompile(`^([a-z]{2,5}://)?[a-z0-9.-]{0,64}(:[0-9]{0,6})?$`)

func parseAddr(addr string) (url.URL, error) {
	bad := errors.New("daemon address: accepted: host:port or http://host:port, and nothing behind it")
	if plainAddr.MatchString(addr) { // another form may contain a secret
		bad = fmt.Errorf("daemon address %.100q: accepted: host:port or http://host:port", addr)
	}
	text := addr
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	if strings.Contains(text, "@") { // the error must not repeat it
		return url.URL{}, errors.New("daemon address: got a user or a password in it; accepted: host:port or http://host:port, and a token of its own")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return url.URL{}, bad
	}
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		if u.Port() == "" {
			return url.URL{}, bad
		}
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return *u, nil
}

// Addr returns the daemon's base URL.
func (c *Client) Addr() string { return c.base.String() }

// Close closes the idle connections. Calls in progress are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Feeds returns the status of every feed.
func (c *Client) Feeds(ctx context.Context) ([]messages.FeedStatus, error) {
	var body struct{ Feeds []messages.FeedStatus }
	err := c.get(ctx, &body, nil, "v1", "feeds")
	return body.Feeds, err
}

// Feed returns the status of one feed. The error matches messages.ErrNoFeed when no feed has that
// name.
func (c *Client) Feed(ctx context.Context, name string) (messages.FeedStatus, error) {
	var status messages.FeedStatus
	err := c.get(ctx, &status, nil, "v1", "feeds", name)
	return status, err
}

// Reconnect makes the feed close its connection and open a new one.
func (c *Client) Reconnect(ctx context.Context, feed string) error {
	return c.command(ctx, feed, "reconnect")
}

// Pause makes the feed close its connection. The feed stays disconnected until Resume.
func (c *Client) Pause(ctx context.Context, feed string) error { return c.command(ctx, feed, "pause") }

// Resume ends a Pause.
func (c *Client) Resume(ctx context.Context, feed string) error {
	return c.command(ctx, feed, "resume")
}

// CloseStream closes a stream for good and returns its description. The error matches
// persistence.ErrNoStream when no stream has that name.
func (c *Client) CloseStream(ctx context.Context, stream, reason string) (persistence.StreamInfo, error) {
	var info persistence.StreamInfo
	status, body, err := c.do(ctx, http.MethodPost, url.Values{"reason": {reason}}, 0, "v1", "streams", stream, "close")
	if err == nil && status != http.StatusOK {
		err = apiError(status, body)
	}
	if err == nil {
		err = c.decode(body, &info)
	}
	return info, err
}

// Ready returns whether the daemon is ready, and the reasons if it is not.
func (c *Client) Ready(ctx context.Context) (messages.Readiness, error) {
	var ready messages.Readiness
	status, body, err := c.do(ctx, http.MethodGet, nil, 0, "readyz")
	if err != nil {
		return ready, err
	}
	// A daemon that is not ready answers 503 with the reasons. A daemon that is stopping answers
	// 503 with an error.
	if refusal := apiError(status, body); status != http.StatusOK && (status != http.StatusServiceUnavailable || refusal.Name != "") {
		return ready, refusal
	}
	return ready, c.decode(body, &ready)
}

// Streams describes every stored stream.
func (c *Client) Streams(ctx context.Context) ([]persistence.StreamInfo, error) {
	var body struct{ Streams []persistence.StreamInfo }
	err := c.get(ctx, &body, nil, "v1", "streams")
	return body.Streams, err
}

// Stream describes one stream. The error matches persistence.ErrNoStream when no stream has that
// name.
func (c *Client) Stream(ctx context.Context, name string) (persistence.StreamInfo, error) {
	var info persistence.StreamInfo
	err := c.get(ctx, &info, nil, "v1", "streams", name)
	return info, err
}

// Frames reads the closed range [from, to] of a stream, oldest first, up to limit (1…1000) entries.
// The cursors are "start", "end", "<ms>" or "<ms>-<seq>". The daemon may return fewer entries than
// limit although there are more: the end of the range is reached when a call returns no entry.
func (c *Client) Frames(ctx context.Context, stream, from, to string, limit int) (persistence.Page, error) {
	query := url.Values{"from": {from}, "to": {to}, "limit": {strconv.Itoa(limit)}}
	return c.read(ctx, query, 0, "v1", "streams", stream, "frames")
}

// Tail reads up to limit (1…1000) entries that come after the exclusive cursor ("0-0" for the
// beginning) and pass the filter. If there are none, it waits for block (0…30 s) and then returns
// an empty page, which is no error. The next page begins after the result's Cursor; a filter may
// move the Cursor without an entry. A stream is finished when it is closed and Behind is 0. An
// error that matches *persistence.CursorExpiredError says where reading can continue.
func (c *Client) Tail(ctx context.Context, stream, after string, block time.Duration, limit int, filter messages.ConsumerFilter) (persistence.Page, error) {
	query := url.Values{"after": {after}, "block_ms": {strconv.FormatInt(block.Milliseconds(), 10)}, "limit": {strconv.Itoa(limit)}}
	for name, list := range map[string][]string{"collections": filter.Collections, "dids": filter.DIDs, "kinds": filter.Kinds} {
		if len(list) > 0 {
			query.Set(name, strings.Join(list, ","))
		}
	}
	if filter.Repaired != "" {
		query.Set("repaired", filter.Repaired)
	}
	return c.read(ctx, query, block, "v1", "streams", stream, "tail")
}

func (c *Client) command(ctx context.Context, feed, verb string) error {
	status, body, err := c.do(ctx, http.MethodPost, nil, 0, "v1", "feeds", feed, verb)
	if err == nil && status != http.StatusAccepted {
		err = apiError(status, body)
	}
	return err
}

func (c *Client) read(ctx context.Context, query url.Values, wait time.Duration, path ...string) (persistence.Page, error) {
	var page struct {
		Entries      []persistence.Entry `json:"frames"`
		ClosedAt     time.Time           `json:"closed_at"`
		ClosedReason string              `json:"closed_reason"`
		Cursor       persistence.EntryID
		Oldest       persistence.EntryID
		Newest       persistence.EntryID
		Behind       int64 `json:"lag_entries"`
		Appended     int64 `json:"-"` // not in the HTTP response
	}
	status, body, err := c.do(ctx, http.MethodGet, query, wait, path...)
	if err == nil && status != http.StatusOK {
		err = apiError(status, body)
	}
	if err == nil {
		err = c.decode(body, &page)
	}
	return persistence.Page(page), err
}

func (c *Client) get(ctx context.Context, into any, query url.Values, path ...string) error {
	status, body, err := c.do(ctx, http.MethodGet, query, 0, path...)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return apiError(status, body)
	}
	return c.decode(body, into)
}

func (c *Client) decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("answer of %s is not a tempestd's: %w", c.base.Host, err)
	}
	return nil
}

// send makes a request that changes something. It has a JSON body unless body is nil, and send
// decodes the answer unless into is nil.
func (c *Client) send(ctx context.Context, method string, body, into any, path ...string) (status int, err error) {
	var given []byte
	if body != nil {
		if given, err = json.Marshal(body); err != nil {
			return 0, fmt.Errorf("encode a request: %w", err)
		}
	}
	status, answer, err := c.exchange(ctx, method, nil, given, 0, path...)
	switch {
	case err != nil:
		return 0, err
	case status < 200 || status > 299:
		return status, apiError(status, answer)
	case into == nil:
		return status, nil
	}
	return status, c.decode(answer, into)
}

// do makes one request without a body and reads its response.
func (c *Client) do(ctx context.Context, method string, query url.Values, wait time.Duration, path ...string) (status int, body []byte, err error) {
	return c.exchange(ctx, method, query, nil, wait, path...)
}

// exchange makes one request and reads its response.
func (c *Client) exchange(ctx context.Context, method string, query url.Values, given []byte, wait time.Duration, path ...string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, wait+callTimeout, errors.New("no answer in time"))
	defer cancel()
	req, err := c.request(ctx, method, query, given, path...)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // without the URL that http.Client adds
		}
		return 0, nil, unreachable(c.base.Host, err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("answer of %s: %w", c.base.Host, err)
	case len(body) > maxBody:
		return 0, nil, fmt.Errorf("answer of %s is longer than %d MiB", c.base.Host, maxBody>>20)
	}
	return resp.StatusCode, body, nil
}

// request builds a request to the daemon.
func (c *Client) request(ctx context.Context, method string, query url.Values, given []byte, path ...string) (*http.Request, error) {
	for i, p := range path {
		path[i] = url.PathEscape(p)
	}
	u := c.base.JoinPath(path...)
	u.RawQuery = query.Encode()
	// An empty reader is no body.
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(given))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", version.UserAgent(version.This().Version))
	if len(given) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}
