package jetstream_test

import (
	"bufio"
	"context"
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

// realistic is n frames with the network's mix of shapes, sizes (568 bytes in the mean) and entropy.
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

// floodVariable makes the test binary a flood server.
const floodVariable = "TEMPESTD_TEST_FLOOD"

// flood serves frames as fast as they are read, until its standard input ends.
func flood() {
	var blob strings.Builder
	for _, f := range realistic(4096) {
		blob.WriteString(rawText(string(f)))
	}
	server := httptest.NewServer(rawHandler(func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, blob.String()); err != nil {
				return
			}
		}
	}))
	fmt.Println(strings.TrimPrefix(server.URL, "http"))
	io.Copy(io.Discard, os.Stdin)
}

// startFlood starts a flood server in a process of its own.
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

// cpu is the processor time this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report adds what a reader of a feed costs.
func report(b *testing.B, used time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(used.Seconds()/float64(b.N)*1e6, "CPU-s/M-events")
}

// counter is a sink that stops after some events.
type counter struct{ left int }

func (c *counter) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	if c.left -= len(b.Events); c.left <= 0 {
		return b, false
	}
	b.Reset()
	return b, true
}
func (c *counter) Hand(*messages.Batch) *messages.Batch { return nil }
func (c *counter) Bad([]byte, error)                    {}
func (c *counter) First(messages.Event)                 {}
func (c *counter) Info(string, string)                  {}

// BenchmarkReadLoop compares Conn.Run with a bare loop of the websocket library, over the same frames.
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
	b.Run("run", func(b *testing.B) {
		conn := dial(b, req, jetstream.DialOptions{})
		b.ReportAllocs()
		b.ResetTimer()
		start := cpu()
		if _, err := conn.Run(&messages.Batch{}, &counter{left: b.N}, jetstream.Limits{Events: 4096, Bytes: 4 << 20, Delay: time.Second}); err == nil {
			b.Fatal("it ended without a word")
		}
		report(b, cpu()-start)
	})
}

// buffered is a connection with a read buffer.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (c buffered) Read(p []byte) (int, error) { return c.r.Read(p) }
