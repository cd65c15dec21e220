package serve

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"tempestd/internal/jetstream"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/persistence"
)

// The orders of a range. Entries stand in the order of their IDs; an event that was fetched to
// close a gap stands behind what was stored when it came.
const (
	orderID   = "id"
	orderTime = "time"
)

// frames answers a read of a closed range.
func (s *Server) frames(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "from", "to", "limit", "order", api.RepairedParam)
	from, to, limit, order := p.Cursor("from", "start"), p.Cursor("to", "end"), p.Limit(), orderOf(p)
	var matcher *jetstream.Matcher
	if p.Unrepaired() {
		matcher = matcher.WithoutRepaired()
	}
	if p.Err != nil {
		return p.Err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	share, err := s.tails.Share(r)
	if err != nil {
		return err
	}
	defer share.Close()
	found, err := tail.ReadRange(r.Context(), share, stream, from, to, limit, matcher)
	if err == nil && order == orderTime {
		err = sortByTime(r.Context(), stream, to, &found)
	}
	if err != nil {
		return err
	}
	s.tails.WritePage(w, stream.Name(), "", &found)
	return nil
}

func orderOf(p *api.Params) string {
	switch given := p.Values.Get("order"); given {
	case "", orderID:
		return orderID
	case orderTime:
		return orderTime
	default:
		p.Fail(api.Invalid("order", given, orderID+", "+orderTime))
	}
	return orderID
}

// sortByTime sorts a page by the events' own times. The page must be all of its range: what follows
// it could belong before its end.
func sortByTime(ctx context.Context, stream persistence.Stream, to persistence.StreamCursor, p *tail.Page) error {
	rest, err := stream.Read(ctx, persistence.CursorAt(p.Cursor.Next()), to, 1)
	if err != nil {
		return err
	}
	if len(rest.Entries) > 0 {
		return &api.Error{Status: http.StatusBadRequest, Name: api.NameInvalidRequest, Message: fmt.Sprintf(
			"order: got time for a range that does not end with entry %s, the last of the page; accepted: a range of one page (limit entries, 8 MiB, fewer while many read)", p.Cursor)}
	}
	type timed struct {
		persistence.Entry
		us int64
	}
	all := make([]timed, len(p.Entries))
	var reader jetstream.Entry
	for i, entry := range p.Entries {
		all[i] = timed{entry, entry.ID.TimeUS()}
		if reader.Read(entry.Event) {
			all[i].us = reader.TimeUS()
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.us, b.us) })
	p.Entries = make([]persistence.Entry, len(all)) // the page's own may be shared with other readers
	for i := range all {
		p.Entries[i] = all[i].Entry
	}
	return nil
}
