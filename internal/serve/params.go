package serve

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/persistence"
)

// Bounds and defaults of the parameter limit.
const (
	maxLimit     = 1000 // of this API; the store's own bound is persistence.MaxCount
	defaultLimit = 100
)

// The texts that errors show as accepted values.
var acceptedLimit = fmt.Sprintf("a whole number 1…%d", maxLimit)

const (
	acceptedRange = `"start", "end", "<ms>" or "<ms>-<seq>"`
	acceptedAfter = `"<ms>-<seq>" (the ID of the last entry read), "<ms>", or "0-0" for the beginning`
)

// params are the query parameters of one request. Its methods record the first bad parameter in
// err, so that a handler reads all parameters and checks once.
type params struct {
	values url.Values
	err    error
}

// parseParams reads the query. A parameter that is not in accepted is an error, and so is a
// parameter that is given twice, except those of the filter.
func parseParams(r *http.Request, accepted ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &params{err: invalid("query", r.URL.RawQuery, "name=value pairs joined by &, percent-encoded")}
	}
	p := &params{values: values}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(accepted, name) {
			list := "none here"
			if len(accepted) > 0 {
				list = strings.Join(accepted, ", ")
			}
			p.fail(invalid("unknown parameter", name, list))
		} else if given := values[name]; len(given) > 1 && !slices.Contains(filterParams, name) {
			p.fail(invalid(name, strings.Join(given, " and "), "one value"))
		}
	}
	return p
}

func (p *params) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// number returns the parameter as a whole number in [low, high], or absent if it is not given.
func (p *params) number(name string, absent, low, high int, accepted string) int {
	if !p.values.Has(name) {
		return absent
	}
	given := p.values.Get(name)
	n, err := strconv.ParseUint(given, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		p.fail(invalid(name, given, accepted))
		return absent
	}
	return int(n)
}

func (p *params) limit() int { return p.number("limit", defaultLimit, 1, maxLimit, acceptedLimit) }

func (p *params) block() time.Duration {
	return p.millis("block_ms", 0, 0, persistence.MaxBlock)
}

// millis returns the parameter as whole milliseconds in [low, high], or absent if it is not given.
func (p *params) millis(name string, absent, low, high time.Duration) time.Duration {
	m := millis{low: low, high: high}
	return time.Duration(p.number(name, int(absent.Milliseconds()), int(low.Milliseconds()), int(high.Milliseconds()), m.accepted())) * time.Millisecond
}

// cursor returns the parameter as a stream cursor. The text absent is its default.
func (p *params) cursor(name, absent string) persistence.StreamCursor {
	text := absent
	if p.values.Has(name) {
		text = p.values.Get(name)
	}
	c, err := persistence.ParseStreamCursor(text)
	if err != nil {
		p.fail(invalid(name, text, acceptedRange))
	}
	return c
}

// after returns the exclusive cursor of a tail. It has no default: a client that forgot its
// position must not get another one.
func (p *params) after() persistence.EntryID {
	const name = "after"
	if p.err == nil && !p.values.Has(name) {
		p.fail(&apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: name + ": missing; accepted: " + acceptedAfter})
	}
	text := p.values.Get(name)
	var id persistence.EntryID
	c, err := persistence.ParseStreamCursor(text)
	if err == nil {
		id, err = c.Exclusive()
	}
	if err != nil {
		p.fail(invalid(name, text, acceptedAfter))
	}
	return id
}

// filterParams are the parameters of a reader's filter. Each may be given more than once, and may
// hold several values with commas between them.
var filterParams = []string{"collections", "dids", "kinds"}

// acceptedIn says what each list of a filter accepts.
var acceptedIn = map[string]string{
	"collections": fmt.Sprintf(`up to %d NSIDs such as app.bsky.feed.post, or all below one as in app.bsky.graph.*`, atproto.MaxCollections),
	"dids":        fmt.Sprintf("up to %d DIDs such as did:plc:…", atproto.MaxDIDs),
	"kinds":       "commit, identity, account, sync, gap",
}

// filter returns the request's filter.
func (p *params) filter() jetstream.Filter {
	f := jetstream.Filter{Collections: p.list("collections"), DIDs: p.list("dids"), Kinds: p.list("kinds")}
	if err := checkFilter(f); err != nil {
		p.fail(err)
	}
	return f
}

// checkFilter returns the error of a filter that a reader may not have.
func checkFilter(f jetstream.Filter) error {
	errs := jetstream.ValidateReader(f)
	if len(errs) == 0 {
		return nil
	}
	bad, _ := errors.AsType[*jetstream.FilterError](errs[0])
	if bad.Value == "" {
		return &apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: bad.List + ": " + bad.Reason}
	}
	return invalid(bad.List, bad.Value, acceptedIn[bad.List])
}

// list returns the values of a parameter, sorted and without repeats.
func (p *params) list(name string) []string {
	var list []string
	for _, given := range p.values[name] {
		for value := range strings.SplitSeq(given, ",") {
			if value == "" {
				p.fail(invalid(name, given, acceptedIn[name]))
			}
			list = append(list, value)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
