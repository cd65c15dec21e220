package jetsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"tempestd/internal/atproto"
)

// routes mounts the subscription endpoints and the control endpoint. Only loopback clients may use
// the control endpoint:
//
//	GET  /_sim/stats                  Stats, as JSON
//	GET  /_sim/network                Network.Addresses, as JSON
//	POST /_sim/fault/{name}[:{for}]   Inject, in ParseFault's grammar: /_sim/fault/stall:10s
//	POST /_sim/network-fault/{name}   Network.InjectNamed
//	POST /_sim/produce/{n}            Produce
//	POST /_sim/stop-producing         StopProducing
//	POST /_sim/forget/{n}             Forget
//	POST /_sim/compact                Compact
//	GET  /_sim/v1-dictionary          V1Dictionary
//
// A successful POST is answered with 204.
func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	if s.opt.Protocol.includes(ProtocolV1) {
		s.mux.HandleFunc(atproto.SubscribePath, s.handleSubscribe(ProtocolV1))
	}
	if s.opt.Protocol.includes(ProtocolV2) {
		s.mux.HandleFunc(atproto.EventsPath, s.handleSubscribe(ProtocolV2))
		s.mux.HandleFunc("GET "+atproto.DictionaryPath, s.handleDictionary)
	}
	if s.store != nil {
		s.archiveRoutes()
	}
	control := func(pattern string, do func(w http.ResponseWriter, r *http.Request) error) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
				http.Error(w, "the control endpoint is for loopback clients", http.StatusForbidden)
			} else if err := do(w, r); errors.Is(err, ErrClosed) {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			} else if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusNoContent)
			}
		})
	}
	control("GET /_sim/stats", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Stats()) // an error means that the client has gone
		return nil
	})
	control("POST /_sim/fault/{fault}", func(_ http.ResponseWriter, r *http.Request) error {
		f, err := ParseFault(r.PathValue("fault"))
		if err == nil && f.After+f.Every > 0 {
			err = fmt.Errorf("fault %q: it happens now; leave @ and / out", f)
		}
		if err != nil {
			return err
		}
		return s.Inject(f)
	})
	if around := s.opt.Network; around != nil {
		control("GET /_sim/network", func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Content-Type", "application/json")
			return json.NewEncoder(w).Encode(around.Addresses())
		})
		control("POST /_sim/network-fault/{fault}", func(_ http.ResponseWriter, r *http.Request) error {
			return around.InjectNamed(r.PathValue("fault"))
		})
	}
	control("POST /_sim/produce/{n}", func(_ http.ResponseWriter, r *http.Request) error {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 1 || n > maxProduce {
			return fmt.Errorf("produce %q: a number from 1 to %d is accepted", r.PathValue("n"), maxProduce)
		}
		s.Produce(n)
		return nil
	})
	control("POST /_sim/forget/{n}", func(_ http.ResponseWriter, r *http.Request) error {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 1 {
			return fmt.Errorf("forget %q: a positive number is accepted", r.PathValue("n"))
		}
		s.Forget(n)
		return nil
	})
	control("POST /_sim/compact", func(http.ResponseWriter, *http.Request) error { return s.Compact() })
	control("GET /_sim/v1-dictionary", func(w http.ResponseWriter, _ *http.Request) error {
		b, err := s.V1Dictionary()
		if err == nil {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(b) // the client may have gone
		}
		return err
	})
	control("POST /_sim/stop-producing", func(http.ResponseWriter, *http.Request) error {
		s.StopProducing()
		return nil
	})
}

const maxProduce = 10_000_000 // events per request
