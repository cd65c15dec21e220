package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/serve"
	"tempestd/internal/serve/conns"
)

// client is a connection on which requests are made one by one.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (f *from) client(t testing.TB, last byte) *client {
	t.Helper()
	f.addr = net.IPv4(192, 0, 2, last)
	conn, err := f.dial(context.Background(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	synctest.Wait() // it was accepted, with this address
	return &client{t, conn, bufio.NewReader(conn)}
}

// get makes a request and returns its status, 0 if the connection was closed.
func (c *client) get(path string, header ...string) int {
	c.t.Helper()
	go fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, strings.Join(header, ""))
	return c.answer()
}

func (c *client) answer() int {
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	synctest.Wait() // the server has seen that the connection is idle
	return resp.StatusCode
}

// Connections that do nothing make room for new ones, the oldest first; those that are used are
// kept. Without an idle one, a new connection is refused.
func TestI5_IdleConnectionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := startClients(t, quiet{}, func(o *serve.Options) { o.MaxConnections, o.MaxClientConnections = 4, 3 })
		a, b, c := l.client(t, 1), l.client(t, 1), l.client(t, 1)
		for _, conn := range []*client{b, a, c} {
			if status := conn.get("/healthz"); status != http.StatusOK {
				t.Fatalf("answered %d", status)
			}
		}
		fourth := l.client(t, 1) // in place of b
		if fourth.get("/healthz") != http.StatusOK || b.get("/healthz") != 0 {
			t.Error("the connection that was idle longest did not make room for one of the same address")
		}
		other := l.client(t, 2)
		another := l.client(t, 3) // all four are taken: in place of a
		if other.get("/healthz") != http.StatusOK || another.get("/healthz") != http.StatusOK || a.get("/healthz") != 0 {
			t.Error("the connection that was idle longest did not make room for one of another address")
		}
		const waits = "GET /v1/streams/bluesky/tail?after=0-0&block_ms=30000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
		for _, conn := range []*client{c, fourth, other, another} {
			go io.WriteString(conn, waits)
		}
		synctest.Wait()
		if status := l.client(t, 4).answer(); status != http.StatusServiceUnavailable {
			t.Errorf("a connection too many was answered %d", status)
		}
		for _, conn := range []*client{c, fourth, other, another} {
			if status := conn.answer(); status != http.StatusOK {
				t.Errorf("a tail that waited was answered %d", status)
			}
		}
		if n := testutil.ToFloat64(d.observer.Metrics().Refused.WithLabelValues("connections")); n != 1 || !strings.Contains(d.log.String(), `"event":"http.full"`) {
			t.Errorf("%v refusals were counted; the log says %s", n, d.log)
		}
	})
}

// One address has its own bound, however many connections are free, and a proxy's has not.
func TestI5_OneAddressHasItsPartOfTheConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := startClients(t, quiet{}, func(o *serve.Options) {
			o.MaxConnections, o.MaxClientConnections = 10, 2
			o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}
		})
		for range 2 {
			go io.WriteString(l.client(t, 1), "GET /v1/streams/bluesky/tail?after=0-0&block_ms=30000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			synctest.Wait()
		}
		if status := l.client(t, 1).answer(); status != http.StatusServiceUnavailable {
			t.Errorf("a third connection of one address was answered %d", status)
		}
		for range 5 {
			if status := l.client(t, 9).get("/healthz"); status != http.StatusOK {
				t.Errorf("a connection of a proxy was answered %d", status)
			}
		}
		if n := testutil.ToFloat64(d.observer.Metrics().Refused.WithLabelValues("client_connections")); n != 1 {
			t.Errorf("%v refusals were counted", n)
		}
	})
}

// A connection that has not sent a request, or none that was allowed, is closed after seconds. One
// that was allowed a request is kept for minutes.
func TestI5_AConnectionThatNobodyKnowsHasSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startClients(t, quiet{}, func(o *serve.Options) { o.Token = "secret" })
		const bearer = "Authorization: Bearer secret\r\n"
		for name, c := range map[string]struct {
			path, header string
			atLeast      time.Duration
			atMost       time.Duration
		}{
			"nothing":               {"", "", 0, 5 * time.Second},
			"what needs no token":   {"/healthz", "", time.Second, 5 * time.Second},
			"a wrong token":         {"/v1/streams/bluesky/tail?after=0-0", "Authorization: Bearer wrong\r\n", 0, 5 * time.Second},
			"the token":             {"/v1/streams/bluesky/tail?after=0-0", bearer, 119 * time.Second, 2 * time.Minute},
			"the token for a 404":   {"/nowhere", bearer, 119 * time.Second, 2 * time.Minute},
			"no token, for nothing": {"/nowhere", "", 0, 5 * time.Second},
		} {
			conn := l.client(t, 1)
			if c.path != "" {
				conn.get(c.path, c.header)
			}
			began := time.Now()
			_, _ = io.Copy(io.Discard, conn.r)
			if took := time.Since(began); took < c.atLeast || took > c.atMost {
				t.Errorf("a connection that sent %s was closed after %v, want %v to %v", name, took, c.atLeast, c.atMost)
			}
		}
	})
}

// Heads of requests that are longer than most are read a few at a time, and fewer of one address. The
// others wait, with little in memory; short ones do not. What waits for too long is closed.
func TestI5_LongHeadsTakeTurns(t *testing.T) {
	const each, all = 16, 32
	long := "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 100_000)
	// send sends a head without its end, and reports how much of it the server has taken when nothing
	// moves any more.
	send := func(c *client) *atomic.Int64 {
		taken := new(atomic.Int64)
		go func() {
			for part := range slices.Chunk([]byte(long), 1000) {
				n, err := c.Write(part)
				if taken.Add(int64(n)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		return taken
	}
	synctest.Test(t, func(t *testing.T) {
		_, l := startClients(t, quiet{})
		var read []*client
		for address := range byte(all / each) {
			for range each {
				conn := l.client(t, 1+address)
				if n := send(conn).Load(); n != int64(len(long)) {
					t.Fatalf("%d of %d bytes of a long head were read", n, len(long))
				}
				read = append(read, conn)
			}
		}
		waits := l.client(t, 7)
		taken := send(waits)
		if n := taken.Load(); n > 3*conns.LongHead {
			t.Errorf("%d bytes were read of a head that waits for its turn", n)
		}
		if status := l.client(t, 7).get("/healthz"); status != http.StatusOK {
			t.Errorf("a short head was answered %d", status)
		}
		time.Sleep(time.Second)
		read[0].Close()
		synctest.Wait()
		if n := taken.Load(); n != int64(len(long)) {
			t.Errorf("%d of %d bytes were read when it was its turn", n, len(long))
		}
		go io.WriteString(waits, "\r\n\r\n")
		resp, err := http.ReadResponse(waits.r, nil)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Close {
			t.Errorf("it was answered %v, %v", resp, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, l := startClients(t, quiet{})
		for range each {
			send(l.client(t, 1))
		}
		if n := send(l.client(t, 1)).Load(); n > 3*conns.LongHead {
			t.Errorf("%d bytes were read of a head beyond those of its address", n)
		}
		if n := send(l.client(t, 2)).Load(); n != int64(len(long)) {
			t.Errorf("%d bytes were read of another address's", n)
		}
		began := time.Now()
		time.Sleep(4 * time.Second)
		waits := l.client(t, 1)
		send(waits)
		_, _ = io.Copy(io.Discard, waits.r)
		// The ones before it had 5 s to send the rest.
		if took := time.Since(began); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("a head that came when others stalled was given up after %v", took)
		}
	})
}

// The connection of a long query is not kept: its line would stay in memory.
func TestI5_TheConnectionOfALongQueryIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startClients(t, quiet{})
		conn := l.client(t, 1)
		if conn.get("/healthz?a="+strings.Repeat("x", 1000)) == 0 || conn.get("/healthz?a="+strings.Repeat("x", conns.LongHead)) == 0 {
			t.Fatal("no answer")
		}
		if status := conn.get("/healthz"); status != 0 {
			t.Errorf("the next request was answered %d", status)
		}
	})
}
