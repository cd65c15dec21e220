package accounts

import (
	"context"
	"net/url"
	"strconv"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
)

const (
	// holdersPage is how many accounts a page has: the half of what the protocol allows.
	holdersPage = 1000
	// maxHolders bounds the accounts: more than the network has.
	maxHolders = 100_000_000
)

// Holders gives the DIDs of the active accounts that have records of a collection to yield, as a
// relay knows them (com.atproto.sync.listReposByCollection). What is no DID is left out. An error
// of yield ends it and is returned as it is. The end is EndOfList when the relay gave all.
func (c *Client) Holders(ctx context.Context, relay, collection string, yield func(did string) error) (End, error) {
	var cursors xrpc.Cursors
	cursor, empty, n := "", 0, 0
	for {
		query := url.Values{"collection": {collection}, "limit": {strconv.Itoa(holdersPage)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		var answer struct {
			Repos  []struct{ DID string }
			Cursor string
		}
		if err := c.ask(ctx, relay, "com.atproto.sync.listReposByCollection", query, 0, &answer); err != nil {
			return EndOfList, err
		}
		for _, repo := range answer.Repos {
			if identity.CheckDID(repo.DID) != nil {
				continue
			}
			if err := yield(repo.DID); err != nil {
				return EndOfList, err
			}
		}
		if empty++; len(answer.Repos) > 0 {
			empty = 0
		}
		n += len(answer.Repos)
		switch cursor = answer.Cursor; {
		case cursor == "":
			return EndOfList, nil
		case !cursors.Fresh(cursor):
			return EndRepeats, nil
		case empty == maxEmpty:
			return EndEmpty, nil
		case n >= maxHolders:
			return EndBound, nil
		}
	}
}
