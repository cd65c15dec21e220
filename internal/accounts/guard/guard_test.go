package guard

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddressesThatAreDialled(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "2606:4700::1111": true, "2a01:4f8::1": true, "172.32.0.1": true, "100.128.0.1": true, "198.20.0.1": true,
		"127.0.0.1": false, "127.255.255.254": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "fc00::1": false, "fd12:3456::1": false,
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false,
		"224.0.0.1": false, "239.255.255.255": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"100.64.0.1": false, "100.127.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.1": false, "203.0.113.1": false, "192.88.99.1": false,
		"::ffff:127.0.0.1": false, "::ffff:1.1.1.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::101:101": false, "64:ff9b:1::1": false,
		"2002:7f00:1::": false, "2001:0:4136:e378:8000:63bf:3fff:fdd2": false, "2001:db8::1": false, "3fff::1": false, "100::1": false, "5f00::1": false,
	} {
		err := (Policy{}).address(netip.AddrPortFrom(netip.MustParseAddr(address), 443).String())
		if want != (err == nil) || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestURLsThatAreCalled(t *testing.T) {
	for text, want := range map[string]bool{
		"https://pds.example/xrpc": true, "https://pds.example:443/": true, "https://[2606:4700::1111]/": true,
		"http://pds.example/": false, "https://pds.example:8443/": false, "https://pds.example:22/": false, "https://user@pds.example/": false,
		"ftp://pds.example/": false, "file:///etc/passwd": false, "https:///x": false, "gopher://pds.example:70/": false, "https:opaque": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := (Policy{}).CheckURL(u); want != (err == nil) || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A name that resolves to this machine leads nowhere, and neither does a redirect to it.
func TestNothingLocalIsReached(t *testing.T) {
	var inside atomic.Int32
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	defer secret.Close()
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secret.URL, http.StatusFound)
	}))
	defer outside.Close()
	only := netip.MustParseAddrPort(outside.Listener.Addr().String())
	_, port, _ := net.SplitHostPort(secret.Listener.Addr().String())

	for name, row := range map[string]struct {
		policy Policy
		url    string
	}{
		"a local address":           {Policy{}, secret.URL},
		"https to a local address":  {Policy{}, "https://127.0.0.1/"},
		"a name of this machine":    {Policy{}, "https://localhost/"},
		"a redirect":                {Policy{Local: func(a netip.AddrPort) bool { return a == only }}, outside.URL},
		"another port of a network": {Policy{Local: func(a netip.AddrPort) bool { return a == only }}, "http://127.0.0.1:" + port},
	} {
		client := New(row.policy)
		resp, err := client.Get(row.url)
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: %s", name, resp.Status)
		} else if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
		client.CloseIdleConnections()
	}
	if n := inside.Load(); n != 0 {
		t.Errorf("%d requests went inside", n)
	}
}

func TestFewRedirects(t *testing.T) {
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("/%d", n.Add(1)), http.StatusFound)
	}))
	defer server.Close()
	client := New(Policy{Local: func(netip.AddrPort) bool { return true }})
	defer client.CloseIdleConnections()
	if resp, err := client.Get(server.URL); !errors.Is(err, ErrForbidden) {
		_ = resp.Body.Close()
		t.Errorf("%v after %d redirects", err, n.Load())
	}
	if n.Load() != maxRedirects+1 {
		t.Errorf("%d requests", n.Load())
	}
}
