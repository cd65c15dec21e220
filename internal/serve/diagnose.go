package serve

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/pprof"
	"strings"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
)

// Diagnostics is what the server needs to tell about the process itself. Each part may be nil.
type Diagnostics struct {
	Level  *slog.LevelVar // of the log
	Recent func() []byte  // the newest lines of the log
}

// levelBody is the answer about the level of the log.
type levelBody struct {
	Level string `json:"level"`
}

// levels are the accepted levels, as the configuration writes them.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

const acceptedLevels = "debug, info, warn, error"

func (s *Server) logLevel(w http.ResponseWriter, r *http.Request) error {
	if err := api.ParseParams(r).Err; err != nil {
		return err
	}
	return s.tellLevel(w)
}

// setLogLevel changes the level of the log until the next reload or restart.
func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "level")
	given := p.Values.Get("level")
	level, known := levels[given]
	if !known {
		p.Fail(api.Invalid("level", given, acceptedLevels))
	}
	if p.Err != nil {
		return p.Err
	}
	if s.diagnostics.Level != nil {
		s.diagnostics.Level.Set(level)
	}
	return s.tellLevel(w)
}

func (s *Server) tellLevel(w http.ResponseWriter) error {
	if s.diagnostics.Level == nil {
		return notHere("the level of this daemon's log cannot be changed")
	}
	api.WriteJSON(w, http.StatusOK, levelBody{strings.ToLower(s.diagnostics.Level.Level().String())})
	return nil
}

func notHere(message string) error {
	return &api.Error{Status: http.StatusConflict, Name: api.NameNotNow, Message: message}
}

// recentLog answers with the newest lines of the log.
func (s *Server) recentLog(w http.ResponseWriter, r *http.Request) error {
	if err := api.ParseParams(r).Err; err != nil {
		return err
	}
	if s.diagnostics.Recent == nil {
		return notHere("this daemon keeps no lines of its log")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(s.diagnostics.Recent())
	return nil
}

// The bounds of a profile of the processor, in seconds.
const (
	defaultProfile = 10
	maxProfile     = 60
)

// profiles are the profiles that can be had, beside that of the processor.
const profiles = "cpu, goroutine, heap, allocs, block, mutex, threadcreate"

// profile answers with a profile for go tool pprof, or with the stacks of all goroutines as text.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "seconds", "text")
	seconds := p.Number("seconds", defaultProfile, 1, maxProfile, fmt.Sprintf("whole seconds 1…%d, of the profile cpu", maxProfile))
	if p.Err != nil {
		return p.Err
	}
	name := r.PathValue("profile")
	if name == "cpu" {
		return s.profileCPU(w, r, time.Duration(seconds)*time.Second)
	}
	profile := pprof.Lookup(name)
	if profile == nil {
		return api.NotFound(r.URL.Path, "there are: "+profiles)
	}
	debug := 0
	w.Header().Set("Content-Type", "application/octet-stream")
	if p.Values.Has("text") {
		debug = 2
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	_ = profile.WriteTo(w, debug) // the client is gone
	return nil
}

// profileCPU measures for a while. Only one such profile can be made at a time.
func (s *Server) profileCPU(w http.ResponseWriter, r *http.Request, length time.Duration) error {
	tail.Allow(w, length)
	ctx, cancel := s.tails.UntilDrained(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		return notHere("another profile of the processor is being made")
	}
	defer pprof.StopCPUProfile()
	select {
	case <-ctx.Done():
	case <-s.clock.After(length):
	}
	return nil
}
