package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// part is what one download fetches: a block, or a range of a segment.
type part struct {
	route string
	query url.Values
	etag  string // with its quotes: that of the plan's generation
	// from and size are the range of a segment; a size below 0 is the rest of it. A block has
	// neither.
	from, size int64
	most       int64 // bytes that are accepted
}

// toll is asked before bytes are downloaded, and told what came. Less than 0 bytes are given back.
type toll interface {
	take(ctx context.Context, bytes int64) error
	came(bytes int)
}

// answer decodes the JSON of a call, at most most bytes. Temporary failures are retried.
func (c *Client) answer(ctx context.Context, q *call, most int64) (body []byte, err error) {
	for p := newPatience(); ; {
		if err := c.pass(ctx); err != nil {
			return nil, err
		}
		if body, err = c.answerOnce(ctx, q, most); err == nil {
			return body, nil
		}
		if err := c.retry(ctx, p, fmt.Errorf("archive: %s: %w", q.route, err)); err != nil {
			return nil, err
		}
	}
}

func (c *Client) answerOnce(ctx context.Context, q *call, most int64) ([]byte, error) {
	resp, err := c.send(ctx, q, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case c.opt.Key != "" && bytes.Contains(body, []byte(c.opt.Key)):
		return nil, badAnswer("it repeats the key")
	case int64(len(body)) > most:
		return nil, fmt.Errorf("%w: an answer of more than %d bytes", ErrTooLarge, most)
	}
	return body, nil
}

// download appends a part to buf. An answer that is cut is continued where it was cut.
func (c *Client) download(ctx context.Context, p *part, buf []byte, t toll) ([]byte, error) {
	start := len(buf)
	for wait := newPatience(); ; {
		if err := c.pass(ctx); err != nil {
			return buf[:start], err
		}
		had := len(buf)
		more, err := c.downloadOnce(ctx, p, buf, start, t)
		if buf = more; err == nil {
			return buf, nil
		}
		if len(buf) > had {
			wait.progress()
		}
		if err := c.retry(ctx, wait, fmt.Errorf("archive: %s: %w", p.route, err)); err != nil {
			return buf[:start], err
		}
	}
}

// downloadOnce appends what is left of a part to buf, of which the bytes from start on are there.
func (c *Client) downloadOnce(ctx context.Context, p *part, buf []byte, start int, t toll) ([]byte, error) {
	have := int64(len(buf) - start)
	resp, err := c.send(ctx, p.call(have), http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return buf, err
	}
	defer resp.Body.Close()
	if tag := strings.TrimPrefix(c.scrub(resp.Header.Get("ETag")), "W/"); tag != p.etag {
		return buf, fmt.Errorf("%w: it is %.80q, the plan has %s", ErrChanged, tag, p.etag)
	}
	whole := resp.StatusCode == http.StatusOK
	switch {
	case whole && p.from > 0:
		return buf, errNoRange
	case whole: // from its beginning, whatever was asked for
		buf, have = buf[:start], 0
	default:
		if err := rangeBegins(c.scrub(resp.Header.Get("Content-Range")), p.from+have); err != nil {
			return buf, err
		}
	}
	left := resp.ContentLength
	if p.size >= 0 {
		if left = p.size - have; !whole && resp.ContentLength >= 0 && resp.ContentLength != left {
			return buf, badAnswer("%d bytes of a segment where %d were asked for", resp.ContentLength, left)
		}
	}
	if have+left > p.most {
		return buf, fmt.Errorf("%w: %d bytes, up to %d are taken", ErrTooLarge, have+left, p.most)
	}
	if left < 0 {
		return readAll(ctx, resp.Body, buf, p.most-have, t)
	}
	return read(ctx, resp.Body, buf, left, t)
}

// read appends n bytes of a body. It asks the toll before it takes memory, and takes back what did
// not come.
func read(ctx context.Context, body io.Reader, buf []byte, n int64, t toll) ([]byte, error) {
	if err := t.take(ctx, n); err != nil {
		return buf, err
	}
	buf = slices.Grow(buf, int(n))
	for n > 0 {
		got, err := body.Read(buf[len(buf) : len(buf)+int(n)])
		buf = buf[:len(buf)+got]
		n -= int64(got)
		t.came(got)
		if err != nil && n > 0 {
			if errors.Is(err, io.EOF) {
				err = errEnd
			}
			return buf, errors.Join(err, t.take(ctx, -n))
		}
	}
	return buf, nil
}

// readStep is how much is read at once of an answer that does not say its length.
const readStep = 256 << 10

// readAll appends the rest of a body, at most most bytes.
func readAll(ctx context.Context, body io.Reader, buf []byte, most int64, t toll) ([]byte, error) {
	for most >= 0 {
		had := len(buf)
		more, err := read(ctx, body, buf, min(readStep, most+1), t)
		most -= int64(len(more) - had)
		buf = more
		if errors.Is(err, errEnd) && most >= 0 {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
	return buf, ErrTooLarge
}

// call is the request for what is left of a part of which some bytes are there.
func (p *part) call(have int64) *call {
	q := &call{method: http.MethodGet, route: p.route, query: p.query, header: map[string]string{"Accept-Encoding": "identity"}}
	if p.route == routeSegment {
		q.header["If-Match"] = p.etag
	}
	if p.route == routeSegment || have > 0 {
		from := strconv.FormatInt(p.from+have, 10)
		to := ""
		if p.route == routeSegment && p.size >= 0 {
			to = strconv.FormatInt(p.from+p.size-1, 10)
		}
		q.header["Range"] = "bytes=" + from + "-" + to
		q.header["If-Range"] = p.etag
	}
	return q
}

// rangeBegins checks where the range of an answer begins.
func rangeBegins(header string, want int64) error {
	text, ok := strings.CutPrefix(header, "bytes ")
	from, _, found := strings.Cut(text, "-")
	n, err := strconv.ParseInt(from, 10, 64)
	if !ok || !found || err != nil || n != want {
		return badAnswer("the range %.60q, asked for was one from %d", header, want)
	}
	return nil
}

// size asks for the length of a block or a segment without downloading it.
func (c *Client) size(ctx context.Context, p *part) (int64, error) {
	for wait := newPatience(); ; {
		if err := c.pass(ctx); err != nil {
			return 0, err
		}
		resp, err := c.send(ctx, &call{method: http.MethodHead, route: p.route, query: p.query}, http.StatusOK)
		if err == nil {
			_ = resp.Body.Close() // it has none
			if resp.ContentLength < 0 {
				return 0, fmt.Errorf("archive: %s: %w", p.route, badAnswer("no length"))
			}
			return resp.ContentLength, nil
		}
		if err := c.retry(ctx, wait, fmt.Errorf("archive: %s: %w", p.route, err)); err != nil {
			return 0, err
		}
	}
}

// segmentPart is the range of a segment.
func (u *unit) segmentPart(from, size, most int64) *part {
	return &part{route: routeSegment, query: url.Values{"name": {u.name}}, etag: `"` + u.checksum + `"`, from: from, size: size, most: most}
}

// blockPart is one block of a segment.
func (u *unit) blockPart(n int, most int64) *part {
	number := strconv.Itoa(n)
	return &part{route: routeBlock, query: url.Values{"segment": {u.name}, "blockIndex": {number}}, etag: `"` + u.checksum + ":" + number + `"`, size: -1, most: most}
}
