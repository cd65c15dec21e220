package mirror

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
)

// dictionary serves the zstd dictionary of v2.
func (m *Mirror) dictionary(w http.ResponseWriter, r *http.Request) error {
	err := m.writeDictionary(w, r)
	if refusal, ok := errors.AsType[*subscribe.Refusal](err); ok {
		refusal.Answer(w, subscribe.V2)
		return nil
	}
	return err
}

func (m *Mirror) writeDictionary(w http.ResponseWriter, r *http.Request) error {
	stream, err := m.streamOf(r)
	if err != nil {
		return err
	}
	p, err := m.compressors.v2(stream.Name())
	if err != nil {
		return err
	}
	if p == nil {
		return &subscribe.Refusal{Status: http.StatusNotFound, Name: atproto.DictionaryNotFound, Message: "this daemon has no zstd dictionary at hand"}
	}
	if q := r.URL.Query(); q.Has("id") {
		id, err := strconv.ParseInt(q.Get("id"), 10, 64)
		if err != nil {
			return subscribe.Invalid("id must be an integer zstd dictionary ID")
		}
		if id != int64(p.id) {
			return subscribe.DictionaryNotFound(id, p.id)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.Itoa(len(p.data)))
	h.Set("Etag", fmt.Sprintf(`"zstd-dict-%d"`, p.id))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set(atproto.DictionaryHeader, strconv.FormatUint(uint64(p.id), 10))
	_, _ = w.Write(p.data) // the HTTP server handles a failed write
	return nil
}
