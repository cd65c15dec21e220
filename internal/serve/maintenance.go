package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// defaultVerifyRate is how much of a store a verification without a rate reads per second. It
	// leaves room for other work: a disk reads faster, and one core unpacks four times as much.
	defaultVerifyRate = 64 // MiB
	maxVerifyRate     = 4096
	// reportEvery is how often a long answer sends a line, so that each side notices when the other
	// is gone.
	reportEvery = time.Second
)

// errNoFiles is the answer to a request that only a store with files can serve.
func errNoFiles(what string) error {
	return &api.Error{Status: http.StatusNotFound, Name: api.NameNoFiles,
		Message: "the streams are in a server and not in files of this daemon: " + what + " them by the server's own means"}
}

// verify checks the files of one stream or of the whole store. It answers with lines of JSON:
// findings and progress while it runs, and the result at the end. Only one verification runs at a
// time.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "rate")
	rate := p.Number("rate", defaultVerifyRate, 1, maxVerifyRate, fmt.Sprintf("MiB a second, 1…%d", maxVerifyRate))
	if p.Err != nil {
		return p.Err
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
	ctx, cancel := s.tails.UntilDrained(r.Context())
	defer cancel()
	lines := newJSONLines(w)
	told := s.clock.Now()
	done, err := verifier.Verify(ctx, persistence.VerifyOptions{
		Stream: stream, BytesPerSecond: int64(rate) << 20,
		Found: func(f persistence.Finding) { lines.write(map[string]any{"finding": f}) },
		Progress: func(p persistence.VerifyProgress) {
			if now := s.clock.Now(); now.Sub(told) >= reportEvery {
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
	if err := api.ParseParams(r).Err; err != nil {
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
	ctx, cancel := s.tails.UntilDrained(r.Context())
	defer cancel()
	lines := newJSONLines(w)
	lines.write(map[string]any{"snapshot": snapshot})
	<-ctx.Done()
	return nil
}

// jsonLines is a response of JSON documents, one per line.
type jsonLines struct {
	w http.ResponseWriter
}

func newJSONLines(w http.ResponseWriter) *jsonLines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &jsonLines{w}
}

// write writes a line and sends it. It ignores errors: a client that is gone ends the request's
// context.
func (l *jsonLines) write(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("serve: %T has no JSON form: %v", v, err))
	}
	tail.Allow(l.w, 0)
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
	if s.tails.Draining() || errors.Is(err, persistence.ErrStoreClosed) {
		err = api.ShuttingDown()
	}
	e := api.Resolve(s.observer, r, err)
	lines.write(api.ErrorBody{Error: e.Name, Message: e.Message})
}
