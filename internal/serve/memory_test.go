package serve_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// from is a listener whose connections come from the address that is set, so that one process is
// many clients.
type from struct {
	*pipes
	addr net.IP
}

type comingFrom struct {
	net.Conn
	addr net.Addr
}

func (c comingFrom) RemoteAddr() net.Addr { return c.addr }

func (f *from) Accept() (net.Conn, error) {
	conn, err := f.pipes.Accept()
	if err != nil {
		return nil, err
	}
	return comingFrom{conn, &net.TCPAddr{IP: f.addr, Port: 4711}}, nil
}

// startClients starts a server in a bubble of virtual time, whose clients have the address of the
// listener that it returns.
func startClients(t *testing.T, stream persistence.Stream, change ...func(*serve.Options)) (*daemon, *from) {
	l := &from{newPipes(), net.IPv4(192, 0, 2, 10)}
	d := newDaemon(t, only{stream: stream}, change...)
	d.listen(l, &http.Transport{DialContext: l.dial, DisableCompression: true})
	return d, l
}

// stuck sends a request and reads nothing of the answer.
func (f *from) stuck(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := f.dial(context.Background(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	synctest.Wait()
	return conn
}

// holding waits until readers hold at least that many bytes, and returns how many they hold.
func (d *daemon) holding(bytes float64) float64 {
	d.t.Helper()
	for end := time.Now().Add(patience); d.memory() < bytes; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("readers hold %v bytes, want %v", d.memory(), bytes)
		}
	}
	return d.memory()
}

func (d *daemon) memory() float64 { return testutil.ToFloat64(d.observer.Metrics().Memory) }

// Readers that take nothing hold what the budget has for their address, and no more. The next one is
// told to come again, a reader of another address is served, and so is everything that needs no
// memory. When the readers are gone, nothing is held.
func TestI5_ReadersThatTakeNothingShareOneBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		var texts []string
		for i := range int64(50) {
			texts = append(texts, padded(firstUS+i, 1+i, 100_000))
		}
		store(t, stream, texts...)
		const memory = 2 << 20
		d, l := startClients(t, stream, func(o *serve.Options) { o.Memory = memory })
		for _, path := range []string{"/v1/streams/bluesky/tail?after=0-0&limit=50", "/v1/streams/bluesky/frames", "/streams/bluesky?offset=-1",
			"/v1/streams/bluesky/tail?after=0-0&live=sse"} {
			const readers = 30
			var conns []net.Conn
			for range readers {
				conns = append(conns, l.stuck(t, path))
			}
			if held := d.memory(); held < memory/2 || held > memory {
				t.Errorf("%s: %d readers hold %v bytes of %d", path, readers, held, memory)
			}
			refused := d.get("/v1/streams/bluesky/tail?after=0-0")
			d.want(refused, http.StatusServiceUnavailable, "Overloaded")
			if refused.header.Get("Retry-After") != "2" {
				t.Errorf("the refusal says to try again after %q", refused.header.Get("Retry-After"))
			}
			d.want(d.get("/v1/streams/bluesky/tail?after=0-0&block_ms=5000"), http.StatusServiceUnavailable, "Overloaded") // it has waited
			d.want(d.get("/healthz"), http.StatusOK, "")
			l.addr = net.IPv4(192, 0, 2, 11)
			d.http.CloseIdleConnections()
			if f := d.frames(d.get("/v1/streams/bluesky/tail?after=0-0")); f.Count == 0 {
				t.Error("a reader of another address got no entry")
			}
			d.http.CloseIdleConnections()
			l.addr = net.IPv4(192, 0, 2, 10)
			for _, conn := range conns {
				conn.Close()
			}
			synctest.Wait()
			if held := d.memory(); held != 0 {
				t.Errorf("%s: %v bytes are held when the readers are gone", path, held)
			}
		}
		if n := testutil.ToFloat64(d.observer.Metrics().Refused.WithLabelValues("memory")); n < 8 {
			t.Errorf("%v refusals were counted", n)
		}
	})
}

// A reader that has begun is not refused: it goes on when there is room again, and misses nothing.
func TestI5_AFollowerWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := openStream(t, openStore(t), "bluesky")
		var texts []string
		for i := range int64(20) {
			texts = append(texts, padded(firstUS+i, 1+i, 100_000))
		}
		store(t, stream, texts...)
		d, l := startClients(t, stream, func(o *serve.Options) { o.Memory = 1 << 20 })
		req, err := d.request("GET", "/v1/streams/bluesky/tail?after=0-0&live=sse")
		if err != nil {
			t.Fatal(err)
		}
		resp, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var others []net.Conn
		for range 20 {
			others = append(others, l.stuck(t, "/v1/streams/bluesky/tail?after=0-0"))
		}
		got := make(chan string)
		go func() {
			var all strings.Builder
			for buf := make([]byte, 32<<10); strings.Count(all.String(), "\n\n") <= len(texts); {
				n, err := resp.Body.Read(buf)
				all.Write(buf[:n])
				if err != nil {
					break
				}
			}
			got <- all.String()
		}()
		for _, conn := range others {
			<-time.After(time.Second)
			conn.Close()
		}
		all := <-got
		for i, text := range texts {
			if !strings.Contains(all, "\ndata: "+text+"\n") {
				t.Fatalf("event %d did not come", i)
			}
		}
	})
}

// Ten thousand accounts in a filter take little of a tail's memory, and one client's tails with the
// same accounts take it once. The line of the request that named them is counted too.
func TestI5_AFilterOfManyAccountsIsSmall(t *testing.T) {
	storage := openStore(t)
	openStream(t, storage, "bluesky")
	d := start(t, storage)
	accounts := func(seed uint64) string {
		random := rand.New(rand.NewPCG(seed, 1))
		all := make([]string, 10_000)
		for i := range all {
			id := make([]byte, 24)
			for k := range id {
				id[k] = "abcdefghijklmnopqrstuvwxyz234567"[random.IntN(32)]
			}
			all[i] = "did:plc:" + string(id)
		}
		return url.QueryEscape(strings.Join(all, ","))
	}
	park := func(dids string) {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "GET /v1/streams/bluesky/tail?after=0-0&block_ms=30000&dids="+dids+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	same := accounts(1)
	const tails = 8
	before := memory()
	for range tails {
		park(same)
	}
	d.tailing("bluesky", tails)
	line := float64(len(same) + 500)
	if held := d.holding(160_000 + tails*float64(len(same))); held > 200_000+tails*line {
		t.Errorf("%d tails with the same accounts hold %v bytes", tails, held)
	}
	if each := int64(memory()-before) / tails; each > int64(line)+100_000 && closeRaces > 60 {
		t.Errorf("each of them takes %d bytes", each)
	}
	for i := range uint64(2) {
		park(accounts(2 + i))
	}
	d.tailing("bluesky", tails+2)
	if held := d.holding(3*160_000 + (tails+2)*float64(len(same))); held > 3*200_000+(tails+2)*line {
		t.Errorf("three different filters hold %v bytes", held)
	}
}
