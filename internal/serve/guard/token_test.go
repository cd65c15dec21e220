package guard

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"tempestd/internal/serve/peer"
)

// A browser adds the password that it knows to every request of every page. It is taken from programs
// and from the daemon's own pages alone.
func TestWhereATokenMayStand(t *testing.T) {
	const token = "secret-of-this-test"
	for name, c := range map[string]struct {
		headers map[string]string
		basic   bool
		want    bool
	}{
		"nowhere":                      {},
		"in the header":                {headers: map[string]string{"Authorization": "Bearer " + token}, want: true},
		"another one":                  {headers: map[string]string{"Authorization": "Bearer " + token + "x"}},
		"as a program's password":      {basic: true, want: true},
		"of the daemon's own page":     {basic: true, headers: map[string]string{"Origin": "http://daemon.example"}, want: true},
		"of another site's page":       {basic: true, headers: map[string]string{"Origin": "https://evil.example"}},
		"of a page without an origin":  {basic: true, headers: map[string]string{"Origin": "null"}},
		"in the header, by such pages": {headers: map[string]string{"Authorization": "Bearer " + token, "Origin": "https://evil.example"}, want: true},
		"in a subprotocol":             {headers: map[string]string{"Sec-WebSocket-Protocol": tokenProtocol + base64.RawURLEncoding.EncodeToString([]byte(token))}, want: true},
		"in the query":                 {},
	} {
		r := httptest.NewRequest("GET", "http://daemon.example/v1/streams?token="+token, nil)
		for k, v := range c.headers {
			r.Header.Set(k, v)
		}
		if c.basic {
			r.SetBasicAuth("anybody", token)
		}
		g := New(Options{Token: token, Peers: peer.New(nil), Now: time.Now, Failed: func(netip.Addr, *http.Request) {}})
		if err := g.CheckToken(r, false, false); (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
