package serve

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
	"tempestd/messages"
)

// handler answers a request. It returns an error if it has not answered.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods are a route's handlers by HTTP method. GET serves HEAD as well.
type methods map[string]handler

// mux returns the table of routes.
func (s *Server) mux() *http.ServeMux {
	const open, guarded = true, false
	mux := http.NewServeMux()
	for _, route := range []struct {
		pattern string
		public  bool // needs no token
		methods methods
	}{
		{"/healthz", open, methods{"GET": s.healthz}},
		{"/readyz", open, methods{"GET": s.readyz}},
		{"/v1/feeds", guarded, methods{"GET": brief(s.feeds)}},
		{"/v1/feeds/{feed}", guarded, methods{"GET": brief(s.feed)}},
		{"/v1/feeds/{feed}/history", guarded, methods{"GET": s.history}},
		{"/v1/feeds/{feed}/reconnect", guarded, methods{"POST": command("reconnect", s.control.Reconnect)}},
		{"/v1/feeds/{feed}/pause", guarded, methods{"POST": command("pause", s.control.Pause)}},
		{"/v1/feeds/{feed}/resume", guarded, methods{"POST": command("resume", s.control.Resume)}},
		{"/v1/streams", guarded, methods{"GET": brief(s.streams)}},
		{"/v1/streams/{stream}", guarded, methods{"GET": brief(s.stream)}},
		{"/v1/streams/{stream}/frames", guarded, methods{"GET": s.frames}},
		{"/v1/streams/{stream}/close", guarded, methods{"POST": s.closeStream}},
		{"/v1/streams/{stream}/verify", guarded, methods{"POST": s.verify}},
		{"/v1/store/verify", guarded, methods{"POST": s.verify}},
		{"/v1/store/snapshot", guarded, methods{"POST": s.snapshot}},
		{"/v1/streams/{stream}/tail", guarded, methods{"GET": s.tail}},
		{"/v1/streams/{stream}/subscribe", guarded, methods{"GET": s.subscribe(subscribe.V1)}},
		{atproto.SubscribePath, guarded, methods{"GET": s.subscribe(subscribe.V1)}},
		{atproto.EventsPath, guarded, methods{"GET": s.subscribe(subscribe.V2)}},
		{atproto.DictionaryPath, guarded, methods{"GET": s.dictionary}},
		{"/streams/{stream}", guarded, methods{"GET": s.durable}},
		{"/metrics", guarded, methods{"GET": s.metrics()}},
		{"/{$}", open, methods{"GET": page("index.html")}},
		{"/page/{file}", open, methods{"GET": asset}},
		{"/", guarded, nil},
	} {
		mux.HandleFunc(route.pattern, s.route(route.public, false, route.methods))
	}
	for pattern, methods := range s.consumerRoutes() {
		mux.HandleFunc(pattern, s.route(guarded, true, methods))
	}
	return mux
}

// route returns the handler of one route.
func (s *Server) route(public, body bool, by methods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := takeBody(w, r, body)
		if err == nil {
			err = s.dispatch(w, r, public, by)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

// dispatch calls the handler of the request's method.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, public bool, by methods) error {
	if !public {
		if err := s.checkToken(r); err != nil {
			return err
		}
	}
	if len(by) == 0 {
		return &apiError{status: http.StatusNotFound, name: nameNoSuchRoute, message: "nothing is served at " + quote(r.URL.Path) + "; / lists what is"}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle, ok := by[method]; ok {
		return handle(w, r)
	}
	allowed := slices.Sorted(maps.Keys(by))
	if by[http.MethodGet] != nil {
		allowed = append(allowed, http.MethodHead)
	}
	return errMethod(r.Method, allowed...)
}

func errMethod(got string, accepted ...string) error {
	list := strings.Join(accepted, ", ")
	return &apiError{status: http.StatusMethodNotAllowed, name: nameMethodNotAllowed,
		message: "method: got " + quote(got) + "; accepted: " + list, header: map[string]string{"Allow": list}}
}

// healthz says only that the process serves requests. systemd's watchdog checks whether the actors
// answer.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz asks the actors and the store whether they are ready.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), briefTimeout)
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
	writeJSON(w, status, ready)
	return nil
}

// brief wraps a handler that takes no parameters and must be done within briefTimeout.
func brief(do handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := parseParams(r).err; err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), briefTimeout)
		defer cancel()
		return do(w, r.WithContext(ctx))
	}
}

func (s *Server) feeds(w http.ResponseWriter, r *http.Request) error {
	feeds, err := s.control.Feeds(r.Context())
	if err != nil {
		return err
	}
	if feeds == nil {
		feeds = []messages.FeedStatus{} // so that JSON has [] and not null
	}
	writeJSON(w, http.StatusOK, map[string]any{"feeds": feeds})
	return nil
}

func (s *Server) feed(w http.ResponseWriter, r *http.Request) error {
	status, err := s.control.Feed(r.Context(), r.PathValue("feed"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, status)
	return nil
}

// command passes an operator's command to the feed. The answer is 202: the feed has received the
// command, and its status shows the result.
func command(name string, do func(ctx context.Context, feed string) error) handler {
	return brief(func(w http.ResponseWriter, r *http.Request) error {
		feed := r.PathValue("feed")
		if err := do(r.Context(), feed); err != nil {
			return err
		}
		writeJSON(w, http.StatusAccepted, map[string]string{"feed": feed, "accepted": name})
		return nil
	})
}

// metrics serves the Prometheus registry. It first updates the sizes of the streams and the lags of
// the consumers. When the store cannot answer, it reports that itself, and the other metrics are
// served without an update of these.
func (s *Server) metrics() handler {
	m := s.observer.Metrics()
	serve := promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return func(w http.ResponseWriter, r *http.Request) error {
		if streams, err := s.store.Streams(r.Context()); err == nil {
			for _, info := range streams {
				m.StreamSize.WithLabelValues(info.Name).Set(float64(info.Bytes))
				m.StreamLen.WithLabelValues(info.Name).Set(float64(info.Entries))
			}
			s.measureConsumers(r.Context(), streams)
		}
		serve.ServeHTTP(w, r)
		return nil
	}
}
