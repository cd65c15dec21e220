package serve

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/tail"
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

// lineOf returns a reason, which is required: readers will ask for it, and what it is the reason
// for cannot be undone.
func lineOf(p *api.Params, name, forWhom string) string {
	given := strings.TrimSpace(p.Values.Get(name))
	if given == "" || len(given) > maxReason || !utf8.ValidString(given) || strings.ContainsFunc(given, unicode.IsControl) {
		p.Fail(api.Invalid(name, given, fmt.Sprintf("one line of 1…%d bytes, %s", maxReason, forWhom)))
	}
	return given
}
