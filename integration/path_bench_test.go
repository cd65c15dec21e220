package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/observe"
	"tempestd/persistence/embedded"
	"tempestd/supervisor"
)

// floodVariable makes the test binary run as a flood server.
const floodVariable = "TEMPESTD_TEST_FLOOD"

// floodFrames is the number of frames that a flood repeats. It is several times the size of a
// batch, so that no block holds a frame twice, which would help compression more than a real feed
// does. In each round the events belong to other accounts.
const floodFrames = 1 << 16

// flood serves the simulator's commits to every subscriber as fast as it reads, until standard
// input ends. The frames are rendered in advance, so that the server costs only the sending.
func flood() {
	sim, err := jetsim.New(jetsim.Options{Backlog: floodFrames})
	if err != nil {
		panic(err)
	}
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		panic(err)
	}
	ws, _, err := websocket.Dial(context.Background(), sim.URL()+"?cursor=0", nil)
	if err != nil {
		panic(err)
	}
	var wire []byte
	var accounts []int // the offsets of the ends of their DIDs
	for range floodFrames {
		_, frame, err := ws.Read(context.Background())
		if err != nil {
			panic(err)
		}
		if bytes.Contains(frame, []byte(`"kind":"commit"`)) {
			wire = appendFrame(wire, frame)
			accounts = append(accounts, len(wire)-len(frame)+len(`{"did":"did:plc:`)+20)
		}
	}
	ws.CloseNow()
	_ = sim.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			// The accept key: RFC 6455, section 1.3.
			sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
				base64.StdEncoding.EncodeToString(sum[:]))
			wire := bytes.Clone(wire)
			for round := 0; err == nil; round++ {
				for _, at := range accounts {
					for i := range 4 {
						wire[at+i] = "abcdefghijklmnopqrstuvwxyz234567"[round>>(5*i)&31]
					}
				}
				_, err = conn.Write(wire)
			}
		}))
	}()
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// appendFrame appends an unmasked text message.
func appendFrame(b, payload []byte) []byte {
	b = append(b, 0x81)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// startFlood starts a flood server in another process, so that its cost is not counted, and returns
// its address.
func startFlood(b *testing.B) string {
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
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, events float64, took, used time.Duration) {
	b.ReportMetric(events/took.Seconds(), "events/s")
	b.ReportMetric(used.Seconds()/events*1e6, "CPU-s/M-events")
}

// BenchmarkPath compares processes that read the same frames from one server as fast as they can: a
// bare read loop of the websocket library; the official Go client of legacy servers, which decodes
// every event and stores none; and the daemon, from its start to durable entries. Run it with about
// -benchtime 3000000x.
func BenchmarkPath(b *testing.B) {
	addr := startFlood(b)
	follow := filepath.Join(b.TempDir(), "follow")
	build := exec.Command("go", "build", "-o", follow, "./follow")
	build.Dir = "legacy"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build the legacy client: %v\n%s", err, out)
	}
	b.Run("library", func(b *testing.B) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), readVariable+"="+addr, readVariable+"_COUNT="+strconv.Itoa(b.N))
		benchCommand(b, cmd)
	})
	b.Run("legacy-client", func(b *testing.B) {
		benchCommand(b, exec.Command(follow, "-url", "ws://"+addr, "-count", strconv.Itoa(b.N)))
	})
	binary := plainBinary(b)
	for _, sync := range []string{"batch", "interval"} {
		b.Run("daemon/sync="+sync, func(b *testing.B) {
			d := newDaemon(b, "ws://"+addr, settings{"log.level": `"info"`, "stream.sync": quoted(sync)})
			d.binary = binary
			from := time.Now()
			d.start()
			d.await("http.listening")
			d.awaitStored(uint64(b.N))
			events, took := float64(d.status().Stored), time.Since(from)
			peak := d.memory("VmHWM")
			d.kill()
			report(b, events, took, d.cmd.ProcessState.UserTime()+d.cmd.ProcessState.SystemTime())
			b.ReportMetric(float64(peak)/1024, "peak-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// benchCommand runs a command that reads b.N events and ends.
func benchCommand(b *testing.B, cmd *exec.Cmd) {
	from := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	report(b, float64(b.N), time.Since(from), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	b.ReportMetric(float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024, "peak-MiB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDedupe compares, in one run, the cost of deduplication at all times with deduplication
// only during overlaps. It measures from the socket to the durable entry, with events that do not
// repeat.
func BenchmarkDedupe(b *testing.B) {
	addr := startFlood(b)
	for range 3 {
		for _, when := range []config.Dedupe{config.DedupeOverlap, config.DedupeAlways} {
			b.Run(string(when), func(b *testing.B) { benchDaemon(b, addr, "batch", when) })
		}
	}
}

// readVariable makes the test binary run as a bare read loop: it reads a number of messages from an
// address.
const readVariable = "TEMPESTD_TEST_READ"

func readLoop(addr string, count int) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return buffered{c, bufio.NewReaderSize(c, 256<<10)}, err
	}}}
	ws, _, err := websocket.Dial(context.Background(), "ws://"+addr, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	buf := make([]byte, 0, 64<<10)
	for range count {
		_, r, err := ws.Reader(context.Background())
		if err != nil {
			return err
		}
		for buf = buf[:0]; err == nil; {
			var n int
			n, err = r.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
		}
	}
	return nil
}

// buffered is a connection with a read buffer.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (c buffered) Read(p []byte) (int, error) { return c.r.Read(p) }

func benchDaemon(b *testing.B, addr, sync string, when config.Dedupe) {
	opt := embedded.Options{Clock: clockwork.NewRealClock(), MinFree: 64 << 20}
	if sync == "interval" {
		opt.SyncInterval = time.Second
	}
	store, err := embedded.Open(b.Context(), b.TempDir(), opt)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	cfg := config.Default()
	cfg.Feeds = cfg.Feeds[:1]
	upstream, err := config.ParseEndpoint("ws://" + addr)
	if err != nil {
		b.Fatal(err)
	}
	cfg.Feeds[0].Endpoints = []config.Endpoint{upstream}
	cfg.Feeds[0].Dedupe = when
	o := observe.Discard()
	stored := o.Metrics().Stored.WithLabelValues(cfg.Feeds[0].Name)

	b.ReportAllocs()
	b.ResetTimer()
	start, from := cpu(b), time.Now()
	d, err := supervisor.Start(b.Context(), supervisor.Options{Config: cfg, Store: store, Observer: o, Clock: clockwork.NewRealClock()})
	if err != nil {
		b.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for testutil.ToFloat64(stored) < float64(b.N) {
		<-tick.C
	}
	events, took, used := testutil.ToFloat64(stored), time.Since(from), cpu(b)-start
	b.StopTimer()
	report(b, events, took, used)
	stream, err := store.Stream(b.Context(), cfg.Feeds[0].Name)
	if err != nil {
		b.Fatal(err)
	}
	info, err := stream.Info(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Bytes)/float64(info.Entries), "disk-B/event")
	if err := d.Stop(b.Context(), "the benchmark is over"); err != nil {
		b.Fatal(err)
	}
}
