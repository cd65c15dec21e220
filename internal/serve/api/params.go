package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tempestd/persistence"
)

// Bounds and defaults of the parameter limit.
const (
	MaxLimit     = 1000 // of this API; the store's own bound is persistence.MaxCount
	DefaultLimit = 100
)

// The texts that errors show as accepted values.
var acceptedLimit = fmt.Sprintf("a whole number 1…%d", MaxLimit)

const (
	acceptedRange = `"start", "end", "<ms>" or "<ms>-<seq>"`
	// AcceptedAfter are the exclusive cursors.
	AcceptedAfter = `"<ms>-<seq>" (the ID of the last entry read), "<ms>", or "0-0" for the beginning`
)

// Params are the query parameters of one request. Its methods record the first bad parameter in
// Err, so that a handler reads all parameters and checks once.
type Params struct {
	Values url.Values
	Err    error

	request *http.Request
}

// ParseParams reads the query. A parameter that is not in accepted is an error, and so is a
// parameter that is given twice, except those of the filter.
func ParseParams(r *http.Request, accepted ...string) *Params {
	p := parse(r)
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		if !slices.Contains(accepted, name) {
			list := "none here"
			if len(accepted) > 0 {
				list = strings.Join(accepted, ", ")
			}
			p.Fail(Invalid("unknown parameter", name, list))
		} else if given := p.Values[name]; len(given) > 1 && !slices.Contains(FilterParams, name) {
			p.Fail(Invalid(name, strings.Join(given, " and "), "one value"))
		}
	}
	return p
}

// ParseKnown is ParseParams for a protocol whose extensions are parameters: it ignores those that
// it does not know.
func ParseKnown(r *http.Request, known ...string) *Params {
	p := parse(r)
	for _, name := range known {
		if given := p.Values[name]; len(given) > 1 && !slices.Contains(FilterParams, name) {
			p.Fail(Invalid(name, strings.Join(given, " and "), "one value"))
		}
	}
	return p
}

func parse(r *http.Request) *Params {
	leave, err := TakeTurn(r)
	if err != nil {
		return &Params{Err: err}
	}
	defer leave()
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &Params{Err: Invalid("query", r.URL.RawQuery, "name=value pairs joined by &, percent-encoded")}
	}
	return &Params{Values: values, request: r}
}

// Fail records an error unless there is one already.
func (p *Params) Fail(err error) {
	if p.Err == nil {
		p.Err = err
	}
}

// Number returns the parameter as a whole number in [low, high], or absent if it is not given.
func (p *Params) Number(name string, absent, low, high int, accepted string) int {
	if !p.Values.Has(name) {
		return absent
	}
	given := p.Values.Get(name)
	n, err := strconv.ParseUint(given, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		p.Fail(Invalid(name, given, accepted))
		return absent
	}
	return int(n)
}

// Limit returns the largest number of entries in the response.
func (p *Params) Limit() int { return p.Number("limit", DefaultLimit, 1, MaxLimit, acceptedLimit) }

// Block returns how long the request may wait.
func (p *Params) Block() time.Duration {
	return p.Millis("block_ms", 0, 0, persistence.MaxBlock)
}

// Millis returns the parameter as whole milliseconds in [low, high], or absent if it is not given.
func (p *Params) Millis(name string, absent, low, high time.Duration) time.Duration {
	m := Millis{Low: low, High: high}
	return time.Duration(p.Number(name, int(absent.Milliseconds()), int(low.Milliseconds()), int(high.Milliseconds()), m.Accepted())) * time.Millisecond
}

// Cursor returns the parameter as a stream cursor. The text absent is its default.
func (p *Params) Cursor(name, absent string) persistence.StreamCursor {
	text := absent
	if p.Values.Has(name) {
		text = p.Values.Get(name)
	}
	c, err := persistence.ParseStreamCursor(text)
	if err != nil {
		p.Fail(Invalid(name, text, acceptedRange))
	}
	return c
}

// After returns the exclusive cursor of a tail. It has no default: a client that forgot its
// position must not get another one.
func (p *Params) After() persistence.EntryID {
	const name = "after"
	if p.Err == nil && !p.Values.Has(name) {
		p.Fail(Missing(name, AcceptedAfter))
	}
	text := p.Values.Get(name)
	var id persistence.EntryID
	c, err := persistence.ParseStreamCursor(text)
	if err == nil {
		id, err = c.Exclusive()
	}
	if err != nil {
		p.Fail(Invalid(name, text, AcceptedAfter))
	}
	return id
}
