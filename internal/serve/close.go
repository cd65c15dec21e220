package serve

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"tempestd/internal/serve/api"
)

// maxReason is the longest reason for closing a stream, in bytes. The reason is stored with the
// stream, logged, and sent to every reader.
const maxReason = 200

// closeStream closes a stream for good and answers with its description. A stream that was closed
// before keeps its first reason.
func (s *Server) closeStream(w http.ResponseWriter, r *http.Request) error {
	p := api.ParseParams(r, "reason")
	reason := reasonOf(p)
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

// reasonOf returns why a stream is closed. It is required: closing cannot be undone, and readers
// will ask for the reason.
func reasonOf(p *api.Params) string {
	const name = "reason"
	given := strings.TrimSpace(p.Values.Get(name))
	if given == "" || len(given) > maxReason || !utf8.ValidString(given) || strings.ContainsFunc(given, unicode.IsControl) {
		p.Fail(api.Invalid(name, given, fmt.Sprintf("one line of 1…%d bytes, for those who find the stream closed", maxReason)))
	}
	return given
}
