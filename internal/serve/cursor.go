package serve

import (
	"errors"
	"net/http"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/messages"
	"tempestd/persistence"
)

// cursor answers with the stored position of a feed: the one from which it would resume.
func (s *Server) cursor(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("feed")
	answer := messages.Cursor{Feed: name, At: s.clock.Now().UTC().Truncate(time.Millisecond)}
	stream, err := s.store.Stream(r.Context(), name)
	if err == nil {
		var cp messages.Checkpoint
		if cp, err = stream.Checkpoint(r.Context()); err == nil {
			answer.Position, answer.CoveredUS, answer.LastID = cp.Position, cp.Covered().US, cp.LastID
		}
	}
	switch {
	case errors.Is(err, persistence.ErrNoStream):
		// A feed that has not begun its stream has no position.
		if _, err := s.control.Feed(r.Context(), name); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, persistence.ErrNoCheckpoint):
		return err
	}
	api.WriteJSON(w, http.StatusOK, answer)
	return nil
}
