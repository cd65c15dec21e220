package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// defaultVerifyRate is how much of a store a verification without a rate reads per second. It
	// leaves room for other work: a disk reads faster, and one core unpacks four times as much.
	defaultVerifyRate = 64 // MiB
	maxVerifyRate     = 4096
	// careEvery is how often a long answer sends a line, so that each side notices when the other
	// is gone.
	careEvery = time.Second
)

const nameNoFiles = "NoFiles"

// errNoFiles is the answer to a request that only a store with files can serve.
func errNoFiles(what string) error {
	return &apiError{status: http.StatusNotFound, name: nameNoFiles,
		message: "the streams are in a server and not in files of this daemon: " + what + " them by the server's own means"}
}

// verify checks the files of one stream or of the whole store. It answers with lines of JSON:
// findings and progress while it runs, and the result at the end. Only one verification runs at a
// time.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) error {
	p := parseParams(r, "rate")
	rate := p.number("rate", defaultVerifyRate, 1, maxVerifyRate, fmt.Sprintf("MiB a second, 1…%d", maxVerifyRate))
	if p.err != nil {
		return p.err
	}
	verifier, ok := s.store.(persistence.Verifier)
	if !ok {
		return errNoFiles("verify")
	}
	stream := r.PathValue("stream")
	if stream != "" {
		if _, err := s.store.Stream(r.Context(), stream); err != nil {
			return err
		}
	}
	if !s.verifying.TryLock() {
		return fmt.Errorf("%w: a verification is under way", messages.ErrNotNow)
	}
	defer s.verifying.Unlock()
	ctx, cancel := s.untilDrained(r.Context())
	defer cancel()
	lines := s.jsonLines(w)
	told := s.clock.Now()
	done, err := verifier.Verify(ctx, persistence.VerifyOptions{
		Stream: stream, BytesPerSecond: int64(rate) << 20,
		Found: func(f persistence.Finding) { lines.write(map[string]any{"finding": f}) },
		Progress: func(p persistence.VerifyProgress) {
			if now := s.clock.Now(); now.Sub(told) >= careEvery {
				told = now
				lines.write(map[string]any{"progress": p})
			}
		},
	})
	s.endLines(r, lines, "verified", done, err)
	return nil
}

// snapshot answers with one line of JSON that names the files of a backup. The files stay in place
// until the client closes the request.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) error {
	if err := parseParams(r).err; err != nil {
		return err
	}
	snapshotter, ok := s.store.(persistence.Snapshotter)
	if !ok {
		return errNoFiles("back up")
	}
	snapshot, release, err := snapshotter.Snapshot(r.Context())
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := s.untilDrained(r.Context())
	defer cancel()
	lines := s.jsonLines(w)
	lines.write(map[string]any{"snapshot": snapshot})
	<-ctx.Done()
	return nil
}

// untilDrained returns a context that also ends when the server begins to stop.
func (s *Server) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.drained, cancel)
	return ctx, func() { stop(); cancel() }
}

// jsonLines is a response of JSON documents, one per line.
type jsonLines struct {
	s *Server
	w http.ResponseWriter
}

func (s *Server) jsonLines(w http.ResponseWriter) *jsonLines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &jsonLines{s, w}
}

// write writes a line and sends it. It ignores errors: a client that is gone ends the request's
// context.
func (l *jsonLines) write(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("serve: %T has no JSON form: %v", v, err))
	}
	l.s.allow(l.w, 0)
	_, _ = l.w.Write(append(line, '\n'))
	_ = http.NewResponseController(l.w).Flush()
}

// endLines writes the last line: the result, or the error.
func (s *Server) endLines(r *http.Request, lines *jsonLines, name string, done any, err error) {
	if err == nil {
		lines.write(map[string]any{name: done})
		return
	}
	if r.Context().Err() != nil {
		return
	}
	if s.draining() || errors.Is(err, persistence.ErrStoreClosed) {
		err = errShuttingDown()
	}
	api, ours := toAPI(err)
	if ours {
		s.tellFault(r, api, err)
	}
	lines.write(errorBody{Error: api.name, Message: api.message})
}
