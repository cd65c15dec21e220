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

// checkBrowser refuses what a web page can make its visitor's browser send to a daemon on the same machine: requests under a name
// that the page's owner points at 127.0.0.1 (DNS rebinding), and cross-site POSTs.
func (s *Server) checkBrowser(r *http.Request) error {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && local.IP.IsLoopback() && !isLoopbackHost(r.Host) {
		return &apiError{status: http.StatusForbidden, name: nameForbidden,
			message: "host: got " + quote(r.Host) + "; accepted on a loopback listener: localhost or a loopback address"}
	}
	return s.checkCrossSite(r, r.Method)
}

// checkCrossSite refuses a request of another site's page that changes something, as the method says, unless the page's origin may.
func (s *Server) checkCrossSite(r *http.Request, method string) error {
	asked := *r
	asked.Method = method
	origin := r.Header.Get("Origin")
	if s.crossOrigin.Check(&asked) != nil && !s.origins.mayControl(origin) {
		return errMayNotControl(origin)
	}
	return nil
}

// isLoopbackHost says whether a Host header names this machine by a word that no DNS server answers for.
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

// checkToken refuses a request without the daemon's bearer token, when it has one. The comparison takes the same time wherever, and by how much, a guess is wrong.
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

// tokenOf is the token that a request has, "" for none. Websocket clients that can send no header of their own have two more places for it:
//
// The password of basic authentication, of any user, which those that are no browsers take in their URL. Not so of another origin's page: a browser that has learned
// the password adds it to whatever it is made to ask for.
//
// A subprotocol, tokenProtocol and the token as base64url, which is all that a page's script has a say in.
//
// In a query, where logs would keep it, the token is not looked for.
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
	// tokenProtocol begins the subprotocol that is the token.
	tokenProtocol = "bearer."
	// plainProtocol is there to be agreed to: a browser that has offered subprotocols wants one of them, and the token is not to be sent back.
	plainProtocol = "tempestd"
)
