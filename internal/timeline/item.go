package timeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tempestd/internal/accounts"
)

const (
	posts   = "app.bsky.feed.post"
	reposts = "app.bsky.feed.repost"
)

// item is one of a timeline: a post, and why it is shown.
type item struct {
	Post struct {
		URI, CID, IndexedAt string
		Record              json.RawMessage
	}
	Reason *struct {
		Type      string `json:"$type"`
		URI, CID  string
		IndexedAt string
		By        struct{ DID string }
	}
}

func (i *item) repost() bool {
	return i.Reason != nil && i.Reason.Type == "app.bsky.feed.defs#reasonRepost"
}

// at is where the item stands in the timeline; zero when it does not say, as a pinned post does
// not.
func (i *item) at() time.Time {
	text := i.Post.IndexedAt
	switch {
	case i.repost():
		text = i.Reason.IndexedAt
	case i.Reason != nil:
		return time.Time{}
	}
	return parseTime(text)
}

func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// post is the record of the item's post.
func (i *item) post(did, rkey string) (accounts.Record, error) {
	r, err := accounts.NewRecord(did, posts, rkey, i.Post.CID, i.Post.Record)
	r.Indexed = parseTime(i.Post.IndexedAt)
	return r, err
}

// repostRecord asks for the record of the item's repost.
func (a *Account) repostRecord(ctx context.Context, i *item, did, rkey string) (accounts.Record, error) {
	r, out, err := a.opt.Accounts.Record(ctx, did, accounts.Path{Collection: reposts, RKey: rkey})
	switch {
	case err != nil:
		return accounts.Record{}, err
	case r == nil:
		return accounts.Record{}, fmt.Errorf("%w: the account is %v, and the repost is gone", ErrNoRecord, out.State)
	case r.CID.String() != i.Reason.CID:
		return accounts.Record{}, fmt.Errorf("%w: its record is another one now", ErrNoRecord)
	}
	r.Indexed = i.at()
	return *r, nil
}
