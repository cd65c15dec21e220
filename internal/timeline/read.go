package timeline

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/xrpc"
)

const (
	fullPage = 100
	// maxPage bounds a page, bytes: posts come with all that an app shows around them.
	maxPage = 16 << 20
	// maxEmpty is how many pages without an item may follow one another: they are known to come
	// before the end.
	maxEmpty = 10
	// defaultItems bounds a timeline, items.
	defaultItems = 200_000
	// slack is how far before the time an item may stand that is still taken.
	slack = 5 * time.Minute
)

// ReadOptions say what is read of a timeline.
type ReadOptions struct {
	// Since is the time to go back to.
	Since time.Time
	// StartCursor is the one of a Read before, "" for none. Newer servers give nothing older; the
	// others do not know it.
	StartCursor string
	// Wanted tells the accounts whose records are given; nil for all. An item may show a post of an
	// account that is not followed.
	Wanted func(did string) bool
	// Most bounds the items; 0 for 200 000.
	Most int
}

// Read is what became of reading a timeline. It never says that nothing is missing.
type Read struct {
	StartCursor             string // for the next Read, "" from servers without
	Pages, Items            int
	Posts, Reposts, Skipped int
	Oldest                  time.Time // where the oldest item stood; zero without one
	// End is EndOfTime when Since was reached. EndOfList says that the server gave no more, which
	// happens before that too.
	End accounts.End
}

// Timeline gives posts and reposts that the account's timeline shows to yield, the newest first and
// each once (app.bsky.feed.getTimeline). An error of yield ends it and is returned as it is.
func (a *Account) Timeline(ctx context.Context, opt ReadOptions, yield func(accounts.Record) error) (Read, error) {
	opt.Most = cmp.Or(opt.Most, defaultItems)
	if opt.Wanted == nil {
		opt.Wanted = func(string) bool { return true }
	}
	r := reader{account: a, opt: opt, yield: yield, given: map[string]bool{}}
	err := r.run(ctx)
	return r.read, err
}

// reader is one Timeline.
type reader struct {
	account *Account
	opt     ReadOptions
	yield   func(accounts.Record) error
	read    Read
	given   map[string]bool // URIs
}

func (r *reader) run(ctx context.Context) error {
	limit, cursor, empty := fullPage, "", 0
	var cursors xrpc.Cursors
	for {
		query := url.Values{"limit": {strconv.Itoa(limit)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if r.opt.StartCursor != "" {
			query.Set("since", r.opt.StartCursor)
		}
		var page struct {
			Feed                []item
			Cursor, StartCursor string
		}
		err := r.account.call(ctx, "app.bsky.feed.getTimeline", query, maxPage, &page)
		if errors.Is(err, xrpc.ErrTooLarge) && limit > 1 {
			limit /= 4
			continue
		}
		if r.opt.StartCursor != "" && r.read.Pages == 0 && xrpc.Is(err, "InvalidRequest") {
			r.opt.StartCursor = "" // of another server, or from too long ago
			continue
		}
		if err != nil {
			return err
		}
		r.read.Pages++
		if r.read.Pages == 1 {
			r.read.StartCursor = page.StartCursor
		}
		newer, err := r.page(ctx, page.Feed)
		if err != nil {
			return err
		}
		if empty++; len(page.Feed) > 0 {
			empty = 0
		}
		switch {
		case len(page.Feed) > 0 && !newer, page.Cursor != "" && page.Cursor == r.opt.StartCursor:
			r.read.End = accounts.EndOfTime
			return nil
		case page.Cursor == "":
			return nil
		case !cursors.Fresh(page.Cursor):
			r.read.End = accounts.EndRepeats
			return nil
		case empty == maxEmpty:
			r.read.End = accounts.EndEmpty
			return nil
		case r.read.Items >= r.opt.Most:
			r.read.End = accounts.EndBound
			return nil
		}
		cursor = page.Cursor
	}
}

// page gives the records of a page, and reports whether an item of it stands after Since: a page is
// not always in order, so one old item does not end a timeline.
func (r *reader) page(ctx context.Context, items []item) (newer bool, err error) {
	since := r.opt.Since.Add(-slack)
	for n := range items {
		i := &items[n]
		r.read.Items++
		at := i.at()
		if !at.IsZero() && (r.read.Oldest.IsZero() || at.Before(r.read.Oldest)) {
			r.read.Oldest = at
		}
		if at.Before(since) { // one without a place is none of the time either
			continue
		}
		newer = true
		if i.repost() {
			if err := r.repost(ctx, i); err != nil {
				return newer, err
			}
		}
		if parseTime(i.Post.IndexedAt).Before(since) { // a new repost of an old post
			continue
		}
		if err := r.post(i); err != nil {
			return newer, err
		}
	}
	return newer, nil
}

func (r *reader) post(i *item) error {
	did, collection, rkey, ok := accounts.ParseURI(i.Post.URI)
	if !ok || collection != posts {
		r.skip(accounts.Skipped{Why: accounts.ErrPath})
		return nil
	}
	if !r.opt.Wanted(did) || r.given[i.Post.URI] {
		return nil
	}
	r.given[i.Post.URI] = true
	record, err := i.post(did, rkey)
	if err != nil {
		r.skip(accounts.Skipped{DID: did, Collection: posts, RKey: rkey, Why: err})
		return nil
	}
	r.read.Posts++
	return r.yield(record)
}

func (r *reader) repost(ctx context.Context, i *item) error {
	if !r.opt.Wanted(i.Reason.By.DID) {
		return nil
	}
	did, collection, rkey, ok := accounts.ParseURI(i.Reason.URI)
	if !ok || collection != reposts || did != i.Reason.By.DID {
		r.skip(accounts.Skipped{DID: i.Reason.By.DID, Collection: reposts, Why: ErrNoRecord})
		return nil
	}
	if r.given[i.Reason.URI] {
		return nil
	}
	r.given[i.Reason.URI] = true
	record, err := r.account.repostRecord(ctx, i, did, rkey)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.skip(accounts.Skipped{DID: did, Collection: reposts, RKey: rkey, Why: err})
		return nil
	}
	r.read.Reposts++
	return r.yield(record)
}

func (r *reader) skip(s accounts.Skipped) {
	r.read.Skipped++
	r.account.opt.Skipped(s)
}
