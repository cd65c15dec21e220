package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/conns"
	"tempestd/internal/serve/guard"
)

// Serve answers the listener's connections until Shutdown is called, then returns nil at once:
// Shutdown does the waiting. When ctx ends, every connection is cut. The listener is closed when
// Serve returns. Serve may be called for several listeners. One of TCP speaks TLS where
// Options.TLS is set; one of a Unix socket asks for no token.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, s.http, ln)
}

// ServeMetrics is Serve for a listener that answers with metrics and health alone, without a token.
func (s *Server) ServeMetrics(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, s.scrapes, ln)
}

func (s *Server) serve(ctx context.Context, server *http.Server, ln net.Listener) error {
	s.based.Do(func() {
		base := func(net.Listener) context.Context { return ctx }
		s.http.BaseContext, s.scrapes.BaseContext = base, base
	})
	defer s.crew.After(ctx, "http.close", func() { server.Close() })()

	s.observer.Emit(observe.HTTPListening, "", "addr", ln.Addr().String())
	_, tcp := ln.Addr().(*net.TCPAddr)
	secure := tcp && s.tls != nil
	accepting := s.gate.Listener(ln, secure)
	if secure {
		accepting = tls.NewListener(accepting, s.tls)
	}
	err := server.Serve(accepting)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	s.observer.Emit(observe.HTTPFailed, "", "error", err)
	return fmt.Errorf("http server on %s: %w", ln.Addr(), err)
}

// newHTTP returns a server with the bounds of one connection.
func (s *Server) newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		ConnState: s.connections,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return s.turns.On(guard.On(s.gate.Context(ctx, conn), conns.ListenerOf(conn)))
		},
		Handler:           s.barrier(s.guarded(handler)),
		ReadHeaderTimeout: api.ReadTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          s.netLog(),
	}
}

// scrapeMux returns the handler of a listener for metrics.
func (s *Server) scrapeMux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range []api.Route{
		{Pattern: "/healthz", Public: true, Methods: api.Methods{"GET": s.healthz}},
		{Pattern: "/readyz", Public: true, Methods: api.Methods{"GET": s.readyz}},
		{Pattern: "/metrics", Public: true, Methods: api.Methods{"GET": s.metrics()}},
		{Pattern: "/", Public: true},
	} {
		mux.HandleFunc(route.Pattern, s.serveRoute(route))
	}
	return mux
}
