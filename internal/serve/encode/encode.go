// Package encode compresses answers for clients that ask for it (Accept-Encoding: zstd, gzip).
//
// The model: a [Writer] stands between a handler and its client. It decides when the answer begins:
// text that is long, or whose length is not known, and that nothing has encoded yet, goes through an
// encoder. An encoder has memory, and takes it from the budget of the client; where there is no room,
// the answer is sent as it is. A tail that waits has no encoder, an event stream has one for as long
// as it lasts, and sends all that it has at each flush.
package encode

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"tempestd/internal/serve/budget"
)

const (
	// leastBody is the length from which a body is compressed, in bytes: a packet takes less anyhow.
	leastBody = 1400
	// window is how far back the encoders look.
	window = 128 << 10
)

// cost is the memory of an encoder, in bytes.
var cost = map[coding]int64{gzipped: 1 << 20, zstded: 1 << 20}

// encoder is a stream encoder of either coding.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// pools have the encoders that nobody uses.
type pools struct{ gzip, zstd sync.Pool }

func (p *pools) get(c coding) encoder {
	if c == gzipped {
		if e, ok := p.gzip.Get().(encoder); ok {
			return e
		}
		e, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
		return e
	}
	if e, ok := p.zstd.Get().(encoder); ok {
		return e
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // an option is not valid, which a test would find
	}
	return e
}

func (p *pools) put(c coding, e encoder) {
	e.Reset(nil)
	if c == gzipped {
		p.gzip.Put(e)
		return
	}
	p.zstd.Put(e)
}

// Encoders make the writers of a server. The zero Encoders is ready to use and safe for concurrent
// use.
type Encoders struct{ pools pools }

// Wrap returns a writer for the answer to r, and a function to be called when the handler has ended:
// whole says that it has returned, so that the answer ends too. open opens a share of the client's
// memory. The writer is w itself for a client that wants no coding.
func (e *Encoders) Wrap(w http.ResponseWriter, r *http.Request, open func() *budget.Share) (out http.ResponseWriter, end func(whole bool)) {
	c := choose(r.Header)
	if c == identity || r.Method != http.MethodGet || r.Header.Get("Upgrade") != "" || r.Header.Get("Range") != "" {
		return w, func(bool) {}
	}
	encoded := &writer{ResponseWriter: w, pools: &e.pools, coding: c, open: open}
	return encoded, encoded.end
}

// writer is an answer that may be encoded.
type writer struct {
	http.ResponseWriter
	pools  *pools
	coding coding
	open   func() *budget.Share

	begun bool
	enc   encoder // nil for an answer that is sent as it is
	share *budget.Share
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if !w.begun && status >= http.StatusOK {
		w.begun = true
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin decides whether the answer is encoded.
func (w *writer) begin(status int) {
	h := w.Header()
	if !compressible(h.Get("Content-Type")) {
		return
	}
	h.Add("Vary", "Accept-Encoding")
	length, err := strconv.Atoi(h.Get("Content-Length"))
	if status != http.StatusOK || h.Get("Content-Encoding") != "" || err == nil && length < leastBody {
		return
	}
	share := w.open()
	if !share.Keep(cost[w.coding]) {
		share.Close()
		return
	}
	w.share, w.enc = share, w.pools.get(w.coding)
	w.enc.Reset(w.ResponseWriter)
	h.Set("Content-Encoding", string(w.coding))
	h.Del("Content-Length")
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		h.Set("Etag", "W/"+tag) // the bytes are others, what they mean is the same
	}
}

func compressible(contentType string) bool {
	name, _, _ := strings.Cut(contentType, ";")
	return name == "application/json" || name == "image/svg+xml" || strings.HasPrefix(name, "text/")
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.enc == nil {
		return w.ResponseWriter.Write(p)
	}
	return w.enc.Write(p)
}

// FlushError sends everything that was written: http.ResponseController calls it.
func (w *writer) FlushError() error {
	if w.enc != nil {
		if err := w.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// end ends the encoded answer. After a panic a client must not take the half for the whole.
func (w *writer) end(whole bool) {
	if w.enc == nil {
		return
	}
	if whole {
		_ = w.enc.Close() // the HTTP server handles a failed write
	}
	w.pools.put(w.coding, w.enc)
	w.share.Close()
	w.enc = nil
}
