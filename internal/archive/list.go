package archive

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"sync"
	"time"

	"tempestd/internal/archive/jss"
)

const (
	// listPage is how many segments are asked for at once: the most that servers give.
	listPage = 1000
	// maxList bounds the JSON of a page of the list.
	maxList = 4 << 20
	// maxSegments bounds the list. An archive of a year has about 200 000 segments.
	maxSegments = 1 << 21
)

// segment is a sealed segment in the list. Times are Unix µs by the server's clock.
type segment struct {
	Name           string
	Index          uint64
	SizeBytes      int64
	Checksum       string
	EventCount     int64
	MinSeq, MaxSeq uint64
	MinWitnessedAt int64
	MaxWitnessedAt int64
}

// segmentList holds the list of a server's segments. Segments are added at its end; a compaction
// changes sizes and checksums of old ones, which matters to estimates alone.
type segmentList struct {
	mu     sync.Mutex
	all    []segment
	cursor string // of the newest page
	kept   int    // segments before that page
}

// parseList reads a page of the list, which follows the segment with the index prev; -1 for the
// first page.
func parseList(body []byte, prev int64) (segments []segment, cursor string, err error) {
	r := readJSON(body)
	err = r.members(func(key string) error {
		switch key {
		case "cursor":
			return r.Decode(&cursor)
		case "segments":
			return r.elements(listPage, func() error {
				var g segment
				if err := r.Decode(&g); err != nil {
					return err
				}
				segments = append(segments, g)
				return nil
			})
		}
		return r.skip()
	})
	switch {
	case errors.Is(err, ErrBadAnswer):
		return nil, "", err
	case err != nil:
		return nil, "", badAnswer("a page of the list: %s", printable(err.Error()))
	}
	for _, g := range segments {
		index, err := jss.ParseName(g.Name)
		switch {
		case err != nil || index != g.Index || index > 1<<62:
			return nil, "", badAnswer("a list with segment %d named %.40q", g.Index, g.Name)
		case int64(index) <= prev:
			return nil, "", badAnswer("a list with segment %d after %d", index, prev)
		case !checksumSyntax.MatchString(g.Checksum):
			return nil, "", badAnswer("a list with the checksum %.40q for %s", g.Checksum, g.Name)
		case g.MinSeq > g.MaxSeq || g.MinWitnessedAt > g.MaxWitnessedAt || g.SizeBytes < 0 || g.EventCount < 0:
			return nil, "", badAnswer("a list with bounds of %s that make no sense", g.Name)
		}
		prev = int64(index)
	}
	return segments, cursor, nil
}

func (c *Client) listPage(ctx context.Context, limit int, cursor string, prev int64) ([]segment, string, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	body, err := c.answer(ctx, &call{method: http.MethodGet, route: routeList, query: q}, maxList)
	if err != nil {
		return nil, "", err
	}
	return parseList(body, prev)
}

// segments returns the list as it is now. Only the pages from the last known one on are asked for.
func (c *Client) segments(ctx context.Context) ([]segment, error) {
	l := &c.list
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		known := l.all[:l.kept:l.kept]
		prev := int64(-1)
		if l.kept > 0 {
			prev = int64(known[l.kept-1].Index)
		}
		more, next, err := c.listPage(ctx, listPage, l.cursor, prev)
		if err != nil {
			return nil, err
		}
		l.all = append(known, more...)
		switch {
		case next == "":
			return l.all, nil
		case next == l.cursor || len(more) == 0:
			return nil, badAnswer("a list that does not advance")
		case len(l.all) > maxSegments:
			return nil, badAnswer("a list of more than %d segments", maxSegments)
		}
		l.cursor, l.kept = next, len(l.all)
	}
}

// witnessed returns a time, Unix µs by the server's clock, at which it had witnessed every event of
// the list's segments up to a number; 0 if the list has none. It makes no request.
func (c *Client) witnessed(seq uint64) int64 {
	c.list.mu.Lock()
	defer c.list.mu.Unlock()
	all := c.list.all
	i := sort.Search(len(all), func(i int) bool { return all[i].MaxSeq > seq })
	if i == 0 {
		return 0
	}
	return all[i-1].MaxWitnessedAt
}

// SeqBefore returns a sequence number after which every archived event lies that the server witnessed
// at a time or later, by its clock. known is false if no sealed segment has such an event; then the
// number is that of the last sealed event.
func (c *Client) SeqBefore(ctx context.Context, t time.Time) (seq uint64, known bool, err error) {
	all, err := c.segments(ctx)
	if err != nil {
		return 0, false, err
	}
	us := t.UnixMicro()
	i := sort.Search(len(all), func(i int) bool { return all[i].MaxWitnessedAt >= us })
	switch {
	case i < len(all):
		return max(all[i].MinSeq, 1) - 1, true, nil
	case len(all) > 0:
		return all[len(all)-1].MaxSeq, false, nil
	}
	return 0, false, nil
}

// SeqUntil returns a sequence number up to which every archived event lies that the server witnessed
// until a time, by its clock. known is false if events of that time may not be sealed yet; then the
// number is that of the last sealed event.
func (c *Client) SeqUntil(ctx context.Context, t time.Time) (seq uint64, known bool, err error) {
	all, err := c.segments(ctx)
	if err != nil || len(all) == 0 {
		return 0, false, err
	}
	us := t.UnixMicro()
	i := sort.Search(len(all), func(i int) bool { return all[i].MinWitnessedAt > us })
	if i < len(all) {
		return all[i].MinSeq - 1, true, nil
	}
	last := all[len(all)-1]
	return last.MaxSeq, last.MaxWitnessedAt > us, nil
}

// Beginning returns when the server witnessed its first archived event, by its clock; the zero time
// if nothing is sealed.
func (c *Client) Beginning(ctx context.Context) (time.Time, error) {
	first, err := c.instance(ctx)
	if err != nil || !first.Known() {
		return time.Time{}, err
	}
	return time.UnixMicro(first.MinWitnessedUS), nil
}
