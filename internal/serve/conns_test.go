package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/serve"
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
