package guard

import (
	"crypto/sha256"
	"net/http"

	"github.com/rs/cors"

	"tempestd/internal/serve/api"
)

// Guard decides who may ask. It is immutable and safe for concurrent use.
type Guard struct {
	needsToken  bool
	tokenSum    [sha256.Size]byte
	hosts       hosts
	crossOrigin *http.CrossOriginProtection
	origins     origins
	cors        *cors.Cors // nil when no other origin is allowed
}

// Options configure a Guard. The zero value of each allows the least.
type Options struct {
	Token string // the bearer token, "" for none
	// AllowedOrigins are the web origins of other servers whose pages may use the API, and
	// AllowedHosts the names under which a loopback listener answers too, in the form of config.HTTP.
	AllowedOrigins, AllowedHosts []string
}

// New returns the guard of a server.
func New(o Options) *Guard {
	g := &Guard{needsToken: o.Token != "", tokenSum: sha256.Sum256([]byte(o.Token)), crossOrigin: http.NewCrossOriginProtection(), hosts: hosts(o.AllowedHosts)}
	g.origins = newOrigins(o.AllowedOrigins, g.needsToken)
	if len(o.AllowedOrigins) > 0 {
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
	if onLoopback(r) && !g.hosts.has(r.Host) {
		return api.Forbidden("host: got " + api.Quote(r.Host) + "; accepted on a loopback listener: localhost, a loopback address, and what http.allowed_hosts has: " + g.hosts.String())
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
