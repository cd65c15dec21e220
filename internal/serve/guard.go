package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"tempestd/internal/subscribe"
)

// checkBrowser refuses requests that a web page can make its visitor's browser send to a daemon on
// the same machine: requests with a host name that the page's owner points at 127.0.0.1 (DNS
// rebinding), and cross-site POSTs.
func (s *Server) checkBrowser(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() && !isLoopbackHost(r.Host) {
		return &apiError{status: http.StatusForbidden, name: nameForbidden,
			message: "host: got " + quote(r.Host) + "; accepted on a loopback listener: localhost or a loopback address"}
	}
	return s.checkCrossSite(r, r.Method)
}

// checkCrossSite refuses a request from another site's page that changes something, judged by
// method, unless the page's origin may do so.
func (s *Server) checkCrossSite(r *http.Request, method string) error {
	asked := *r
	asked.Method = method
	origin := r.Header.Get("Origin")
	if s.crossOrigin.Check(&asked) != nil && !s.origins.mayControl(origin) {
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

// checkToken refuses a request without the daemon's bearer token, if the daemon has one. The
// comparison takes constant time: its duration does not show where or how much a guess is wrong.
func (s *Server) checkToken(r *http.Request) error {
	if !s.needsToken {
		return nil
	}
	given := sha256.Sum256([]byte(tokenOf(r)))
	if subtle.ConstantTimeCompare(given[:], s.tokenSum[:]) == 1 {
		return nil
	}
	return &apiError{status: http.StatusUnauthorized, name: nameUnauthorized, message: `this daemon wants "Authorization: Bearer <token>"`,
		header: map[string]string{"WWW-Authenticate": "Bearer"}}
}

// tokenOf returns the token of a request, "" if there is none. There are two other places for it,
// for websocket clients that cannot send an Authorization header of their own:
//
// The password of basic authentication, with any user name: programs that are not browsers take it
// from their URL. It is not accepted from a page of another origin, because a browser that knows
// the password adds it to every request that a page causes.
//
// A subprotocol, made of tokenProtocol and the token in base64url: a page's script can set nothing
// else.
//
// A token in the query is not accepted, because logs would keep it.
func tokenOf(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return token
	}
	if _, password, ok := r.BasicAuth(); ok && !foreign(r) {
		return password
	}
	for _, protocol := range subscribe.Subprotocols(r) {
		if encoded, ok := strings.CutPrefix(protocol, tokenProtocol); ok {
			token, _ := base64.RawURLEncoding.DecodeString(encoded) // "" is not a token
			return string(token)
		}
	}
	return ""
}

const (
	// tokenProtocol is the prefix of the subprotocol that carries the token.
	tokenProtocol = "bearer."
	// plainProtocol is the subprotocol that the server selects: a browser that has offered
	// subprotocols requires that one is selected, and the token must not be sent back.
	plainProtocol = "tempestd"
)
