package jetstream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// realistic returns n frames with the network's mix of shapes, sizes (568 bytes on average) and
// entropy.
func realistic(n int) [][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		const letters = "234567abcdefghijklmnopqrstuvwxyz"
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[rnd.IntN(len(letters))]
		}
		return string(b)
	}
	did := func() string { return "did:plc:" + word(24) }
	cid := func() string { return "bafyrei" + word(52) }
	ref := func() string {
		return fmt.Sprintf(`{"cid":"%s","uri":"at://%s/app.bsky.feed.post/%s"}`, cid(), did(), word(13))
	}
	text := func(words int) string {
		var s strings.Builder
		for range words {
			s.WriteString(word(1+rnd.IntN(9)) + " ")
		}
		return s.String() + `\"ü\" 🌩️`
	}
	frames := make([][]byte, n)
	for i := range frames {
		record := ""
		collection, operation := "app.bsky.feed.like", "create"
		const created = `"createdAt":"2026-08-01T14:23:28.778Z"`
		switch p := rnd.IntN(100); {
		case p < 66:
			record = fmt.Sprintf(`{"$type":"app.bsky.feed.like",%s,"subject":%s`, created, ref())
			if p < 30 {
				record += `,"via":` + ref()
			}
			record += "}"
		case p < 76:
			collection = "app.bsky.feed.repost"
			record = fmt.Sprintf(`{"$type":"app.bsky.feed.repost",%s,"subject":%s}`, created, ref())
		case p < 88:
			collection = "app.bsky.feed.post"
			record = fmt.Sprintf(`{"$type":"app.bsky.feed.post",%s,"langs":["en"],"reply":{"parent":%s,"root":%s},"text":"%s"}`, created, ref(), ref(), text(5+rnd.IntN(40)))
		case p < 95:
			collection = "app.bsky.graph.follow"
			record = fmt.Sprintf(`{"$type":"app.bsky.graph.follow",%s,"subject":"%s"}`, created, did())
		default:
			operation = "delete"
		}
		if record != "" {
			record = fmt.Sprintf(`,"record":%s,"cid":"%s"`, record, cid())
		}
		frames[i] = fmt.Appendf(nil, `{"did":"%s","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"%s","operation":"%s","collection":"%s","rkey":"%s"%s}}`,
			did(), 1795327636563030+int64(i)*1000, 39451+i, word(13), operation, collection, word(13), record)
	}
	return frames
}

func total(frames [][]byte) (bytes int) {
	for _, f := range frames {
		bytes += len(f)
	}
	return bytes
}

func BenchmarkScan(b *testing.B) {
	frames := realistic(4096)
	b.SetBytes(int64(total(frames) / len(frames)))
	b.ReportAllocs()
	var e messages.Event
	i := 0
	for b.Loop() {
		if err := jetstream.Scan(frames[i%len(frames)], &e); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkSameIdentity(b *testing.B) {
	frame := realistic(1)[0]
	restamped := []byte(strings.Replace(string(frame), `"time_us":1795327636563030,"cursor":39451`, `"time_us":1795327699999999,"cursor":99999`, 1))
	b.ReportAllocs()
	for b.Loop() {
		if !jetstream.SameIdentity(frame, restamped) {
			b.Fatal("they differ")
		}
	}
}

// asV2 returns a v1 commit as a v2 server sends it.
func asV2(v1 []byte) []byte {
	var e struct {
		DID    string
		TimeUS int64 `json:"time_us"`
		Cursor int64
		Commit map[string]json.RawMessage
	}
	if err := json.Unmarshal(v1, &e); err != nil {
		panic(err)
	}
	payload := map[string]any{"$type": "network.bsky.jetstream.subscribeEvents#commit", "did": e.DID, "seq": e.Cursor,
		"time": time.UnixMicro(e.TimeUS).UTC().Format("2006-01-02T15:04:05.000000Z")}
	for k, v := range e.Commit {
		payload[k] = v
	}
	v2, err := json.Marshal(map[string]any{"$type": "message", "payload": payload})
	if err != nil {
		panic(err)
	}
	return v2
}

func allAsV2(frames [][]byte) [][]byte {
	v2 := make([][]byte, len(frames))
	for i, f := range frames {
		v2[i] = asV2(f)
	}
	return v2
}

func BenchmarkUnwrap(b *testing.B) {
	frames := allAsV2(realistic(4096))
	b.SetBytes(int64(total(frames) / len(frames)))
	b.ReportAllocs()
	room := make([]byte, 0, 1<<16)
	var e messages.Event
	i := 0
	for b.Loop() {
		if _, err := jetstream.Unwrap(room, frames[i%len(frames)], &e); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// floodVariable is the environment variable that turns the test binary into a flood server.
const floodVariable = "TEMPESTD_TEST_FLOOD"

// floodDictionary returns the dictionary that the flood server compresses with.
func floodDictionary(t testing.TB) []byte { return newDictionary(t, v1DictionaryID) }

// flood serves frames as fast as they are read, until its standard input ends. It uses the protocol
// and the compression of the request.
func flood() {
	v1 := realistic(4096)
	v2 := allAsV2(v1)
	encoder := newEncoder(nil, floodDictionary(&testing.B{}))
	blob := func(frames [][]byte, packed bool) []byte {
		var all []byte
		for _, f := range frames {
			opcode := byte(0x81)
			if packed {
				f, opcode = encoder.EncodeAll(f, nil), 0x82
			}
			if len(f) < 126 {
				all = append(all, opcode, byte(len(f)))
			} else {
				all = binary.BigEndian.AppendUint16(append(all, opcode, 126), uint16(len(f)))
			}
			all = append(all, f...)
		}
		return all
	}
	blobs := map[string][]byte{"v1": blob(v1, false), "v2": blob(v2, false), "v1 packed": blob(v1, true), "v2 packed": blob(v2, true)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "v1"
		switch {
		case strings.HasSuffix(r.URL.Path, "getZstdDictionary"):
			w.Write(floodDictionary(&testing.B{}))
			return
		case r.Header.Get("Sec-WebSocket-Extensions") != "":
			ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
			for i := 0; err == nil; i++ {
				err = ws.Write(r.Context(), websocket.MessageText, v1[i%len(v1)])
			}
			return
		case strings.HasPrefix(r.URL.Path, "/xrpc"):
			name = "v2"
		}
		if q := r.URL.Query(); q.Has("compress") || q.Has("zstdDictionary") {
			name += " packed"
		}
		rawHandler(func(c net.Conn) {
			for {
				if _, err := c.Write(blobs[name]); err != nil {
					return
				}
			}
		})(w, r)
	}))
	fmt.Println(strings.TrimPrefix(server.URL, "http"))
	io.Copy(io.Discard, os.Stdin)
}

// startFlood starts a flood server in its own process.
func startFlood(b *testing.B) jetstream.Request {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), floodVariable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return jetstream.Request{Endpoint: endpoint(b, "ws"+strings.TrimSpace(addr))}
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report adds the rate and the processor time of a reader.
func report(b *testing.B, used time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(used.Seconds()/float64(b.N)*1e6, "CPU-s/M-events")
}

// counter is a sink that ends the connection after a number of frames.
type counter struct {
	conn *jetstream.Conn
	left int
}

func (c *counter) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	if c.left -= b.Frames; c.left <= 0 {
		go c.conn.CloseNow() // in a goroutine, because it waits for the read that calls TryHand
		return b, false
	}
	b.Reset()
	return b, true
}
func (c *counter) Hand(*messages.Batch) *messages.Batch { return nil }
func (c *counter) Bad([]byte, error)                    {}
func (c *counter) First(messages.Event)                 {}
func (c *counter) Info(string, string)                  {}

// BenchmarkReadLoop compares Conn.Run with a plain loop over the websocket library, with the same
// frames.
func BenchmarkReadLoop(b *testing.B) {
	req := startFlood(b)
	b.Run("library", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return buffered{c, bufio.NewReaderSize(c, 256<<10)}, err
		}}}
		ws, _, err := websocket.Dial(b.Context(), req.Endpoint.String(), &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			b.Fatal(err)
		}
		defer ws.CloseNow()
		buf := make([]byte, 0, 64<<10)
		b.ReportAllocs()
		b.ResetTimer()
		start := cpu()
		for range b.N {
			_, r, err := ws.Reader(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			for buf = buf[:0]; err == nil; {
				var n int
				n, err = r.Read(buf[len(buf):cap(buf)])
				buf = buf[:len(buf)+n]
			}
		}
		report(b, cpu()-start)
	})
	dids := make([]string, 50_000)
	for i := range dids {
		dids[i] = fmt.Sprintf("did:plc:%024d", i)
	}
	v2 := jetstream.Request{Endpoint: req.Endpoint, Protocol: jetstream.ProtocolV2}
	for _, c := range []struct {
		name string
		base jetstream.Request
		with func(*jetstream.Request)
	}{
		{"v1", req, func(*jetstream.Request) {}},
		{"v2", v2, func(*jetstream.Request) {}},
		{"v2/raw", v2, func(r *jetstream.Request) { r.Raw = true }},
		{"v1/zstd", req, func(r *jetstream.Request) { r.Compress = jetstream.CompressZstd }},
		{"v2/zstd", v2, func(r *jetstream.Request) { r.Compress = jetstream.CompressZstd }},
		{"v1/deflate", req, func(r *jetstream.Request) { r.Compress = jetstream.CompressDeflate }},
		{"v1/50k_dids", req, func(r *jetstream.Request) { r.Filter.DIDs = dids }},
		{"v2/50k_dids", v2, func(r *jetstream.Request) { r.Filter.DIDs = dids }},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := c.base
			c.with(&req)
			conn := dial(b, req, jetstream.DialOptions{V1Dictionary: floodDictionary(b)})
			if w := conn.Wire(); w.Fallback != "" {
				b.Fatal(w.Fallback)
			}
			b.ReportAllocs()
			b.ResetTimer()
			start := cpu()
			if _, err := conn.Run(&messages.Batch{}, &counter{conn: conn, left: b.N}, jetstream.Limits{Events: 4096, Bytes: 4 << 20, Delay: time.Millisecond}); err == nil {
				b.Fatal("it ended without a word")
			}
			report(b, cpu()-start)
		})
	}
}

// buffered is a connection with a read buffer.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (c buffered) Read(p []byte) (int, error) { return c.r.Read(p) }
