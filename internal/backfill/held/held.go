// Package held reads what a stream holds of accounts' records, for the sources of repairs that give
// records without revs.
//
// The model: such a source hands over the records that the stream lacks, and finds deletes by
// comparing. Both need the newest event at each place. Streams have no index by place, so a Scanner
// reads the entries and keeps, of the accounts that are asked for alone, one small row per place.
package held

import (
	"context"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"tempestd/internal/accounts"
	"tempestd/internal/backfill"
	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	// mostWhole is how many entries a stream may have that is read from its beginning on: some
	// seconds of reading.
	mostWhole = 4_000_000
	// mostRecords bounds the places that are kept at a time, of some 200 bytes each.
	mostRecords = 1_000_000
)

// Scanner implements backfill.Held.
type Scanner struct {
	stream persistence.Stream
	row    messages.GapRow
	wants  *jetstream.Matcher
}

// New returns a Scanner of a stream for the repair of a gap, with the filter of the stream's feed.
func New(stream persistence.Stream, row messages.GapRow, filter jetstream.Filter) *Scanner {
	return &Scanner{stream: stream, row: row, wants: jetstream.NewMatcher(filter)}
}

// before is where reading begins: shortly before the gap.
func (s *Scanner) before() messages.EntryID {
	id := messages.DeriveID(max(s.row.FromUS-accounts.Slack.Microseconds(), 1), messages.EntryID{})
	return messages.EntryID{MS: id.MS}
}

// begin is where reading begins: at the stream's beginning, if all is asked for and that is not too
// much, or else shortly before the gap.
func (s *Scanner) begin(ctx context.Context, all bool) (messages.EntryID, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return messages.EntryID{}, fmt.Errorf("look at stream %s: %w", s.stream.Name(), err)
	}
	from := s.before()
	if info.Oldest != nil && (all && info.Entries <= mostWhole || info.Oldest.Compare(from) > 0) {
		from = *info.Oldest
	}
	return from, nil
}

// Revs implements backfill.Held.
func (s *Scanner) Revs(ctx context.Context) (map[string]string, error) {
	revs := map[string]string{}
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	end := s.row.FromUS + accounts.Slack.Microseconds()
	from, err := s.begin(ctx, true)
	if err != nil {
		return nil, err
	}
	err = persistence.Walk(ctx, s.stream, from, func(e persistence.Entry) {
		if e.ID.TimeUS() > end {
			enough(errEnough)
			return
		}
		c, ok := jetstream.ReadContent(e.Event)
		if ok && c.TimeUS <= s.row.FromUS && string(c.Rev) > revs[string(c.DID)] {
			revs[string(c.DID)] = string(c.Rev)
		}
	})
	if context.Cause(ctx) == errEnough {
		err = nil
	}
	return revs, err
}

var errEnough = fmt.Errorf("enough was read")

// Records implements backfill.Held.
func (s *Scanner) Records(ctx context.Context, dids []string, all bool) (backfill.HeldRecords, error) {
	r := &records{Scanner: s, accounts: make(map[string]map[accounts.Path]place, len(dids)), names: map[string]string{}}
	for _, did := range dids {
		r.accounts[did] = map[accounts.Path]place{}
	}
	var err error
	if r.next, err = s.begin(ctx, all); err != nil {
		return nil, err
	}
	r.since = time.UnixMicro(r.next.TimeUS()).UTC()
	return r, r.Refresh(ctx)
}

// place is the newest event at a place.
type place struct {
	cid   uint64 // hash of the record's CID
	at    messages.EntryID
	gone  bool // it is a delete
	later bool // it came live after the gap
}

type records struct {
	*Scanner
	accounts map[string]map[accounts.Path]place
	names    map[string]string // of collections, each once
	since    time.Time
	next     messages.EntryID // where reading goes on
	upto     messages.EntryID
	count    int
}

// Refresh implements backfill.HeldRecords.
func (r *records) Refresh(ctx context.Context) error {
	after := max(r.row.FromUS, r.row.ToUS)
	err := persistence.Walk(ctx, r.stream, r.next, func(e persistence.Entry) {
		r.upto, r.next = e.ID, e.ID.Next()
		c, ok := jetstream.ReadContent(e.Event)
		if !ok {
			return
		}
		of := r.accounts[string(c.DID)]
		if of == nil || !r.wants.Wants(messages.KindCommit, c.DID, c.Collection) {
			return
		}
		name, known := r.names[string(c.Collection)]
		if !known {
			name = string(c.Collection)
			r.names[name] = name
		}
		path := accounts.Path{Collection: name, RKey: string(c.RKey)}
		if _, known := of[path]; !known {
			r.count++
		}
		if r.count <= mostRecords {
			of[path] = place{cid: xxhash.Sum64(c.CID), at: e.ID, gone: c.Delete, later: !c.Repaired && c.TimeUS > after}
		}
	})
	if err == nil && r.count > mostRecords {
		err = fmt.Errorf("%w: the stream holds more than %d records of these accounts, too many to compare", backfill.ErrPermanent, mostRecords)
	}
	return err
}

// Compared implements backfill.HeldRecords.
func (r *records) Compared() messages.EntryID { return r.upto }

// Since implements backfill.HeldRecords.
func (r *records) Since() time.Time { return r.since }

// Compare implements backfill.HeldRecords.
func (r *records) Compare(record accounts.Record) backfill.Standing {
	p, known := r.accounts[record.DID][accounts.Path{Collection: record.Collection, RKey: record.RKey}]
	switch {
	case !known:
		return backfill.Absent
	case p.later, !p.gone && p.cid == xxhash.Sum64String(record.CID.String()):
		return backfill.Settled
	}
	return backfill.Differs
}

// Alive implements backfill.HeldRecords. A record that came live after the gap is not among them: its
// delete comes live as well, and a list that was read before it came does not show it.
func (r *records) Alive(did string) []backfill.AliveRecord {
	var alive []backfill.AliveRecord
	for path, p := range r.accounts[did] {
		if !p.gone && !p.later {
			alive = append(alive, backfill.AliveRecord{Path: path, At: p.at})
		}
	}
	return alive
}

// StillAlive implements backfill.HeldRecords.
func (r *records) StillAlive(did string, record backfill.AliveRecord) bool {
	p, known := r.accounts[did][record.Path]
	return known && !p.gone && p.at == record.At
}
