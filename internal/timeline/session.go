package timeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/config"
)

const (
	// firstWait is how long the second login waits; each further one waits twice as long, up to
	// longestWait. So a day has at most 14 logins, of the 100 that Bluesky's servers allow.
	firstWait   = time.Minute
	longestWait = 6 * time.Hour
	// maxTokens bounds the answer with a pair of tokens, and the account's document in it, bytes.
	maxTokens = 256 << 10
)

// take waits for the turn; give ends it.
func (a *Account) take(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Account) give() { <-a.turn }

// ready returns the session, and logs in when there is none.
func (a *Account) ready(ctx context.Context) (Session, error) {
	if err := a.take(ctx); err != nil {
		return Session{}, err
	}
	defer a.give()
	if !a.loaded {
		s, err := a.opt.Store.Load(ctx)
		if err != nil {
			return Session{}, fmt.Errorf("load the session: %w", err)
		}
		id, err := a.opt.Directory.Resolve(ctx, a.opt.Identifier)
		if err != nil {
			return Session{}, err
		}
		if s.DID != id.DID {
			s = Session{DID: id.DID, Server: id.Server}
		}
		if s.Server != id.Server { // tokens are their server's own
			s.Server, s.Access, s.Refresh = id.Server, config.Secret{}, config.Secret{}
		}
		a.session, a.loaded = s, true
	}
	if a.unsaved != nil {
		if err := a.save(ctx, *a.unsaved); err != nil {
			return Session{}, err
		}
	}
	if a.session.Refresh.IsEmpty() {
		return a.login(ctx)
	}
	return a.session, nil
}

// renew returns a session with other tokens than old has, which the server does not take.
func (a *Account) renew(ctx context.Context, old Session) (Session, error) {
	if err := a.take(ctx); err != nil {
		return Session{}, err
	}
	defer a.give()
	if a.unsaved != nil {
		if err := a.save(ctx, *a.unsaved); err != nil {
			return Session{}, err
		}
	}
	if a.session.Access.Reveal() != old.Access.Reveal() || a.session.Server != old.Server {
		return a.session, nil // somebody else was first
	}
	if a.session.Refresh.IsEmpty() {
		return a.login(ctx)
	}
	s := a.session
	access, refresh, _, err := a.tokens(ctx, xrpc.Request{URL: xrpc.URL(s.Server, "com.atproto.server.refreshSession", nil), Post: true,
		Bearer: s.Refresh.Reveal(), Limit: maxTokens})
	var refused *xrpc.Error
	switch {
	case err == nil:
		s.Access, s.Refresh, s.Logins, s.NotBefore = access, refresh, 0, time.Time{}
		err = a.save(ctx, s)
		a.opt.Told(ctx, err, time.Time{})
		return s, err
	case errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden):
		a.session.Access, a.session.Refresh = config.Secret{}, config.Secret{}
		return a.login(ctx)
	}
	return Session{}, err
}

// follow returns a session at the server that the account has moved to. Without one, the error is
// the one that made a caller look.
func (a *Account) follow(ctx context.Context, old Session, lost error) (Session, error) {
	if err := a.take(ctx); err != nil {
		return Session{}, err
	}
	defer a.give()
	id, err := a.opt.Directory.Refresh(ctx, old.DID)
	if err != nil {
		return Session{}, errors.Join(lost, err)
	}
	switch id.Server {
	case old.Server, "":
		return Session{}, lost
	case a.session.Server:
		return a.session, nil // somebody else was first
	}
	a.session.Server, a.session.Access, a.session.Refresh = id.Server, config.Secret{}, config.Secret{}
	return a.login(ctx)
}

// login gets the first tokens, unless the login before was too short a time ago.
func (a *Account) login(ctx context.Context) (Session, error) {
	s, now := a.session, a.opt.Clock.Now()
	if now.Before(s.NotBefore) {
		wait := &LoginWait{s.NotBefore, a.refused}
		a.opt.Told(ctx, wait, s.NotBefore)
		return Session{}, wait
	}
	if s.Server == "" {
		a.loaded = false // it is looked up again
		return Session{}, fmt.Errorf("%s: the account's document names no server", s.DID)
	}
	body, err := json.Marshal(map[string]string{"identifier": s.DID, "password": a.opt.Password.Reveal()})
	if err != nil {
		return Session{}, errors.New("the password cannot be sent")
	}
	before := s
	s.NotBefore = now.Add(min(firstWait<<min(s.Logins, 20), longestWait))
	s.Logins++
	if err := a.save(ctx, s); err != nil { // a daemon that crashes now counts this login too
		return Session{}, err
	}
	access, refresh, did, err := a.tokens(ctx, xrpc.Request{URL: xrpc.URL(s.Server, "com.atproto.server.createSession", nil), Post: true, Body: body, Limit: maxTokens})
	if err == nil && did != s.DID {
		err = fmt.Errorf("%s: %w: a session of another account", s.Server, ErrAnswer)
	}
	if a.refused = err; err != nil {
		switch {
		case errors.Is(err, xrpc.ErrUnreachable): // the server may not know of it
			s.Logins, s.NotBefore = before.Logins, now.Add(firstWait)
			err = errors.Join(err, a.save(ctx, s))
		case xrpc.Is(err, "AuthFactorTokenRequired"), xrpc.Is(err, "AccountTakedown"):
			// Only a person can help, who is sent a letter for each login with another factor.
			s.NotBefore = now.Add(longestWait)
			err = errors.Join(err, a.save(ctx, s))
		}
		err = fmt.Errorf("log in as %s: %w", a.opt.Identifier, err)
		a.opt.Told(ctx, err, s.NotBefore)
		return Session{}, err
	}
	s.Access, s.Refresh = access, refresh
	err = a.save(ctx, s)
	a.opt.Told(ctx, err, time.Time{})
	return s, err
}

// tokens asks for a pair of tokens.
func (a *Account) tokens(ctx context.Context, r xrpc.Request) (access, refresh config.Secret, did string, err error) {
	body, err := a.opt.Calls.Do(ctx, r)
	if err != nil {
		return access, refresh, "", err
	}
	var pair struct{ AccessJwt, RefreshJwt, DID string }
	if json.Unmarshal(body, &pair) != nil || pair.AccessJwt == "" || pair.RefreshJwt == "" {
		return access, refresh, "", fmt.Errorf("%s: %w: no pair of tokens", a.session.Server, ErrAnswer)
	}
	return config.NewSecret(pair.AccessJwt), config.NewSecret(pair.RefreshJwt), pair.DID, nil
}

// save stores a session and then makes it the one that is used.
func (a *Account) save(ctx context.Context, s Session) error {
	a.unsaved = &s
	if err := a.opt.Store.Save(ctx, s); err != nil {
		return fmt.Errorf("store the session: %w", err)
	}
	a.session, a.unsaved = s, nil
	return nil
}
