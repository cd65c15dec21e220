package xrpc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/pace"
)

const (
	// attempts is how often a read is sent in all.
	attempts = 5
	// maxRefusal bounds the body of a refusal, bytes.
	maxRefusal = 16 << 10
	// defaultLimit bounds the body of a response, bytes.
	defaultLimit = 1 << 20
	// defaultTimeout is for a whole request, from when it is sent to the end of its response.
	defaultTimeout = 60 * time.Second
)

// Options are of a Client.
type Options struct {
	HTTP      *http.Client // of guard.New
	Pace      *pace.Hosts
	Clock     clockwork.Clock
	UserAgent string // product and contact
	// Timeout is for a request that names none; 0 for 60 s.
	Timeout time.Duration
}

// Client calls hosts. It is safe for concurrent use.
type Client struct {
	opt Options
	// direct does not follow redirects.
	direct   http.Client
	received atomic.Int64
}

// Received returns how many bytes of bodies the client has read so far.
func (c *Client) Received() int64 { return c.received.Load() }

// New returns a Client.
func New(opt Options) *Client {
	c := &Client{opt: opt, direct: *opt.HTTP}
	c.direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Request is one call.
type Request struct {
	URL string
	// Post sends Body, which may be empty, instead of reading.
	Post bool
	Body []byte // JSON
	// Bearer is the token of a session, "" for none.
	Bearer string
	// Limit bounds the response, bytes; 0 for 1 MiB.
	Limit int64
	// Timeout is for the request without the wait for its turn; 0 for that of the Client.
	Timeout time.Duration
}

func (r Request) secret() bool { return r.Post || r.Bearer != "" }

// URL is the one of a method of the protocol at a server, which is an origin such as
// "https://pds.example".
func URL(server, method string, query url.Values) string {
	u := server + "/xrpc/" + method
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	return u
}

// Do returns the body of a response of status 200. Another status is an *Error; the other errors
// are ErrUnreachable, ErrTooLarge, guard.ErrForbidden and those of ctx.
func (c *Client) Do(ctx context.Context, r Request) (body []byte, err error) {
	err = c.Read(ctx, r, func(from io.Reader) error {
		body, err = io.ReadAll(from)
		return err
	})
	return body, err
}

// Read is Do for a body that is read as it comes. Errors of read are returned as they are; from
// what read gets them is told by the kinds of Do. It is called once at most.
func (c *Client) Read(ctx context.Context, r Request, read func(io.Reader) error) error {
	u, err := url.Parse(r.URL)
	if err != nil {
		return fmt.Errorf("%w: a malformed URL", guard.ErrForbidden)
	}
	for n := 1; ; n++ {
		err := c.once(ctx, u, r, read)
		var refused *Error
		again := errors.As(err, &refused) && (refused.Status == http.StatusTooManyRequests || refused.Status >= 500 && refused.Status != http.StatusNotImplemented)
		if !again || r.secret() || n == attempts {
			return err
		}
	}
}

// once sends the request, when its turn has come.
func (c *Client) once(ctx context.Context, u *url.URL, r Request, read func(io.Reader) error) error {
	turn, err := c.opt.Pace.Begin(ctx, u.Host)
	if err != nil {
		return err
	}
	status, header := 0, http.Header(nil)
	defer func() { turn.End(status, header) }()
	within, cancel := clockwork.WithTimeout(ctx, c.opt.Clock, cmp.Or(r.Timeout, c.opt.Timeout, defaultTimeout))
	defer cancel()
	req, err := c.request(within, r)
	if err != nil {
		return err
	}
	client := c.opt.HTTP
	if r.secret() {
		client = &c.direct
	}
	resp, err := client.Do(req)
	if err != nil {
		return c.lost(ctx, u.Host, err)
	}
	defer resp.Body.Close()
	status, header = resp.StatusCode, resp.Header
	body := &limited{from: &counted{resp.Body, &c.received}, left: cmp.Or(r.Limit, defaultLimit)}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body.from, maxRefusal))
		return refusal(u.Host, resp.StatusCode, text, r.secret())
	}
	err = read(body)
	if body.err != nil && body.err != io.EOF { // it is the cause of whatever read made of it
		if body.err == ErrTooLarge {
			return fmt.Errorf("%s: %w, more than %d bytes", u.Host, ErrTooLarge, cmp.Or(r.Limit, defaultLimit))
		}
		status = 0
		return c.lost(ctx, u.Host, body.err)
	}
	return err
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if r.Post {
		method = http.MethodPost
		if len(r.Body) > 0 {
			body = bytes.NewReader(r.Body)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, body)
	if err != nil {
		return nil, fmt.Errorf("%w: a malformed URL", guard.ErrForbidden)
	}
	req.Header.Set("User-Agent", c.opt.UserAgent)
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.Bearer)
	}
	return req, nil
}

// lost is the error of a request without a whole response.
func (c *Client) lost(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// What stands around the cause has the whole URL in it, which a redirect chose.
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, guard.ErrForbidden) {
		return fmt.Errorf("%s: %w", host, err)
	}
	return fmt.Errorf("%s: %w: %w", host, ErrUnreachable, err)
}

// counted counts what is read.
type counted struct {
	from  io.Reader
	total *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.total.Add(int64(n))
	return n, err
}

// limited ends with ErrTooLarge when there is more, and remembers how it ended.
type limited struct {
	from io.Reader
	left int64
	err  error
}

func (l *limited) Read(b []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.left <= 0 {
		var one [1]byte
		n, err := io.ReadFull(l.from, one[:])
		if l.err = err; n > 0 {
			l.err = ErrTooLarge
		}
		return 0, l.err
	}
	n, err := l.from.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	l.err = err
	return n, err
}
