package accounts

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/xrpc"
)

const (
	// maxPage bounds a page, bytes. A hundred records of a hundred kilobytes fit; where they do
	// not, smaller pages are asked for.
	maxPage = 16 << 20
	// fullPage is how many records a page has; the protocol allows no more.
	fullPage = 100
	// defaultRecords bounds a list.
	defaultRecords = 1_000_000
	// maxEmpty is how many pages without a record may follow one another.
	maxEmpty = 20
	// Slack is how much older than asked for a key may be. A client makes a key when its user
	// begins to write, and its clock is not the server's.
	Slack = time.Hour
)

// End is how a list ended.
type End uint8

// The ends of a list.
const (
	EndOfList  End = iota // the server has no more
	EndOfTime             // the rest is older than asked for
	EndRepeats            // the server gives a page again, or a cursor that is none
	EndEmpty              // page after page is empty
	EndBound              // there are more records than are taken
)

func (e End) String() string {
	return [...]string{"end of the list", "older than asked for", "a page comes again", "nothing but empty pages", "more than is taken"}[e]
}

// ListOptions say how far a list goes.
type ListOptions struct {
	// Since ends the list at the first key that is older, by more than Slack. It works for keys
	// that are TIDs, in a list that is in order; others are read to their end. A zero Since reads
	// to the end, which also finds what a client has given an old key.
	Since time.Time
	// Most bounds the records; 0 for a million.
	Most int
	// Saw is told of each key, those of records that are skipped among them. It may be nil.
	Saw func(rkey string)
}

// Listing is what became of a list.
type Listing struct {
	Outcome
	Records, Skipped, Pages int
	End                     End
}

// Complete reports whether the list was read as far as it was asked for. Records that are counted
// as Skipped are left out all the same.
func (l Listing) Complete() bool {
	return l.State == Active && (l.End == EndOfList || l.End == EndOfTime)
}

// List gives the records of a collection to yield, the newest key first
// (com.atproto.repo.listRecords). An error of yield ends it and is returned as it is. A record may
// be given twice: when the account moves meanwhile, and when the server gives it twice.
func (c *Client) List(ctx context.Context, did, collection string, opt ListOptions, yield func(Record) error) (Listing, error) {
	opt.Most = cmp.Or(opt.Most, defaultRecords)
	if opt.Saw == nil {
		opt.Saw = func(string) {}
	}
	l := lister{client: c, did: did, collection: collection, opt: opt, yield: yield}
	out, err := c.at(ctx, did, func(id identity.Identity) error {
		if id.Server != l.server { // a cursor is its server's own
			l.server, l.cursor, l.last, l.unordered, l.cursors = id.Server, "", "", false, xrpc.Cursors{}
		}
		return l.run(ctx)
	})
	l.listing.Outcome = out
	return l.listing, err
}

// lister is one list.
type lister struct {
	client          *Client
	did, collection string
	opt             ListOptions
	yield           func(Record) error
	listing         Listing

	server    string
	cursor    string
	last      string // the key before
	unordered bool
	cursors   xrpc.Cursors
}

type page struct {
	Records []listed
	Cursor  string
}

type listed struct {
	URI, CID string
	Value    json.RawMessage
}

// run reads pages until the list ends.
func (l *lister) run(ctx context.Context) error {
	limit, empty := fullPage, 0
	for {
		query := url.Values{"repo": {l.did}, "collection": {l.collection}, "limit": {strconv.Itoa(limit)}}
		if l.cursor != "" {
			query.Set("cursor", l.cursor)
		}
		var p page
		err := l.client.ask(ctx, l.server, "com.atproto.repo.listRecords", query, maxPage, &p)
		if errors.Is(err, xrpc.ErrTooLarge) && limit > 1 {
			limit /= 4
			continue
		}
		if err != nil {
			return err
		}
		l.listing.Pages++
		end, err := l.page(p)
		if err != nil || end != EndOfList {
			l.listing.End = end
			return err
		}
		if empty++; len(p.Records) > 0 {
			empty = 0
		}
		switch {
		case p.Cursor == "":
			return nil
		case !l.cursors.Fresh(p.Cursor):
			if len(p.Records) > 0 { // some servers end a list with an empty page and the cursor that was sent
				l.listing.End = EndRepeats
			}
			return nil
		case l.listing.Records+l.listing.Skipped >= l.opt.Most:
			l.listing.End = EndBound
			return nil
		case empty == maxEmpty:
			l.listing.End = EndEmpty
			return nil
		}
		l.cursor = p.Cursor
	}
}

// page gives the records of a page to yield. Its end is EndOfList for "go on".
func (l *lister) page(p page) (End, error) {
	keys := make([]string, len(p.Records))
	for i, r := range p.Records {
		did, collection, rkey, ok := ParseURI(r.URI)
		if !ok || did != l.did || collection != l.collection {
			l.skip("", fmt.Errorf("%w: %.200q", ErrPath, r.URI))
			continue
		}
		if l.last != "" && rkey >= l.last {
			l.unordered = true
		}
		keys[i], l.last = rkey, rkey
		l.opt.Saw(rkey)
	}
	end := EndOfList
	for i, r := range p.Records {
		switch {
		case keys[i] == "":
			continue
		case l.old(keys[i]):
			end = EndOfTime
			continue
		case l.listing.Records+l.listing.Skipped >= l.opt.Most:
			return EndBound, nil
		}
		record, err := NewRecord(l.did, l.collection, keys[i], r.CID, r.Value)
		if err != nil {
			l.skip(keys[i], err)
			continue
		}
		l.listing.Records++
		if err := l.yield(record); err != nil {
			return end, err
		}
	}
	return end, nil
}

// old reports whether a key ends the list.
func (l *lister) old(key string) bool {
	at, ok := KeyTime(key)
	return ok && !l.unordered && !l.opt.Since.IsZero() && at.Before(l.opt.Since.Add(-Slack))
}

func (l *lister) skip(rkey string, why error) {
	l.listing.Skipped++
	l.client.opt.Skipped(Skipped{l.did, l.collection, rkey, why})
}
