package guard

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/rs/cors"

	"tempestd/internal/serve/api"
)

// Guard decides who may ask. It is immutable and safe for concurrent use.
type Guard struct {
	needsToken  bool
	tokenSum    [sha256.Size]byte
	crossOrigin *http.CrossOriginProtection
	origins     origins
	cors        *cors.Cors // nil when no other origin is allowed
}

// New returns the guard of a server with the bearer token, "" for none. allowed are the web origins
// of other servers whose pages may use the API, in the form of config.HTTP.
func New(token string, allowed []string) *Guard {
	g := &Guard{needsToken: token != "", tokenSum: sha256.Sum256([]byte(token)), crossOrigin: http.NewCrossOriginProtection()}
	g.origins = newOrigins(allowed, g.needsToken)
	if len(allowed) > 0 {
		g.cors = newCORS(&g.origins)
	}
	return g
}

// NeedsToken reports whether the routes that are not public need a token.
func (g *Guard) NeedsToken() bool { return g.needsToken }

// CheckBrowser refuses requests that a web page can make its visitor's browser send to a daemon on
// the same machine: requests with a host name that the page's owner points at 127.0.0.1 (DNS
// rebinding), and cross-site POSTs.
func (g *Guard) CheckBrowser(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() && !isLoopbackHost(r.Host) {
		return api.Forbidden("host: got " + api.Quote(r.Host) + "; accepted on a loopback listener: localhost or a loopback address")
	}
	return g.CheckCrossSite(r, r.Method)
}

// CheckCrossSite refuses a request from another site's page that changes something, judged by
// method, unless the page's origin may do so.
func (g *Guard) CheckCrossSite(r *http.Request, method string) error {
	asked := *r
	asked.Method = method
	origin := r.Header.Get("Origin")
	if g.crossOrigin.Check(&asked) != nil && !g.origins.mayControl(origin) {
		return errMayNotControl(origin)
	}
	return nil
}

// isLoopbackHost reports whether a Host header names this machine by "localhost" or a loopback
// address. No DNS server can redirect these.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
