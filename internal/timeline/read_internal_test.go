package timeline

import (
	"errors"
	"testing"

	"tempestd/internal/accounts"
)

// An app view that shows the repost of another account than the one it names is not believed: it may
// make a feed of one account hold the records of any other.
func TestARepostIsItsAuthors(t *testing.T) {
	const author, other, key = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "/app.bsky.feed.repost/3migo7fijwi2k"
	var skips []accounts.Skipped
	account := New(Options{Skipped: func(s accounts.Skipped) { skips = append(skips, s) }})
	r := reader{account: account, opt: ReadOptions{Wanted: func(did string) bool { return did == author }}, given: map[string]bool{"at://" + author + key: true}}
	for uri, skipped := range map[string]int{"at://" + author + key: 0, "at://" + other + key: 1, "at://" + author + "/app.bsky.feed.post/3migo7fijwi2k": 1} {
		skips = nil
		var i item
		i.Reason = &struct {
			Type      string `json:"$type"`
			URI, CID  string
			IndexedAt string
			By        struct{ DID string }
		}{URI: uri}
		i.Reason.By.DID = author
		if err := r.repost(t.Context(), &i); err != nil || len(skips) != skipped || skipped > 0 && !errors.Is(skips[0].Why, ErrNoRecord) {
			t.Errorf("%s: %v, skipped %v", uri, err, skips)
		}
	}
}
