package serve

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"tempestd/messages"
)

// history answers with the recorded history of a feed: all of it, or the part at or after a moment.
// The samples have the requested step, or the next longer step that exists.
func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	p := parseParams(r, "since", "step_s")
	q := messages.HistoryQuery{Since: p.moment("since"), Step: time.Duration(p.number("step_s", 10, 1, 60, "whole seconds 1…60")) * time.Second}
	if p.err != nil {
		return p.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), briefTimeout)
	defer cancel()
	history, err := s.control.History(ctx, r.PathValue("feed"), q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, history)
	return nil
}

// moment returns the parameter as a time from Unix milliseconds, zero if it is not given.
func (p *params) moment(name string) time.Time {
	if !p.values.Has(name) {
		return time.Time{}
	}
	given := p.values.Get(name)
	ms, err := strconv.ParseUint(given, 10, 53)
	if err != nil {
		p.fail(invalid(name, given, "Unix milliseconds"))
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
