package serve

import (
	"context"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tempestd/internal/serve/api"
)

// healthz says only that the process serves requests. systemd's watchdog checks whether the actors
// answer.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	api.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz asks the actors and the store whether they are ready.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	ready := s.control.Ready(ctx)
	if err := s.store.Health(); err != nil {
		ready.Ready = false
		ready.Reasons = append(slices.Clone(ready.Reasons), "store: "+err.Error())
	}
	status := http.StatusOK
	if !ready.Ready {
		status = http.StatusServiceUnavailable
	}
	api.WriteJSON(w, status, ready)
	return nil
}

// metrics serves the Prometheus registry. It first updates the sizes of the streams, the lags of the
// consumers and the numbers of the gaps. When the store cannot answer, it reports that itself, and the other metrics are
// served without an update of these.
func (s *Server) metrics() api.Handler {
	m := s.observer.Metrics()
	serve := promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return func(w http.ResponseWriter, r *http.Request) error {
		if streams, err := s.store.Streams(r.Context()); err == nil {
			for _, info := range streams {
				m.StreamSize.WithLabelValues(info.Name).Set(float64(info.Bytes))
				m.StreamLen.WithLabelValues(info.Name).Set(float64(info.Entries))
			}
			s.consumers.Measure(r.Context(), streams)
			s.measureGaps(r.Context(), streams)
		}
		serve.ServeHTTP(w, r)
		return nil
	}
}
