package serve

import (
	"maps"
	"net/http"
	"slices"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
	"tempestd/internal/serve/conns"
)

// Routes returns the table of routes that the server is built from.
func (s *Server) Routes() []api.Route {
	routes := []api.Route{
		{Pattern: "/healthz", Public: true, Methods: api.Methods{"GET": s.healthz}},
		{Pattern: "/readyz", Public: true, Methods: api.Methods{"GET": s.readyz}},
		{Pattern: "/v1/feeds", Methods: api.Methods{"GET": api.Brief(s.feeds)}},
		{Pattern: "/v1/feeds/{feed}", Methods: api.Methods{"GET": api.Brief(s.feed)}},
		{Pattern: "/v1/feeds/{feed}/cursor", Methods: api.Methods{"GET": api.Brief(s.cursor)}},
		{Pattern: "/v1/feeds/{feed}/history", Methods: api.Methods{"GET": s.history}},
		{Pattern: "/v1/feeds/{feed}/reconnect", Methods: api.Methods{"POST": command("reconnect", s.control.Reconnect)}},
		{Pattern: "/v1/feeds/{feed}/pause", Methods: api.Methods{"POST": command("pause", s.control.Pause)}},
		{Pattern: "/v1/feeds/{feed}/resume", Methods: api.Methods{"POST": command("resume", s.control.Resume)}},
		{Pattern: "/v1/feeds/{feed}/gaps", Methods: api.Methods{"GET": s.gapsOfFeed}},
		{Pattern: "/v1/feeds/{feed}/gaps/{id}/repair", Methods: api.Methods{"POST": s.repairGap}},
		{Pattern: "/v1/feeds/{feed}/gaps/{id}/dismiss", Methods: api.Methods{"POST": s.dismissGap}},
		{Pattern: "/v1/gaps", Methods: api.Methods{"GET": s.gaps}},
		{Pattern: "/v1/log", Full: true, Methods: api.Methods{"GET": s.recentLog}},
		{Pattern: "/v1/log/level", Methods: api.Methods{"GET": s.logLevel, "POST": s.setLogLevel}},
		{Pattern: "/v1/profiles/{profile}", Full: true, Methods: api.Methods{"GET": s.profile}},
		{Pattern: "/v1/reload", Methods: api.Methods{"POST": s.reload}},
		{Pattern: "/v1/streams", Methods: api.Methods{"GET": api.Brief(s.streams)}},
		{Pattern: "/v1/streams/{stream}", Methods: api.Methods{"GET": api.Brief(s.stream), "DELETE": s.deleteStream}},
		{Pattern: "/v1/streams/{stream}/frames", Methods: api.Methods{"GET": s.frames}},
		{Pattern: "/v1/streams/{stream}/tail", Methods: api.Methods{"GET": s.tail}},
		{Pattern: "/v1/streams/{stream}/close", Methods: api.Methods{"POST": s.closeStream}},
		{Pattern: "/v1/streams/{stream}/trim", Methods: api.Methods{"POST": s.trimStream}},
		{Pattern: "/v1/streams/{stream}/verify", Methods: api.Methods{"POST": s.verify}},
		{Pattern: "/v1/store/verify", Methods: api.Methods{"POST": s.verify}},
		{Pattern: "/v1/store/snapshot", Methods: api.Methods{"POST": s.snapshot}},
		{Pattern: "/metrics", Methods: api.Methods{"GET": s.metrics()}},
		{Pattern: "/{$}", Public: true, Methods: api.Methods{"GET": page("index.html")}},
		{Pattern: "/page/{file}", Public: true, Methods: api.Methods{"GET": asset}},
	}
	return slices.Concat(routes, s.consumers.Routes(), s.mirror.Routes(), s.durable.Routes())
}

// mux returns the handler of all routes. A path that no route has matches the last pattern.
func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range append(s.Routes(), api.Route{Pattern: "/"}) {
		mux.HandleFunc(route.Pattern, s.serveRoute(route))
	}
	return mux
}

// serveRoute returns the handler of one route.
func (s *Server) serveRoute(route api.Route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w, end := s.encoders.Wrap(w, r, func() *budget.Share { return s.budget.Open(s.peers.Of(r)) })
		whole := false
		defer func() { end(whole) }()
		err := api.TakeBody(w, r, route.Body)
		if err == nil {
			err = s.dispatch(w, r, route)
		}
		if err != nil {
			api.Fail(s.observer, w, r, s.nameKnown(r, err))
		}
		whole = true
	}
}

// dispatch calls the handler of the request's method.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, route api.Route) error {
	if !route.Public {
		full := route.Full || r.Method != http.MethodGet && r.Method != http.MethodHead
		if err := s.guard.CheckToken(r, full, conns.IsKnown(r.Context())); err != nil {
			return err
		}
	}
	if !route.Public || !s.guard.NeedsToken() {
		conns.Known(r.Context())
	}
	if len(route.Methods) == 0 {
		return s.nothingAt(r.URL.Path)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if handle, ok := route.Methods[method]; ok {
		return handle(w, r)
	}
	allowed := slices.Sorted(maps.Keys(route.Methods))
	if route.Methods[http.MethodGet] != nil {
		allowed = append(allowed, http.MethodHead)
	}
	return api.MethodNotAllowed(r.Method, allowed...)
}
