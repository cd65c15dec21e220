package serve

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/messages"
)

func (s *Server) feeds(w http.ResponseWriter, r *http.Request) error {
	feeds, err := s.control.Feeds(r.Context())
	if err != nil {
		return err
	}
	if feeds == nil {
		feeds = []messages.FeedStatus{} // so that JSON has [] and not null
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{"feeds": feeds})
	return nil
}

func (s *Server) feed(w http.ResponseWriter, r *http.Request) error {
	status, err := s.control.Feed(r.Context(), r.PathValue("feed"))
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, status)
	return nil
}

// command passes an operator's command to the feed. The answer is 202: the feed has received the
// command, and its status shows the result.
func command(name string, do func(ctx context.Context, feed string) error) api.Handler {
	return api.Brief(func(w http.ResponseWriter, r *http.Request) error {
		feed := r.PathValue("feed")
		if err := do(r.Context(), feed); err != nil {
			return err
		}
		api.WriteJSON(w, http.StatusAccepted, map[string]string{"feed": feed, "accepted": name})
		return nil
	})
}

// history answers with the recorded history of a feed: all of it, or the part at or after a moment.
// The samples have the requested step, or the next longer step that exists.
func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "since", "step_s")
	q := messages.HistoryQuery{Since: momentOf(p, "since"), Step: time.Duration(p.Number("step_s", 10, 1, 60, "whole seconds 1…60")) * time.Second}
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	history, err := s.control.History(ctx, r.PathValue("feed"), q)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, history)
	return nil
}

// momentOf returns the parameter as a time from Unix milliseconds, zero if it is not given.
func momentOf(p *api.Params, name string) time.Time {
	if !p.Values.Has(name) {
		return time.Time{}
	}
	given := p.Values.Get(name)
	ms, err := strconv.ParseUint(given, 10, 53)
	if err != nil {
		p.Fail(api.Invalid(name, given, "Unix milliseconds"))
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
