package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tempestd/internal/jetstream"
	"tempestd/internal/serve/api"
	"tempestd/messages"
	"tempestd/persistence"
)

const acceptedStart = api.AcceptedAfter + `, or "now" for what is appended from now on`

// definition is what a client specifies to create a consumer. A second PUT compares it with the
// stored one. The lists are sorted and have no repeats.
type definition struct {
	After  string                  `json:"after"` // an ID, or "now"
	Filter messages.ConsumerFilter `json:"filter,omitzero"`
}

// fromNow is the start of a consumer that gets only entries appended after its creation.
const fromNow = "now"

// parseDefinition reads the body of a PUT.
func parseDefinition(r *http.Request) (d definition, err error) {
	var after *string
	var filter json.RawMessage
	err = api.DecodeBody(r,
		api.Field{Name: "after", Into: &after, Accepted: acceptedStart},
		api.Field{Name: "filter", Into: &filter, Accepted: "an object with the fields collections, dids, kinds"})
	if err != nil {
		return d, err
	}
	if d.After, err = parseStart(after); err != nil || filter == nil {
		return d, err
	}
	var repaired *string
	err = api.DecodeObject("filter", filter,
		api.Field{Name: "collections", Into: &d.Filter.Collections, Accepted: "a list of " + api.AcceptedIn["collections"]},
		api.Field{Name: "dids", Into: &d.Filter.DIDs, Accepted: "a list of " + api.AcceptedIn["dids"]},
		api.Field{Name: "kinds", Into: &d.Filter.Kinds, Accepted: "a list of " + api.AcceptedIn["kinds"]},
		api.Field{Name: api.RepairedParam, Into: &repaired, Accepted: api.AcceptedRepaired})
	if err != nil {
		return d, err
	}
	for _, list := range []*[]string{&d.Filter.Collections, &d.Filter.DIDs, &d.Filter.Kinds} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	switch {
	case repaired == nil, *repaired == api.RepairedInclude:
	case *repaired == api.RepairedExclude:
		d.Filter.Repaired = api.RepairedExclude
	default:
		return d, api.Invalid("filter."+api.RepairedParam, *repaired, api.AcceptedRepaired)
	}
	return d, api.CheckFilter(d.lists())
}

// lists returns the lists of the filter.
func (d definition) lists() jetstream.Filter {
	return jetstream.Filter{Collections: d.Filter.Collections, DIDs: d.Filter.DIDs, Kinds: d.Filter.Kinds}
}

// matcher returns the matcher of what the consumer wants, nil if that is everything.
func (d definition) matcher() *jetstream.Matcher {
	m := jetstream.NewMatcher(d.lists())
	if d.Filter.Repaired == api.RepairedExclude {
		m = m.WithoutRepaired()
	}
	return m
}

// parseStart reads the body's field "after" into the form that definitions have. It has no default,
// for the reason given at api.Params.After.
func parseStart(after *string) (string, error) {
	if after == nil {
		return "", api.Missing("after", acceptedStart)
	}
	if *after == fromNow {
		return fromNow, nil
	}
	cursor, err := persistence.ParseStreamCursor(*after)
	if err != nil {
		return "", api.Invalid("after", *after, acceptedStart)
	}
	id, err := cursor.Exclusive()
	if err != nil {
		return "", api.Invalid("after", *after, acceptedStart)
	}
	return id.String(), nil
}

// differs describes how the definition differs from the one that is stored; "" if it does not.
func (d definition) differs(there definition) string {
	var parts []string
	add := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			parts = append(parts, fmt.Sprintf("%s is %s and not %s", what, api.Quote(y), api.Quote(x)))
		}
	}
	add("after", d.After, there.After)
	add("filter.collections", d.Filter.Collections, there.Filter.Collections)
	add("filter.dids", d.Filter.DIDs, there.Filter.DIDs)
	add("filter.kinds", d.Filter.Kinds, there.Filter.Kinds)
	add("filter.repaired", d.Filter.Repaired, there.Filter.Repaired)
	return strings.Join(parts, "; ")
}

// definitionOf decodes the consumer's definition.
func definitionOf(s State) (d definition, err error) {
	if err = json.Unmarshal(s.Definition, &d); err != nil {
		err = fmt.Errorf("decode the definition of consumer %s: %w", s.Name, err)
	}
	return d, err
}

// resolve returns the entry after which a start begins now. "0-0" resolves to the last entry that
// retention has dropped, so that entries dropped later are noticed. The error is a
// *persistence.CursorExpiredError when retention has overtaken the start.
func resolve(ctx context.Context, stream persistence.Stream, start string) (persistence.EntryID, error) {
	info, err := stream.Info(ctx)
	if err != nil {
		return persistence.EntryID{}, err
	}
	var trimmed, newest persistence.EntryID
	if info.Trimmed != nil {
		trimmed, newest = *info.Trimmed, *info.Trimmed
	}
	if info.Newest != nil {
		newest = *info.Newest
	}
	if start == fromNow {
		return newest, nil
	}
	id, err := messages.ParseEntryID(start)
	switch {
	case err != nil:
		return id, err
	case id.IsZero():
		return trimmed, nil
	case id.Compare(trimmed) < 0:
		return id, &persistence.CursorExpiredError{Stream: stream.Name(), Cursor: id, Oldest: trimmed}
	}
	return id, nil
}
