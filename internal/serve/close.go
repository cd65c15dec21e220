package serve

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

// maxReason is the longest reason for closing a stream or for giving a gap up, in bytes. The reason
// is stored, logged, and sent to readers.
const maxReason = 200

// closeStream closes a stream for good and answers with its description. A stream that was closed
// before keeps its first reason.
func (s *Server) closeStream(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "reason")
	reason := lineOf(p, "reason", "for those who find the stream closed")
	if p.Err != nil {
		return p.Err
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.BriefTimeout)
	defer cancel()
	info, err := s.control.Close(ctx, r.PathValue("stream"), reason)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, info)
	return nil
}

// deleteTime bounds the removal of a stream.
const deleteTime = time.Minute

// deleteStream removes a stream for good that no feed fills.
func (s *Server) deleteStream(w http.ResponseWriter, r *http.Request) error {
	if err := api.ParseParams(r).Err; err != nil {
		return err
	}
	tail.Allow(w, deleteTime)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deleteTime)
	defer cancel()
	name := r.PathValue("stream")
	if err := s.control.DeleteStream(ctx, name); err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, map[string]string{"deleted": name})
	return nil
}

// trimStream drops the oldest entries of a stream now, so that it keeps no more than the request says.
// What the stream keeps from then on does not change.
func (s *Server) trimStream(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "age_s", "bytes", "entries")
	keep := persistence.Retention{Age: time.Duration(boundOf(p, "age_s", maxAgeSeconds)) * time.Second, Bytes: boundOf(p, "bytes", math.MaxInt64), Entries: boundOf(p, "entries", math.MaxInt64)}
	if p.Err == nil && keep == (persistence.Retention{}) {
		p.Fail(api.Missing("age_s, bytes, entries", "one of the three at least"))
	}
	if p.Err != nil {
		return p.Err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	tail.Allow(w, deleteTime)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), deleteTime)
	defer cancel()
	dropped, err := stream.Trim(ctx, keep)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, messages.Trimmed{Entries: dropped.Entries, Bytes: dropped.Bytes, Kept: info.Entries})
	return nil
}

// maxAgeSeconds is a hundred years.
const maxAgeSeconds = 100 * 365 * 24 * 3600

// boundOf returns a parameter as a bound, or 0 if it is not given.
func boundOf(p *api.Params, name string, most int64) int64 {
	if !p.Values.Has(name) {
		return 0
	}
	given := p.Values.Get(name)
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < 1 || n > most {
		p.Fail(api.Invalid(name, given, fmt.Sprintf("a whole number 1…%d", most)))
		return 0
	}
	return n
}

// lineOf returns a reason, which is required: readers will ask for it, and what it is the reason
// for cannot be undone.
func lineOf(p *api.Params, name, forWhom string) string {
	given := strings.TrimSpace(p.Values.Get(name))
	if given == "" || len(given) > maxReason || !utf8.ValidString(given) || strings.ContainsFunc(given, unicode.IsControl) {
		p.Fail(api.Invalid(name, given, fmt.Sprintf("one line of 1…%d bytes, %s", maxReason, forWhom)))
	}
	return given
}
