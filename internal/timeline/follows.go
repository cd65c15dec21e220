package timeline

import (
	"context"
	"encoding/json"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/identity"
)

// Follows lists the DIDs that the account follows, the newest follow first and each once, from the
// records at its own server: that needs no session and no app view. The list is whole only when the
// Listing is Complete.
func (a *Account) Follows(ctx context.Context) ([]string, accounts.Listing, error) {
	did, err := a.DID(ctx)
	if err != nil {
		return nil, accounts.Listing{}, err
	}
	var dids []string
	have := map[string]bool{}
	listing, err := a.opt.Accounts.List(ctx, did, "app.bsky.graph.follow", accounts.ListOptions{}, func(r accounts.Record) error {
		var follow struct{ Subject string }
		if json.Unmarshal(r.JSON, &follow) == nil && identity.CheckDID(follow.Subject) == nil && !have[follow.Subject] {
			have[follow.Subject] = true
			dids = append(dids, follow.Subject)
		}
		return nil
	})
	return dids, listing, err
}
