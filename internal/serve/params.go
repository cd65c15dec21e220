package serve

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

// Bounds and defaults of the reading calls.
const (
	maxLimit     = 1000 // REST's ceiling; persistence.MaxCount is the store's
	defaultLimit = 100
)

// What parameters accept, as their errors say it.
var (
	acceptedLimit = fmt.Sprintf("a whole number 1…%d", maxLimit)
	acceptedBlock = fmt.Sprintf("whole milliseconds 0…%d", persistence.MaxBlock.Milliseconds())
)

const (
	acceptedRange = `"start", "end", "<ms>" or "<ms>-<seq>"`
	acceptedAfter = `"<ms>-<seq>" (the ID of the last entry read), "<ms>", or "0-0" for the beginning`
)

// params are the query parameters of one request. Its methods record the first bad one, which err then returns: a handler reads them all
// and checks once.
type params struct {
	values url.Values
	err    error
}

// parseParams reads the query. Any parameter that is not among the accepted, or is given twice, is an error.
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
		} else if given := values[name]; len(given) > 1 {
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

// number is the whole number of the parameter, in [low, high]; absent when it is not given.
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
	ms := p.number("block_ms", 0, 0, int(persistence.MaxBlock.Milliseconds()), acceptedBlock)
	return time.Duration(ms) * time.Millisecond
}

// cursor is the stream cursor of the parameter; absent is what its absence stands for.
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

// after is the exclusive cursor of a tail. It has no default: a consumer that forgot its place must not be given another one.
func (p *params) after() persistence.StreamCursor {
	const name = "after"
	if p.err == nil && !p.values.Has(name) {
		p.fail(&apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: name + ": missing; accepted: " + acceptedAfter})
	}
	text := p.values.Get(name)
	c, err := persistence.ParseStreamCursor(text)
	if err == nil {
		_, err = c.Exclusive()
	}
	if err != nil {
		p.fail(invalid(name, text, acceptedAfter))
	}
	return c
}
