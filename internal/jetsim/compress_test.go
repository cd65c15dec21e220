package jetsim_test

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/klauspost/compress/zstd"

	"tempestd/internal/jetsim"
)

// unzip decompresses binary messages with a dictionary.
func unzip(t testing.TB, dict []byte, messages [][]byte) [][]byte {
	t.Helper()
	dec, err := zstd.NewReader(nil, zstd.WithDecoderDicts(dict), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var out [][]byte
	for _, m := range messages {
		b, err := dec.DecodeAll(m, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// readKind reads n messages of one type.
func (c *client) readKind(n int, want websocket.MessageType) (frames [][]byte) {
	c.t.Helper()
	for range n {
		kind, b, err := c.conn.Read(c.ctx)
		if err != nil || kind != want {
			c.t.Fatalf("message %d: %v, %v", len(frames), kind, err)
		}
		frames = append(frames, b)
	}
	return frames
}

func equalFrames(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func size(frames [][]byte) (n int) {
	for _, b := range frames {
		n += len(b)
	}
	return n
}

func dictionaryOf(t testing.TB, s *jetsim.Sim) []byte {
	t.Helper()
	resp, body := get(t, s, "GET", pathDict)
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	return []byte(body)
}

func TestV2ZstdIsOneFrameAMessageWithTheDictionary(t *testing.T) {
	const n = 300
	s := start(t, jetsim.Options{Backlog: n, Syncs: true})
	plain := subscribeV2(t, s, "cursor=0").read(n)
	packed := subscribeV2(t, s, fmt.Sprint("cursor=0&zstdDictionary=", s.DictionaryID())).readKind(n, websocket.MessageBinary)
	for i, b := range packed {
		var h zstd.Header
		if err := h.Decode(b); err != nil || h.DictionaryID != s.DictionaryID() {
			t.Fatalf("message %d: %+v %v", i, h, err)
		}
	}
	if !equalFrames(unzip(t, dictionaryOf(t, s), packed), plain) {
		t.Error("the frames are not what they are without compression")
	}
	// With real frames it is 42.2 % in v2. Random text compresses worse than real text.
	if part := size(packed) * 100 / size(plain); part > 65 {
		t.Errorf("%d %% of the raw bytes", part)
	}
	if w := s.Stats().Wires; w["v2"] != 1 || w["v2+zstd"] != 1 {
		t.Errorf("counted: %v", w)
	}
}

func TestV1ZstdNeedsTheDictionaryBeforehand(t *testing.T) {
	const n = 100
	opts := map[string]jetsim.Options{"its own": {Backlog: n}}
	if dir := os.Getenv("TEMPEST_CORPUS"); dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "v1_1612007021.zdict"))
		if err != nil {
			t.Fatal(err)
		}
		opts["the real one"] = jetsim.Options{Backlog: n, V1Dictionary: b}
	}
	for name, opt := range opts {
		s := start(t, opt)
		dict, err := s.V1Dictionary()
		if err != nil {
			t.Fatal(err)
		}
		plain := subscribe(t, s, "cursor=0").read(n)
		packed := subscribe(t, s, "cursor=0&compress=true").readKind(n, websocket.MessageBinary)
		byHeader := subscribeWith(t, s.URL()+"?cursor=0", &websocket.DialOptions{HTTPHeader: map[string][]string{"Socket-Encoding": {"zstd"}}}).readKind(n, websocket.MessageBinary)
		var h zstd.Header
		if err := h.Decode(packed[0]); err != nil || h.DictionaryID != 1612007021 {
			t.Errorf("%s: %+v %v", name, h, err)
		}
		if !equalFrames(unzip(t, dict, packed), plain) || !equalFrames(packed, byHeader) {
			t.Errorf("%s: the frames are not what they are without compression", name)
		}
		if _, body := get(t, s, "GET", "/_sim/v1-dictionary"); body != string(dict) {
			t.Errorf("%s: the control endpoint gives another dictionary", name)
		}
	}
	if _, err := jetsim.New(jetsim.Options{V1Dictionary: []byte("dictionary")}); err == nil {
		t.Error("any bytes are taken for a dictionary")
	}
}

func TestDictionaryIsServedAsObserved(t *testing.T) {
	s := newSim(t, jetsim.Options{})
	id := s.DictionaryID()
	resp, body := get(t, s, "GET", pathDict)
	info, err := zstd.InspectDictionary([]byte(body))
	if err != nil || info.ID() != id {
		t.Fatalf("%v, want id %d", err, id)
	}
	for key, want := range map[string]string{
		"X-Zstd-Dictionary-Id": fmt.Sprint(id),
		"Etag":                 fmt.Sprintf(`"zstd-dict-%d"`, id),
		"Cache-Control":        "public, max-age=31536000, immutable",
		"Content-Type":         "application/octet-stream",
	} {
		if got := resp.Header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if resp, again := get(t, s, "GET", fmt.Sprint(pathDict, "?id=", id)); resp.StatusCode != 200 || again != body {
		t.Errorf("by its id: %d", resp.StatusCode)
	}
	want := fmt.Sprintf(`{"error":"DictionaryNotFound","message":"no dictionary with id 1612007021; current dictionary id is %d"}`, id)
	if resp, body := get(t, s, "GET", pathDict+"?id=1612007021"); resp.StatusCode != 404 || body != want {
		t.Errorf("another id: %d %s", resp.StatusCode, body)
	}
	if resp, body := get(t, s, "GET", pathDict+"?id=abc"); resp.StatusCode != 400 || !strings.Contains(body, `"error":"InvalidRequest"`) {
		t.Errorf("no id: %d %s", resp.StatusCode, body)
	}
	// An id means one dictionary, on every server.
	if other := newSim(t, jetsim.Options{Seed: 9}); string(dictionaryOf(t, other)) != body {
		t.Error("another server has other bytes under this id")
	}
}

func TestRotationMakesTheOldDictionaryUnknown(t *testing.T) {
	const n = 50
	s := start(t, jetsim.Options{Backlog: n})
	old, oldDict := s.DictionaryID(), dictionaryOf(t, s)
	c := subscribeV2(t, s, fmt.Sprint("cursor=0&zstdDictionary=", old))
	plain := unzip(t, oldDict, c.readKind(n, websocket.MessageBinary))
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultRotate}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.rest(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a connection ends with %v", err)
	}
	id := s.DictionaryID()
	if _, body := get(t, s, "GET", fmt.Sprint(pathV2, "?zstdDictionary=", old)); !strings.Contains(body, "UnknownZstdDictionary") || !strings.Contains(body, fmt.Sprintf("current dictionary id is %d ", id)) {
		t.Errorf("the old id answers %s", body)
	}
	dict := dictionaryOf(t, s)
	if id == old || bytes.Equal(dict, oldDict) {
		t.Error("the dictionary is the old one")
	}
	again := subscribeV2(t, s, fmt.Sprint("cursor=0&zstdDictionary=", id)).readKind(n, websocket.MessageBinary)
	if !equalFrames(unzip(t, dict, again), plain) {
		t.Error("the new dictionary gives other frames")
	}
}

func TestDeflateIsAcceptedInV1Only(t *testing.T) {
	const n = 400
	s := start(t, jetsim.Options{Backlog: n})
	plain := subscribe(t, s, "cursor=0").read(n)
	for _, mode := range []websocket.CompressionMode{websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
		c := subscribeWith(t, s.URL()+"?cursor=0", &websocket.DialOptions{CompressionMode: mode})
		if !equalFrames(c.read(n), plain) {
			t.Errorf("mode %v: the frames are not what they are without compression", mode)
		}
	}
	const offer = "permessage-deflate; client_max_window_bits"
	if got := upgrade(t, s, "/subscribe", "Sec-WebSocket-Extensions", offer).Header.Get("Sec-WebSocket-Extensions"); got != "permessage-deflate" {
		t.Errorf("v1 answers %q", got)
	}
	if got := upgrade(t, s, "/subscribe", "Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=9").Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("v1 agrees to a small window: %q", got)
	}
	if got := upgrade(t, s, pathV2, "Sec-WebSocket-Extensions", offer).Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("v2 answers %q", got)
	}
	if got := s.Stats().Wires["v1+deflate"]; got != 3 {
		t.Errorf("%d connections counted", got)
	}
	want := "choose one compression scheme: custom zstd (compress=true / Socket-Encoding: zstd) or RFC 7692 permessage-deflate, not both\n"
	if resp, body := get(t, s, "GET", "/subscribe?compress=true", "Sec-WebSocket-Extensions", offer); resp.StatusCode != 400 || body != want {
		t.Errorf("both: %d %q", resp.StatusCode, body)
	}
}

// TestDeflateTakesItsContextOver reads the wire by hand. A message cannot be decompressed without
// the messages before it, and is about half as long because of them.
func TestDeflateTakesItsContextOver(t *testing.T) {
	const n = 300
	s := start(t, jetsim.Options{Backlog: n})
	plain := subscribe(t, s, "cursor=0").read(n)
	_, r := rawUpgrade(t, s, "/subscribe?cursor=0", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
	var window []byte
	packed := 0
	for i := range plain {
		head, payload := rawFrame(t, r)
		packed += len(payload)
		if head == 0xc1 {
			payload = append(payload, 0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff)
			var err error
			if payload, err = io.ReadAll(flate.NewReaderDict(bytes.NewReader(payload), window)); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		} else if head != 0x81 || len(plain[i]) >= 128 {
			t.Fatalf("message %d of %d bytes has the head %#x", i, len(plain[i]), head)
		}
		if !bytes.Equal(payload, plain[i]) {
			t.Fatalf("message %d is %s, want %s", i, payload, plain[i])
		}
		window = append(window, payload...)
		window = window[max(0, len(window)-32<<10):]
	}
	if part := packed * 100 / size(plain); part > 75 {
		t.Errorf("%d %% of the raw bytes", part)
	}
}

func TestFaultsSpeakTheConnectionsEncoding(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	c := subscribeV2(t, s, fmt.Sprint("cursor=0&zstdDictionary=", s.DictionaryID()))
	c.readKind(10, websocket.MessageBinary)
	for _, fault := range []string{jetsim.FaultGarbage, jetsim.FaultOversize, jetsim.FaultTooSlow} {
		if err := s.Inject(jetsim.Fault{Name: fault}); err != nil {
			t.Fatal(err)
		}
	}
	messages, _ := c.rest()
	if len(messages) != 12 {
		t.Fatalf("%d messages", len(messages))
	}
	garbage, bomb, slow := messages[:9], messages[10], messages[11]
	texts := unzip(t, dictionaryOf(t, s), append(garbage, slow, bomb))
	if got := texts[10]; len(got) != 32<<20 || len(bomb) > 1<<20 {
		t.Errorf("a bomb of %d bytes is %d", len(bomb), len(got))
	}
	for i, b := range texts[:9] {
		if eventLikeV2(b) {
			t.Errorf("garbage %d looks like an event: %.100s", i, b)
		}
	}
	if !bytes.Contains(texts[9], []byte(`"error":"ConsumerTooSlow"`)) {
		t.Errorf("the error frame is %s", texts[9])
	}
}

func eventLikeV2(b []byte) bool {
	var f frameV2
	return utf8.Valid(b) && json.Unmarshal(b, &f) == nil && f.Type == "message"
}
