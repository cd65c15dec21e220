package accounts

import (
	"context"
	"fmt"
	"net/url"

	"tempestd/internal/accounts/identity"
)

// Head is the latest commit of a repository.
type Head struct {
	Outcome
	Rev, CID string // "" unless the account is active
}

// Latest asks for the latest commit (com.atproto.sync.getLatestCommit).
func (c *Client) Latest(ctx context.Context, did string) (Head, error) {
	var head Head
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		var answer struct{ CID, Rev string }
		if err := c.ask(ctx, id.Server, "com.atproto.sync.getLatestCommit", url.Values{"did": {did}}, 0, &answer); err != nil {
			return err
		}
		if err := checkRev(answer.Rev); err != nil {
			return err
		}
		head.Rev, head.CID = answer.Rev, answer.CID
		return nil
	})
	head.Outcome = out
	return head, err
}

func checkRev(rev string) error {
	if _, ok := KeyTime(rev); !ok {
		return fmt.Errorf("%w: the revision %.40q is no TID", ErrAnswer, rev)
	}
	return nil
}

// Missed reports whether an account has committed after rev, the last revision that is held of it;
// "" for none. It is the cheapest question about an account, one small request. The account was
// asked successfully only when it is Active.
func (c *Client) Missed(ctx context.Context, did, rev string) (missed bool, head Head, err error) {
	head, err = c.Latest(ctx, did)
	// Revisions are TIDs, whose texts sort as their times do.
	return err == nil && head.State == Active && head.Rev > rev, head, err
}

// Status asks how the account stands (com.atproto.sync.getRepoStatus). Rev is "" where the server
// gives none.
func (c *Client) Status(ctx context.Context, did string) (Head, error) {
	var head Head
	state := Active
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		var answer struct {
			Active      bool
			Status, Rev string
		}
		if err := c.ask(ctx, id.Server, "com.atproto.sync.getRepoStatus", url.Values{"did": {did}}, 0, &answer); err != nil {
			return err
		}
		state = stateOf(answer.Active, answer.Status)
		if answer.Rev == "" {
			return nil
		}
		head.Rev = answer.Rev
		return checkRev(answer.Rev)
	})
	if head.Outcome = out; out.State == Active {
		head.State = state
	}
	return head, err
}

// maxCollections bounds the collections of an account; the largest known have a few hundred.
const maxCollections = 10_000

// Collections lists the collections that the account has records in
// (com.atproto.repo.describeRepo).
func (c *Client) Collections(ctx context.Context, did string) ([]string, Outcome, error) {
	var answer struct{ Collections []string }
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		answer.Collections = nil
		if err := c.ask(ctx, id.Server, "com.atproto.repo.describeRepo", url.Values{"repo": {did}}, 4<<20, &answer); err != nil {
			return err
		}
		if len(answer.Collections) > maxCollections {
			return fmt.Errorf("%s: %w: it has %d collections, at most %d are taken", did, ErrAnswer, len(answer.Collections), maxCollections)
		}
		return nil
	})
	return answer.Collections, out, err
}
