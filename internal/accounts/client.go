package accounts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
)

// defaultRepository bounds a repository, bytes.
const defaultRepository = 512 << 20

// Options are of a Client.
type Options struct {
	Calls     *xrpc.Client
	Directory *identity.Directory
	// Dir is where repositories are put while they are read, "" for the system's folder. Nothing
	// stays there.
	Dir string
	// MaxRepository bounds a repository, bytes; 0 for 512 MiB.
	MaxRepository int64
	// Skipped is told of each record that a server gave and that is left out. It may be nil.
	Skipped func(Skipped)
}

// Client asks accounts' servers. It is safe for concurrent use.
type Client struct {
	opt Options
}

// New returns a Client.
func New(opt Options) *Client {
	opt.MaxRepository = cmp.Or(opt.MaxRepository, defaultRepository)
	if opt.Skipped == nil {
		opt.Skipped = func(Skipped) {}
	}
	return &Client{opt}
}

// at has call ask the account's server. When the account is not there, it fetches the account's
// document anew, and has call ask again, once, if that can have another end. That an account is
// gone is no error but an Outcome.
func (c *Client) at(ctx context.Context, did string, call func(identity.Identity) error) (Outcome, error) {
	id, err := c.opt.Directory.Lookup(ctx, did)
	if state, ok := gone(err); ok {
		return Outcome{State: state}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	if id.Server != "" {
		if err = call(id); !elsewhere(err) {
			return Outcome{Server: id.Server}, err
		}
	}
	fresh, lookup := c.opt.Directory.Refresh(ctx, did)
	state, ok := gone(lookup)
	switch {
	case ok:
		return Outcome{State: state, Server: id.Server}, nil
	case lookup != nil:
		return Outcome{Server: id.Server}, errors.Join(err, lookup)
	case fresh.Server == "":
		return Outcome{State: NoServer, Server: id.Server}, nil
	}
	out := Outcome{Server: fresh.Server, Moved: fresh.Server != id.Server}
	if out.Moved || errors.Is(err, xrpc.ErrUnreachable) || fresh.Key.String() != id.Key.String() {
		err = call(fresh)
	}
	if state, ok := gone(err); ok {
		out.State, err = state, nil
	}
	return out, err
}

// ask calls a method of a server and reads its answer into v.
func (c *Client) ask(ctx context.Context, server, method string, query url.Values, limit int64, v any) error {
	body, err := c.opt.Calls.Do(ctx, xrpc.Request{URL: xrpc.URL(server, method, query), Limit: limit})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s %s: %w: %w", server, method, ErrAnswer, err)
	}
	return nil
}
