package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
)

// Options say which archive a Client calls, and how.
type Options struct {
	// BaseURL is the server, as "https://jetstream.us-east.bsky.network", with the path before
	// "/xrpc" if it has one.
	BaseURL string
	// Key is sent to the archive's calls at that host, and to nothing else; "" is none.
	Key       string
	UserAgent string
	// HTTP makes the requests. Its redirect policy and its cookies are not used.
	HTTP  *http.Client
	Clock clockwork.Clock
	Rand  *rand.Rand // jitter; the Client alone uses it

	// Waiting is told why and until when requests wait, and, with the zero time, that they go on; nil
	// for nobody. It is called by several goroutines, and must not block.
	Waiting func(until time.Time, why error)
}

// Client calls the archive of one server. It is safe for concurrent use.
type Client struct {
	opt  Options
	base *url.URL
	http http.Client
	gate gate
	list segmentList
}

const (
	routePlan    = "planSnapshot"
	routeList    = "listSegments"
	routeSegment = "getSegment"
	routeBlock   = "getBlock"

	// stallAfter is how long a server may send nothing.
	stallAfter = time.Minute
	// maxRedirects bounds redirects within the host.
	maxRedirects = 3
	// maxRefusal bounds the body of a refusal that is read, in bytes.
	maxRefusal = 4 << 10
)

// NewClient returns the client of an archive. Errors do not repeat the key.
func NewClient(opt Options) (*Client, error) {
	base, err := url.Parse(opt.BaseURL)
	switch {
	case err != nil:
		return nil, errors.New("archive: the base URL cannot be parsed")
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, errors.New(`archive: the base URL must be like "https://jetstream.us-east.bsky.network"`)
	case base.User != nil:
		return nil, errors.New("archive: the base URL has userinfo; a key is what archives want")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("archive: the base URL has a query or a fragment")
	case strings.ContainsFunc(opt.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("archive: the key has a space, or a character that is not ASCII")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	base.RawPath = ""
	c := &Client{opt: opt, base: base, http: *opt.HTTP}
	c.http.Jar = nil
	c.http.CheckRedirect = c.redirect
	return c, nil
}

// Host is the host that the client calls, with its port if the URL has one.
func (c *Client) Host() string { return strings.ToLower(c.base.Host) }

// redirectError is a redirect that is not followed.
type redirectError struct{ to string }

func (e *redirectError) Error() string { return fmt.Sprintf("%v: %s", ErrRedirect, e.to) }
func (e *redirectError) Unwrap() error { return ErrRedirect }

// redirect follows only to another archive call of the same origin.
func (c *Client) redirect(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme == c.base.Scheme && strings.EqualFold(r.URL.Host, c.base.Host) && strings.HasPrefix(r.URL.Path, c.base.Path+atproto.ArchivePath) && len(via) <= maxRedirects {
		return nil
	}
	return &redirectError{printable(c.scrub(r.URL.Scheme + "://" + r.URL.Host))}
}

// call is one request.
type call struct {
	method string
	route  string
	query  url.Values
	body   []byte // JSON, nil for none
	header map[string]string
}

// send makes one request and returns its answer, whose body the caller closes. An answer with another
// status than those given is a *RefusedError. The body of an answer that stalls ends with errStalled.
func (c *Client) send(ctx context.Context, q *call, accepted ...int) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	u := *c.base
	u.Path += atproto.ArchivePath + q.route
	u.RawQuery = q.query.Encode()
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		cancel(nil)
		return nil, errors.New("the request cannot be made") // the library's reason repeats the URL
	}
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.opt.UserAgent != "" {
		r.Header.Set("User-Agent", c.opt.UserAgent)
	}
	if c.opt.Key != "" {
		r.Header.Set("Authorization", "Bearer "+c.opt.Key)
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	stall := c.opt.Clock.AfterFunc(stallAfter, func() { cancel(errStalled) })
	resp, err := c.http.Do(r)
	if err != nil {
		stall.Stop()
		err = failure(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{resp.Body, ctx, cancel, stall}
	for _, status := range accepted {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	return nil, c.refused(q.route, resp)
}

// failure is the error of a request without an answer. The error of net/http repeats the URL.
func failure(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if _, redirected := errors.AsType[*redirectError](err); redirected {
		return err
	}
	return &networkError{err}
}

// watchedBody is the body of an answer: whenever something comes, the server has its time again.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  clockwork.Timer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.stall.Reset(stallAfter)
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			return n, cause
		}
		err = fmt.Errorf("%w: %w", errCut, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.stall.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
