package atsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// grant is what a token is good for.
type grant struct {
	did     string
	refresh bool
	used    bool
}

// pair makes a pair of tokens. The caller holds mu.
func (s *Sim) pair(w http.ResponseWriter, a *account) {
	s.tokens++
	access, refresh := fmt.Sprintf("eyJaccess.%d.%x", s.tokens, s.opt.Seed), fmt.Sprintf("eyJrefresh.%d.%x", s.tokens, s.opt.Seed)
	s.sessions[access], s.sessions[refresh] = grant{did: a.did}, grant{did: a.did, refresh: true}
	answer(w, map[string]any{"accessJwt": access, "refreshJwt": refresh, "did": a.did, "handle": a.handle, "active": a.status == "", "didDoc": s.document(a)}, "")
}

func (s *Sim) createSession(w http.ResponseWriter, r *http.Request, host int) {
	var in struct{ Identifier, Password string }
	err := json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	did := in.Identifier
	if s.handles[did] != "" {
		did = s.handles[did]
	}
	s.mu.Unlock()
	if _, ok := s.hit(FaultLoginRefused, did, "createSession"); ok {
		refuse(w, http.StatusUnauthorized, "AuthenticationRequired", "Invalid identifier or password")
		return
	}
	if _, ok := s.hit(FaultSecondFactor, did, "createSession"); ok {
		refuse(w, http.StatusUnauthorized, "AuthFactorTokenRequired", "A sign in code has been sent to your email address")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[did]
	if r.Method != http.MethodPost || err != nil || a == nil || a.host != host || a.password == "" || in.Password != a.password {
		refuse(w, http.StatusUnauthorized, "AuthenticationRequired", "Invalid identifier or password")
		return
	}
	s.pair(w, a)
}

func (s *Sim) refreshSession(w http.ResponseWriter, r *http.Request, host int) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, ok := s.hit(FaultRefreshRefused, s.holder(token), "refreshSession"); ok {
		refuse(w, http.StatusBadRequest, "ExpiredToken", "Token has expired")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, a := s.sessions[token], s.accounts[s.sessions[token].did]
	switch {
	case r.Method != http.MethodPost || !g.refresh || a == nil || a.host != host:
		refuse(w, http.StatusBadRequest, "InvalidToken", "Token could not be verified")
	case g.used:
		refuse(w, http.StatusUnauthorized, "ExpiredToken", "Token has been revoked")
	default:
		g.used = true
		s.sessions[token] = g
		s.pair(w, a)
	}
}

// holder is the DID of a token's account, "" for none.
func (s *Sim) holder(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[token].did
}

// whose is the account of a request's token, or nil after an answer that says why there is none.
func (s *Sim) whose(w http.ResponseWriter, r *http.Request, method string, host int) *account {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, expires := s.hit(FaultExpiredToken, s.holder(token), method)
	s.mu.Lock()
	defer s.mu.Unlock()
	if expires {
		delete(s.sessions, token)
	}
	g, ok := s.sessions[token]
	switch a := s.accounts[g.did]; {
	case token == "":
		refuse(w, http.StatusUnauthorized, "AuthMissing", "Authentication Required")
	case !ok || g.refresh || a == nil:
		refuse(w, http.StatusBadRequest, "ExpiredToken", "Token has expired")
	case a.host != host:
		refuse(w, http.StatusBadRequest, "AccountDeactivated", "Account is deactivated")
	default:
		return a
	}
	return nil
}
