package peer_test

import (
	"net/http"
	"net/netip"
	"testing"

	"tempestd/internal/serve/peer"
)

func TestClientOfARequest(t *testing.T) {
	peers := peer.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")})
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.7:5000", nil, "192.0.2.7"},
		{"192.0.2.7:5000", []string{"203.0.113.1"}, "192.0.2.7"}, // no trusted proxy: its own word
		{"[::ffff:192.0.2.7]:5000", nil, "192.0.2.7"},
		{"[2001:db8:2:3:4:5:6:7]:5000", nil, "2001:db8:2:3::"},
		{"[fe80::1%eth0]:5000", nil, "fe80::"},
		{"127.0.0.1:5000", nil, "127.0.0.1"},
		{"127.0.0.1:5000", []string{"203.0.113.1"}, "203.0.113.1"},
		{"127.0.0.1:5000", []string{"203.0.113.1:4711"}, "203.0.113.1"},
		{"127.0.0.1:5000", []string{"2001:db8:2:3::9"}, "2001:db8:2:3::"},
		{"127.0.0.1:5000", []string{"[2001:db8:2:3::9]:443"}, "2001:db8:2:3::"},
		{"127.0.0.1:5000", []string{"198.51.100.9, 203.0.113.1"}, "203.0.113.1"}, // the first is the client's own word
		{"127.0.0.1:5000", []string{"203.0.113.1, 10.1.2.3"}, "203.0.113.1"},
		{"127.0.0.1:5000", []string{"203.0.113.1", "10.1.2.3,10.4.5.6"}, "203.0.113.1"},
		{"127.0.0.1:5000", []string{"203.0.113.1, unknown, 10.1.2.3"}, "10.1.2.3"},
		{"127.0.0.1:5000", []string{"10.9.9.9"}, "10.9.9.9"},
		{"[2001:db8:1::5]:1", []string{"203.0.113.1"}, "203.0.113.1"},
		{"@", []string{"203.0.113.1"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := peers.Of(r).String(); got != c.want {
			t.Errorf("%s forwarding for %q is %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"203.0.113.1, 10.1.2.3", "[::1]:5, ,", "%", ",,,", "10.0.0.1"} {
		f.Add(seed)
	}
	peers := peer.New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	f.Fuzz(func(t *testing.T, header string) {
		peers.Of(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {header}}})
	})
}
