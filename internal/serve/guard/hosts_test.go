package guard

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
)

// What counts is the listener, not the address that a connection came to.
func TestALoopbackListenerAnswersUnderItsNamesAlone(t *testing.T) {
	loopback, every := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4zero}
	g := New(Options{AllowedHosts: []string{"feeds.example.org", "*.example.net", "192.0.2.7"}})
	for _, c := range []struct {
		on   net.Addr
		host string
		ok   bool
	}{
		{loopback, "localhost:7077", true}, {loopback, "LocalHost", true}, {loopback, "127.0.0.9:1", true}, {loopback, "[::1]:7077", true}, {loopback, "::1", true},
		{loopback, "feeds.example.org", true}, {loopback, "FEEDS.example.org:443", true}, {loopback, "feeds.example.org.", true}, {loopback, "192.0.2.7:80", true},
		{loopback, "a.b.example.net", true}, {loopback, "example.net", false}, {loopback, ".example.net", false}, {loopback, "evilexample.net", false},
		{loopback, "example.org", false}, {loopback, "evil.feeds.example.org", false}, {loopback, "feeds.example.org.evil.example", false}, {loopback, "", false},
		{every, "anything.example", true}, {&net.UnixAddr{Name: "/run/x"}, "anything", true},
	} {
		ctx := context.WithValue(On(context.Background(), c.on), http.LocalAddrContextKey, loopback)
		r := (&http.Request{Method: "GET", Host: c.host, Header: http.Header{}}).WithContext(ctx)
		err := g.CheckBrowser(r)
		if (err == nil) != c.ok {
			t.Errorf("%s on %v: %v", c.host, c.on, err)
		}
		if err != nil && !strings.Contains(err.Error(), "http.allowed_hosts has: feeds.example.org, *.example.net, 192.0.2.7") {
			t.Errorf("the refusal is %q", err)
		}
	}
}
