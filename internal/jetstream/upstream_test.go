package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/klauspost/compress/zstd"

	"tempestd/internal/jetstream"
)

const (
	v1Path = "/subscribe"
	v2Path = "/xrpc/network.bsky.jetstream.subscribeEvents"
)

// upstream is a server of both protocols that sends the same frames to every client and then shuts
// down. It does not have or do what is nil or zero.
type upstream struct {
	t    testing.TB
	v1   []string
	v2   []string
	dict []byte // the dictionary that getZstdDictionary gives out, and for v1 and v2
	// refuse may answer a request itself; then it returns true.
	refuse func(w http.ResponseWriter, r *http.Request) bool
	// packed is written in place of the compressed frames.
	packed [][]byte
	// after continues with a connection once the frames are sent.
	after func(ctx context.Context, ws *websocket.Conn)
	// hold is called with the client's first message, before any v1 frame is sent.
	hold func(message string)

	mu    sync.Mutex
	asked []string // request URIs
}

func (u *upstream) serve() jetstream.Request { return serveHTTP(u.t, u.handle) }

func (u *upstream) handle(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.asked = append(u.asked, r.RequestURI)
	u.mu.Unlock()
	if u.refuse != nil && u.refuse(w, r) {
		return
	}
	frames, accept := u.v1, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover}
	packed := r.URL.Query().Get("compress") == "true"
	switch r.URL.Path {
	case "/xrpc/network.bsky.jetstream.getZstdDictionary":
		if u.dict == nil {
			refuse(w, 404, "MethodNotImplemented", "no such method")
			return
		}
		w.Header().Set("X-Zstd-Dictionary-Id", strconv.Itoa(int(dictID(u.t, u.dict))))
		w.Write(u.dict)
		return
	case v2Path:
		frames = u.v2
		accept = &websocket.AcceptOptions{Subprotocols: []string{"xrpc.v1.json"}}
		if id := r.URL.Query().Get("zstdDictionary"); id != "" {
			if packed = u.dict != nil && id == strconv.Itoa(int(dictID(u.t, u.dict))); !packed {
				refuse(w, 400, "UnknownZstdDictionary", "unknown zstd dictionary id "+id)
				return
			}
		}
	case v1Path:
	default:
		http.NotFound(w, r)
		return
	}
	if frames == nil {
		http.NotFound(w, r)
		return
	}
	ws, err := websocket.Accept(w, r, accept)
	if err != nil {
		u.t.Error(err)
		return
	}
	defer ws.CloseNow()
	if u.hold != nil {
		ws.SetReadLimit(10_000_000)
		_, message, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		u.hold(string(message))
	}
	switch {
	case packed && u.packed != nil:
		for _, p := range u.packed {
			ws.Write(r.Context(), websocket.MessageBinary, p)
		}
	case packed:
		encoder := newEncoder(u.t, u.dict)
		for _, f := range frames {
			ws.Write(r.Context(), websocket.MessageBinary, encoder.EncodeAll([]byte(f), nil))
		}
	default:
		for _, f := range frames {
			ws.Write(r.Context(), websocket.MessageText, []byte(f)) // the client may be gone
		}
	}
	if u.after != nil {
		u.after(r.Context(), ws)
	}
	ws.Close(websocket.StatusGoingAway, "server shutting down")
}

// paths returns the requests so far, without their queries.
func (u *upstream) paths() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var paths []string
	for _, uri := range u.asked {
		path, _, _ := strings.Cut(uri, "?")
		paths = append(paths, path)
	}
	return paths
}

func (u *upstream) last() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[len(u.asked)-1]
}

func refuse(w http.ResponseWriter, status int, name, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": name, "message": message})
}

// v2JSON returns eventJSON as a v2 server sends it.
func v2JSON(n int) string {
	at := time.UnixMicro(1795327636563030 + int64(n)).UTC().Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","cid":"bafyreidqpc7si3dbimffi64lz3xsx2qt45ip7rpna2qpslcddp23itjjzm",`+
		`"collection":"app.bsky.feed.like","did":"did:plc:333libf5czqkykcsyqbqtcvs","operation":"create","record":{"$type":"app.bsky.feed.like","createdAt":"2026-08-01T10:08:18Z",`+
		`"subject":{"cid":"bafyreidqpc7si3dbimffi64lz3xsx2qt45ip7rpna2qpslcddp23itjjzm","uri":"at://did:plc:p5lw/app.bsky.feed.post/22anpxljoatlp"}},`+
		`"rev":"3ke6kg3wxps22","rkey":"r%d","seq":%d,"time":"%s"}}`, n, n, at)
}

// series makes n frames.
func series(n int, frame func(int) string) []string {
	var frames []string
	for i := range n {
		frames = append(frames, frame(i+1))
	}
	return frames
}

// newDictionary makes a zstd dictionary for the test frames, a different one for each ID.
func newDictionary(t testing.TB, id uint32) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(id), 0))
	contents := realistic(24)
	var history []byte
	rnd.Shuffle(len(contents), func(i, j int) { contents[i], contents[j] = contents[j], contents[i] })
	for _, f := range contents[:8] {
		history = append(history, f...)
	}
	history = append(history, v2JSON(1)...)
	d, err := zstd.BuildDict(zstd.BuildDictOptions{ID: id, Contents: contents, History: history, Offsets: [3]int{1, 4, 8}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func dictID(t testing.TB, dict []byte) uint32 {
	d, err := zstd.InspectDictionary(dict)
	if err != nil {
		t.Error(err)
		return 0
	}
	return d.ID()
}

func newEncoder(t testing.TB, dict []byte) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderDict(dict))
	if err != nil {
		t.Error(err)
	}
	return e
}

// read dials and reads the connection to its end.
func read(t *testing.T, req jetstream.Request, opt jetstream.DialOptions) (*collector, error) {
	t.Helper()
	sink := &collector{conn: dial(t, req, opt)}
	return sink, sink.run(roomy)
}

func refusal(t *testing.T, err error) *jetstream.RefusedError {
	t.Helper()
	r, ok := errors.AsType[*jetstream.RefusedError](err)
	if !ok {
		t.Fatalf("got %v, want a refusal", err)
	}
	return r
}
