package serve_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/serve"
)

func hashed(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// The read token reads and does nothing else. Either token may be configured as its hash, and the
// hash is not a token.
func TestATokenThatOnlyReads(t *testing.T) {
	for _, as := range []func(string) string{func(token string) string { return token }, hashed} {
		storage := openStore(t)
		openStream(t, storage, "bluesky", `{"n":1}`)
		d := start(t, storage, func(o *serve.Options) { o.Token, o.ReadToken = as("the full token"), as("the read token") })
		for _, c := range []struct {
			method, path string
			reads, full  int
		}{
			{"GET", "/v1/streams", 200, 200}, {"GET", "/v1/streams/bluesky/tail?after=0-0", 200, 200}, {"HEAD", "/v1/feeds", 200, 200}, {"GET", "/metrics", 200, 200},
			{"GET", "/v1/log", 403, 200}, {"GET", "/v1/profiles/heap", 403, 200}, {"POST", "/v1/feeds/bluesky/pause", 403, 202},
			{"GET", "/v1/streams/bluesky/consumers/c/next", 403, 404}, {"DELETE", "/v1/streams/bluesky/consumers/c", 403, 404}, {"POST", "/v1/streams/bluesky/close?reason=x", 403, 200},
		} {
			for token, want := range map[string]int{"the read token": c.reads, "the full token": c.full} {
				if c.method == "POST" && strings.HasSuffix(c.path, "=x") && want == 200 {
					continue // it would end the stream
				}
				r := d.do(c.method, c.path, "Authorization", "Bearer "+token)
				if r.status != want && !(want == 200 && r.status == 409) {
					t.Errorf("%s %s with %s is answered %d, want %d: %.200s", c.method, c.path, token, r.status, want, r.body)
				}
			}
			d.want(d.do("GET", c.path), http.StatusUnauthorized, "Unauthorized")
		}
		d.want(d.do("GET", "/v1/streams", "Authorization", "Bearer "+hashed("the full token")), http.StatusUnauthorized, "Unauthorized")
		if log := d.log.String(); !strings.Contains(log, `"event":"auth.failed"`) || strings.Contains(log, "token\"") {
			t.Errorf("the log says %s", log)
		}
	}
}

// Wrong tokens make their address wait longer and longer; other addresses, and connections that have
// sent a right token, do not wait.
func TestWrongTokensHaveToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := startClients(t, quiet{}, func(o *serve.Options) { o.Token = "the full token" })
		try := func(token string) response {
			return d.do("GET", "/v1/streams/bluesky/tail?after=0-0", "Authorization", "Bearer "+token)
		}
		known := l.client(t, 10)
		const path, right = "/v1/streams/bluesky/tail?after=0-0", "Authorization: Bearer the full token\r\n"
		if status := known.get(path, right); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
		for range 5 {
			d.want(try("a guess"), http.StatusUnauthorized, "Unauthorized")
		}
		wait := time.Second
		for range 8 {
			r := try("the full token")
			d.want(r, http.StatusTooManyRequests, "TooManyAttempts")
			if wait == time.Second && r.header.Get("Retry-After") != "1" {
				t.Errorf("told to wait %q", r.header.Get("Retry-After"))
			}
			if status := known.get(path, right); status != http.StatusOK {
				t.Fatalf("a connection that is known was answered %d", status)
			}
			d.want(d.get(path), http.StatusUnauthorized, "Unauthorized") // no token is no guess
			<-time.After(wait - 10*time.Millisecond)
			d.want(try("a guess"), http.StatusTooManyRequests, "TooManyAttempts")
			<-time.After(10 * time.Millisecond)
			d.want(try("a guess"), http.StatusUnauthorized, "Unauthorized")
			wait = min(2*wait, time.Minute)
		}
		d.http.CloseIdleConnections()
		l.addr = net.IPv4(192, 0, 2, 11)
		d.want(try("the full token"), http.StatusOK, "")
		d.http.CloseIdleConnections()
		l.addr = net.IPv4(192, 0, 2, 10)
		<-time.After(time.Minute)
		d.want(try("the full token"), http.StatusOK, "")
		d.want(try("a guess"), http.StatusUnauthorized, "Unauthorized") // and it begins anew
		d.want(try("the full token"), http.StatusOK, "")
	})
}
