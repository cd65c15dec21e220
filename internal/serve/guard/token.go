package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"

	"tempestd/internal/serve/api"
	"tempestd/internal/subscribe"
)

// CheckToken refuses a request without the daemon's bearer token, if the daemon has one. The
// comparison takes constant time: its duration does not show where or how much a guess is wrong.
func (g *Guard) CheckToken(r *http.Request) error {
	if !g.needsToken {
		return nil
	}
	given := sha256.Sum256([]byte(tokenOf(r)))
	if subtle.ConstantTimeCompare(given[:], g.tokenSum[:]) == 1 {
		return nil
	}
	return &api.Error{Status: http.StatusUnauthorized, Name: api.NameUnauthorized, Message: `this daemon wants "Authorization: Bearer <token>"`,
		Header: map[string]string{"WWW-Authenticate": "Bearer"}}
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
	// PlainProtocol is the subprotocol that the server selects: a browser that has offered
	// subprotocols requires that one is selected, and the token must not be sent back.
	PlainProtocol = "tempestd"
)
