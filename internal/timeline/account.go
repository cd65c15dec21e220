package timeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/config"
)

// Options are of an Account.
type Options struct {
	// Identifier is a DID or a handle. The password goes to the server that it leads to, and a handle
	// leads where DNS says.
	Identifier string
	Password   config.Secret
	Store      Store
	Calls      *xrpc.Client
	Directory  *identity.Directory
	Accounts   *accounts.Client
	Clock      clockwork.Clock
	// Told is told how getting tokens ended: nil, or why there are none, and when the next login may be
	// tried. It may be nil.
	Told func(ctx context.Context, err error, next time.Time)
	// Skipped is told of each item of a timeline that is left out. It may be nil.
	Skipped func(accounts.Skipped)
}

// Account is an account that one can log in as. It is safe for concurrent use.
type Account struct {
	opt Options
	// turn holds one token: its owner loads, refreshes or logs in.
	turn    chan struct{}
	loaded  bool
	session Session
	// unsaved is a pair of tokens that could not be stored: it is not used before it is.
	unsaved *Session
	refused error // how the last login ended
}

// New returns an Account. It calls nobody yet.
func New(opt Options) *Account {
	if opt.Skipped == nil {
		opt.Skipped = func(accounts.Skipped) {}
	}
	if opt.Told == nil {
		opt.Told = func(context.Context, error, time.Time) {}
	}
	return &Account{opt: opt, turn: make(chan struct{}, 1)}
}

// DID returns the account's DID.
func (a *Account) DID(ctx context.Context) (string, error) {
	id, err := a.opt.Directory.Resolve(ctx, a.opt.Identifier)
	return id.DID, err
}

// call calls a method at the account's server with its session, and reads the answer into v. It
// gets new tokens once, and follows the account to a new server once.
func (a *Account) call(ctx context.Context, method string, query url.Values, limit int64, v any) error {
	s, err := a.ready(ctx)
	for tries := 0; err == nil; tries++ {
		var body []byte
		body, err = a.opt.Calls.Do(ctx, xrpc.Request{URL: xrpc.URL(s.Server, method, query), Bearer: s.Access.Reveal(), Limit: limit})
		switch {
		case err == nil:
			if err := json.Unmarshal(body, v); err != nil {
				return fmt.Errorf("%s %s: %w", s.Server, method, ErrAnswer) // the cause might quote what was sent
			}
			return nil
		case tries > 0:
			return err
		case expired(err):
			s, err = a.renew(ctx, s)
		case elsewhere(err):
			s, err = a.follow(ctx, s, err)
		}
	}
	return err
}

// expired reports whether a server does not take the token.
func expired(err error) bool {
	var refused *xrpc.Error
	return errors.As(err, &refused) && (refused.Name == "ExpiredToken" || refused.Name == "InvalidToken" || refused.Status == http.StatusUnauthorized)
}

// elsewhere reports whether an error is a reason to look whether the account has moved.
func elsewhere(err error) bool {
	var refused *xrpc.Error
	return errors.Is(err, xrpc.ErrUnreachable) || errors.As(err, &refused) &&
		(refused.Status == http.StatusNotFound || refused.Status == http.StatusGone || refused.Name == "AccountDeactivated")
}
