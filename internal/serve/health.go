package serve

import (
	"context"
	"net/http"
	"slices"

	"tempestd/internal/serve/api"
	"tempestd/messages"
)

// healthz says only that the process serves requests. systemd's watchdog checks whether the actors
// answer.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	api.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz asks the actors and the store whether they are ready. With the parameter feeds it also asks
// whether every feed gets events.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseKnown(r, "feeds")
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	ready := s.control.Ready(ctx)
	ready.Reasons = slices.Clone(ready.Reasons)
	if err := s.store.Health(); err != nil {
		ready.Reasons = append(ready.Reasons, "store: "+err.Error())
	}
	if p.Values.Has("feeds") {
		ready.Reasons = append(ready.Reasons, s.feedsAway(ctx)...)
	}
	status := http.StatusOK
	if ready.Ready = ready.Ready && len(ready.Reasons) == 0; !ready.Ready {
		status = http.StatusServiceUnavailable
	}
	api.WriteJSON(w, status, ready)
	return nil
}

// feedsAway says which feeds get no events. A feed that another daemon reads, or whose stream is
// closed, has nothing to get here.
func (s *Server) feedsAway(ctx context.Context) (reasons []string) {
	feeds, err := s.control.Feeds(ctx)
	if err != nil {
		return []string{"the feeds do not answer"}
	}
	for _, f := range feeds {
		switch f.State {
		case messages.StateLive, messages.StateFilling, messages.StateGapped, messages.StateStandby, messages.StateStopped:
			continue
		}
		reason := "feed " + f.Feed + " is " + string(f.State)
		if f.Reason != "" {
			reason += ": " + f.Reason
		}
		reasons = append(reasons, reason)
	}
	return reasons
}
