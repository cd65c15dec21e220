package serve

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"
)

// Web pages of other origins. A browser lets any page send a GET, or a POST of a form, to any server, and keeps the answer from it unless the server names the
// page's origin (CORS); before it sends anything else it asks, in a preflight; and it lets any page open a websocket and read it. So there are two questions
// to an origin: may its pages read (mayRead), which decides about the headers of every answer and about websockets, and may they change something
// (mayControl), which decides about preflights and, with checkCrossSite, about the requests themselves, which come without a preflight too. Neither has to do with the Host
// that was asked for: checkBrowser looks at that first, for every request.
//
// Credentials that a browser adds by itself are never asked for: there are no cookies, no Access-Control-Allow-Credentials is sent, and of another origin's page the
// token is taken as a bearer's alone (checkToken), which only the page's own script can send.

// origins are those whose pages may use the API, beside the daemon's own.
type origins struct {
	any     bool            // "*"
	full    map[string]bool // as browsers send them
	below   []below
	control bool // those in full may change something, as there is a token to send
}

// below is all origins of a scheme and port below a host: what stands before and after the * of "https://*.example.org:8443".
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

// mayRead says whether pages of the origin may read what is served.
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

// mayControl says whether pages of the origin may change something, with the token.
func (o *origins) mayControl(origin string) bool { return o.control && o.full[origin] }

// sharedMethods are what pages of other origins may ask for, as far as the route has it.
var sharedMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}

// acceptedHeaders are what such a page may send: all that is looked at here, and what clients for event streams add.
var acceptedHeaders = []string{"Accept", "Authorization", "Cache-Control", "Content-Type", "If-None-Match", "Last-Event-ID"}

// exposedHeaders are what it may read, beside what every page may: all that is sent here and tells a client something.
var exposedHeaders = []string{"Allow", "Date", "ETag", "Retry-After", "Stream-Closed", "Stream-Cursor", "Stream-Next-Offset", "Stream-Up-To-Date", "WWW-Authenticate",
	"X-Zstd-Dictionary-Id"}

// preflightLife is for how many seconds a browser may remember the answer to a preflight: as long as Chromium does at the most.
const preflightLife = 2 * 60 * 60

// newCORS writes the headers. Where it is asked, the request has passed the guards or been refused by them.
func newCORS(o *origins) *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			if isPreflight(r) {
				return o.mayAsk(origin, r.Header.Get("Access-Control-Request-Method")), nil
			}
			return o.mayRead(origin), nil
		},
		AllowedMethods:      sharedMethods,
		AllowedHeaders:      acceptedHeaders,
		ExposedHeaders:      exposedHeaders,
		MaxAge:              preflightLife,
		AllowPrivateNetwork: true, // a page of the internet that is allowed may well be one for this machine
	})
}

// mayAsk answers a preflight: of a method that changes nothing, or one that does. A GET that leases a batch asks for itself (checkCrossSite).
func (o *origins) mayAsk(origin, method string) bool {
	if method == http.MethodGet || method == http.MethodHead {
		return o.mayRead(origin)
	}
	return o.mayControl(origin)
}

// isPreflight says whether a browser asks if its page may make the request that it describes.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// checkPreflight refuses a preflight in words, which browsers show in their tools; without them they would only say that some header is missing.
func (s *Server) checkPreflight(r *http.Request) error {
	origin, method := r.Header.Get("Origin"), r.Header.Get("Access-Control-Request-Method")
	switch {
	case s.origins.mayAsk(origin, method):
		return nil
	case s.origins.mayAsk(origin, http.MethodGet):
		return errMayNotControl(origin)
	}
	return errMayNotRead(r, origin)
}

// checkOrigin refuses a websocket that a page opens whose origin may not read. Programs that are no browser send no Origin.
func (s *Server) checkOrigin(r *http.Request) error {
	if !foreign(r) {
		return nil
	}
	if origin := r.Header.Get("Origin"); !s.origins.mayRead(origin) {
		return errMayNotRead(r, origin)
	}
	return nil
}

// foreign says whether a browser sent the request for a page of another origin, and said so.
func foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin != "" && (err != nil || !strings.EqualFold(u.Host, r.Host))
}

func errMayNotRead(r *http.Request, origin string) error {
	return &apiError{status: http.StatusForbidden, name: nameForbidden,
		message: "origin: got " + quote(origin) + "; accepted: none, this daemon's own, " + quote(r.Host) + ", and those of http.allowed_origins"}
}

func errMayNotControl(origin string) error {
	return &apiError{status: http.StatusForbidden, name: nameForbidden, message: "cross-site requests of browsers may change something only where " +
		"http.token is set and http.allowed_origins has their origin in full; got the origin " + quote(origin)}
}
