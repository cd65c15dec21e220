package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"tempestd/internal/serve/api"
	"tempestd/internal/subscribe"
)

// HashPrefix begins a token that a configuration has as its hash: the SHA-256 of the token, in hex.
const HashPrefix = "sha256:"

// sums are the hashes of a token that is accepted. The zero value accepts none.
type sums struct {
	some bool
	sum  [sha256.Size]byte
}

// sumOf returns the hash of a token, which may be given as a hash.
func sumOf(token string) sums {
	if text, ok := strings.CutPrefix(token, HashPrefix); ok {
		if raw, err := hex.DecodeString(text); err == nil && len(raw) == sha256.Size {
			return sums{true, [sha256.Size]byte(raw)}
		}
	}
	return sums{token != "", sha256.Sum256([]byte(token))}
}

// is reports whether the token has that hash. It takes constant time: its duration does not show
// where or how much a guess is wrong.
func (s *sums) is(given [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(given[:], s.sum[:]) == 1 && s.some
}

// CheckToken refuses a request without a bearer token of the daemon, if it has any. full says that
// the request does what a reader may not do. A client that sends wrong tokens has to wait longer and
// longer; known says that its connection has sent a right one before, and need not wait for what
// others do at the same address. Requests of the control socket need no token: its file's mode says
// who may connect.
func (g *Guard) CheckToken(r *http.Request, full, known bool) error {
	if !g.NeedsToken() || onSocket(r) {
		return nil
	}
	token := tokenOf(r)
	if token == "" {
		return errUnauthorized()
	}
	client, now := g.peers.Of(r), g.now()
	if wait := g.attempts.wait(client, now); wait > 0 && !known {
		return errTooManyAttempts(wait)
	}
	given := sha256.Sum256([]byte(token))
	isFull, reads := g.full.is(given), g.reads.is(given)
	switch {
	case !isFull && !reads:
		g.attempts.failed(client, now)
		g.failed(client, r)
		return errUnauthorized()
	case full && !isFull:
		return api.Forbidden("this token only reads; what changes something, a consumer's batches included, and the daemon's log and profiles need http.token, or the control socket")
	}
	if !known { // or one client would clear the way for another at its address that guesses
		g.attempts.passed(client)
	}
	return nil
}

func errUnauthorized() error {
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
