package serve

import (
	"net/http"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
)

// reloadTime is how long a reload may take: the feeds that end store what they have read, within
// shutdown_timeout.
const reloadTime = 11 * time.Minute

// reload makes the daemon read its configuration again, and answers with what that changed.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) error {
	if err := api.ParseParams(r).Err; err != nil {
		return err
	}
	if s.reloader == nil {
		return &api.Error{Status: http.StatusConflict, Name: api.NameNotNow, Message: "this daemon's configuration cannot be read again"}
	}
	tail.Allow(w, reloadTime)
	changed, err := s.reloader.Reload(r.Context())
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, changed)
	return nil
}
