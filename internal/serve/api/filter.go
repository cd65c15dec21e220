package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
)

// FilterParams are the parameters of a reader's filter. Each may be given more than once, and may
// hold several values with commas between them.
var FilterParams = []string{"collections", "dids", "kinds"}

// AcceptedIn says what each list of a filter accepts.
var AcceptedIn = map[string]string{
	"collections": fmt.Sprintf(`up to %d NSIDs such as app.bsky.feed.post, or all below one as in app.bsky.graph.*`, atproto.MaxCollections),
	"dids":        fmt.Sprintf("up to %d DIDs such as did:plc:…", atproto.MaxDIDs),
	"kinds":       "commit, identity, account, sync, gap",
}

// Filter returns the request's filter.
func (p *Params) Filter() jetstream.Filter {
	f := jetstream.Filter{Collections: p.list("collections"), DIDs: p.list("dids"), Kinds: p.list("kinds")}
	if err := CheckFilter(f); err != nil {
		p.Fail(err)
	}
	return f
}

// RepairedParam says whether a reader gets the events that were fetched to close gaps.
const RepairedParam = "repaired"

// The values of RepairedParam.
const (
	RepairedInclude = "include"
	RepairedExclude = "exclude"
)

// AcceptedRepaired are the values of RepairedParam, for errors.
const AcceptedRepaired = RepairedInclude + ", " + RepairedExclude

// Unrepaired reports whether the request excludes the events that were fetched to close gaps.
func (p *Params) Unrepaired() bool {
	if !p.Values.Has(RepairedParam) {
		return false
	}
	given := p.Values.Get(RepairedParam)
	if given != RepairedInclude && given != RepairedExclude {
		p.Fail(Invalid(RepairedParam, given, AcceptedRepaired))
	}
	return given == RepairedExclude
}

// Matcher returns the matcher of what the request wants, nil if that is everything, or after an
// error.
func (p *Params) Matcher() *jetstream.Matcher {
	if p.Err != nil {
		return nil
	}
	leave, err := TakeTurn(p.request)
	if err != nil {
		p.Fail(err)
		return nil
	}
	defer leave()
	m := jetstream.NewMatcher(p.Filter())
	if p.Unrepaired() {
		m = m.WithoutRepaired()
	}
	return m
}

// CheckFilter returns the error of a filter that a reader may not have.
func CheckFilter(f jetstream.Filter) error {
	errs := jetstream.ValidateReader(f)
	if len(errs) == 0 {
		return nil
	}
	bad, _ := errors.AsType[*jetstream.FilterError](errs[0])
	if bad.Value == "" {
		return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: bad.List + ": " + bad.Reason}
	}
	return Invalid(bad.List, bad.Value, AcceptedIn[bad.List])
}

// list returns the values of a parameter, sorted and without repeats.
func (p *Params) list(name string) []string {
	var list []string
	for _, given := range p.Values[name] {
		for value := range strings.SplitSeq(given, ",") {
			if value == "" {
				p.Fail(Invalid(name, given, AcceptedIn[name]))
			}
			list = append(list, value)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
