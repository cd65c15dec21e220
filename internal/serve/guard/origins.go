package guard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"

	"tempestd/internal/atproto"
	"tempestd/internal/serve/api"
)

// Web pages of other origins.
//
// A browser lets every page send a GET, or a POST of a form, to any server. It hides the answer
// from the page unless the server names the page's origin (CORS). Before other requests it asks the
// server with a preflight. It also lets every page open a websocket and read from it. So each
// origin has two permissions. mayRead decides about the CORS headers of every answer and about
// websockets. mayControl decides about preflights and, with CheckCrossSite, about the requests
// themselves, which can also come without a preflight. Neither depends on the requested Host:
// CheckBrowser checks that first, for every request.
//
// The server never asks for credentials that a browser adds by itself. There are no cookies, and
// Access-Control-Allow-Credentials is never sent. From a page of another origin, basic
// authentication is not accepted (tokenOf): only the page's own script can send its token.

// origins are the web origins whose pages may use the API, besides the daemon's own.
type origins struct {
	any     bool            // "*" is among them
	full    map[string]bool // in the form that browsers send
	below   []below
	control bool // origins in full may change something, because there is a token
}

// below matches all origins of one scheme and port below a host. It holds the text before and after
// the * of "https://*.example.org:8443".
type below struct{ before, after string }

func newOrigins(allowed []string, token bool) origins {
	o := origins{full: make(map[string]bool), control: token}
	for _, origin := range allowed {
		if before, after, some := strings.Cut(origin, "*"); !some {
			o.full[origin] = true
		} else if before == "" {
			o.any = true
		} else {
			o.below = append(o.below, below{before, after})
		}
	}
	return o
}

// mayRead reports whether pages of the origin may read responses.
func (o *origins) mayRead(origin string) bool {
	if o.any || o.full[origin] {
		return true
	}
	for _, b := range o.below {
		if label, ok := strings.CutPrefix(origin, b.before); ok {
			if label, ok = strings.CutSuffix(label, b.after); ok && label != "" && !strings.ContainsAny(label, ":/?#@") {
				return true
			}
		}
	}
	return false
}

// mayControl reports whether pages of the origin may change something, with the token.
func (o *origins) mayControl(origin string) bool { return o.control && o.full[origin] }

// sharedMethods are the methods that pages of other origins may use, where the route has them.
var sharedMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}

// acceptedHeaders are the headers that such a page may send: all that the server reads, and those
// that event stream clients add.
var acceptedHeaders = []string{"Accept", "Authorization", "Cache-Control", "Content-Type", "If-None-Match", "Last-Event-ID"}

// exposedHeaders are the response headers that such a page may read, in addition to those that
// every page may read: all that the server sends with information for a client.
var exposedHeaders = []string{"Allow", "Date", "ETag", "Retry-After", "Stream-Closed", "Stream-Cursor", "Stream-Next-Offset", "Stream-Up-To-Date", "WWW-Authenticate",
	atproto.DictionaryHeader}

// preflightLife is how long a browser may remember the answer to a preflight, in seconds. Chromium
// does not keep it for longer.
const preflightLife = 2 * 60 * 60

// newCORS returns the code that writes the CORS headers.
func newCORS(o *origins) *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			if IsPreflight(r) {
				return o.mayAsk(origin, r.Header.Get("Access-Control-Request-Method")), nil
			}
			return o.mayRead(origin), nil
		},
		AllowedMethods:      sharedMethods,
		AllowedHeaders:      acceptedHeaders,
		ExposedHeaders:      exposedHeaders,
		MaxAge:              preflightLife,
		AllowPrivateNetwork: true, // an allowed page of the internet may be meant for this machine
	})
}

// mayAsk decides about a preflight, by whether the method changes something. It answers a GET that
// leases a batch as a read; CheckCrossSite checks that request itself.
func (o *origins) mayAsk(origin, method string) bool {
	if method == http.MethodGet || method == http.MethodHead {
		return o.mayRead(origin)
	}
	return o.mayControl(origin)
}

// IsPreflight reports whether the request is a browser's question whether its page may make a
// request.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// CheckPreflight refuses a preflight with a message that browsers show in their developer tools.
// Without it they only say that a header is missing.
func (g *Guard) CheckPreflight(r *http.Request) error {
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	switch {
	case g.origins.mayAsk(origin, method):
		return nil
	case g.origins.mayAsk(origin, http.MethodGet):
		return errMayNotControl(origin)
	}
	return errMayNotRead(r, origin)
}

// CheckOrigin refuses a websocket from a page whose origin may not read. Programs that are not
// browsers send no Origin.
func (g *Guard) CheckOrigin(r *http.Request) error {
	if !foreign(r) {
		return nil
	}
	if origin := r.Header.Get("Origin"); !g.origins.mayRead(origin) {
		return errMayNotRead(r, origin)
	}
	return nil
}

// foreign reports whether a browser sent the request for a page of another origin, by its Origin
// header.
func foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin != "" && (err != nil || !strings.EqualFold(u.Host, r.Host))
}

// CORS writes the CORS headers of an answer, where pages of other origins are allowed. It writes
// the whole answer to a preflight.
func (g *Guard) CORS(w http.ResponseWriter, r *http.Request) {
	if g.cors != nil {
		g.cors.HandlerFunc(w, r)
	}
}

func errMayNotRead(r *http.Request, origin string) error {
	return api.Forbidden("origin: got " + api.Quote(origin) + "; accepted: none, this daemon's own, " + api.Quote(r.Host) + ", and those of http.allowed_origins")
}

func errMayNotControl(origin string) error {
	return api.Forbidden("cross-site requests of browsers may change something only where " +
		"http.token is set and http.allowed_origins has their origin in full; got the origin " + api.Quote(origin))
}
