package guard

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/rs/cors"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/peer"
)

// Guard decides who may ask. It is safe for concurrent use.
type Guard struct {
	full, reads sums
	attempts    attempts
	peers       *peer.Peers
	now         func() time.Time
	failed      func(client netip.Addr, r *http.Request)
	hosts       hosts
	crossOrigin *http.CrossOriginProtection
	origins     origins
	cors        *cors.Cors // nil when no other origin is allowed
}

// Options configure a Guard. The zero value of each allows the least.
type Options struct {
	Token     string // the bearer token for everything, "" for none
	ReadToken string // the one that only reads, "" for none; either may be a hash (HashPrefix)
	Peers     *peer.Peers
	Now       func() time.Time
	// Failed is told of each wrong token.
	Failed func(client netip.Addr, r *http.Request)
	// AllowedOrigins are the web origins of other servers whose pages may use the API, and
	// AllowedHosts the names under which a loopback listener answers too, in the form of config.HTTP.
	AllowedOrigins, AllowedHosts []string
}

// New returns the guard of a server.
func New(o Options) *Guard {
	g := &Guard{full: sumOf(o.Token), reads: sumOf(o.ReadToken), crossOrigin: http.NewCrossOriginProtection(), hosts: hosts(o.AllowedHosts),
		peers: o.Peers, now: o.Now, failed: o.Failed}
	g.origins = newOrigins(o.AllowedOrigins, g.NeedsToken())
	if len(o.AllowedOrigins) > 0 {
		g.cors = newCORS(&g.origins)
	}
	return g
}

// NeedsToken reports whether the routes that are not public need a token.
func (g *Guard) NeedsToken() bool { return g.full.some || g.reads.some }

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
