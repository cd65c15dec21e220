package backfill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/jetstream"
	"tempestd/internal/timeline"
	"tempestd/messages"
)

// timelineCollections are the collections of which a timeline shows records.
var timelineCollections = []string{"app.bsky.feed.post", "app.bsky.feed.repost"}

// TimelineOptions are of the source of an account's timeline.
type TimelineOptions struct {
	Account  *timeline.Account
	Received func() int64 // bytes that the account's client has read so far
	Clock    clockwork.Clock
}

// Timeline is the source for a feed that follows one account: the posts and reposts that the
// account's timeline shows of the time of a gap.
type Timeline struct{ opt TimelineOptions }

// NewTimeline returns the source of an account's timeline.
func NewTimeline(opt TimelineOptions) *Timeline { return &Timeline{opt} }

// Name implements Source.
func (s *Timeline) Name() messages.GapSource { return messages.SourceTimeline }

// Price implements Source. How much a timeline shows is not known before it is read.
func (s *Timeline) Price(_ context.Context, o Order) (Price, error) {
	if err := s.possible(o); err != nil {
		return Price{}, err
	}
	return Price{Requests: 1, Bytes: 100 << 10}, nil // a page
}

func (s *Timeline) possible(o Order) error {
	matcher := jetstream.NewMatcher(jetstream.Filter{Collections: o.Filter.Collections, Kinds: o.Filter.Kinds})
	wanted := slices.ContainsFunc(timelineCollections, func(c string) bool { return matcher.Wants(messages.KindCommit, nil, []byte(c)) })
	switch {
	case !wanted:
		return fmt.Errorf("%w: the feed wants neither posts nor reposts", ErrNothing)
	case o.Row.FromUS == 0:
		return fmt.Errorf("%w: it is not known when the gap began", ErrNothing)
	}
	return nil
}

// Fetch implements Source. A timeline is read from now on backwards, so it has no place to go on
// from: a fetch that was cut short begins anew, and finds what it gave in the stream.
func (s *Timeline) Fetch(ctx context.Context, o Order, deliver Deliver) (Result, error) {
	if err := s.possible(o); err != nil {
		return Result{}, err
	}
	received := s.opt.Received()
	matcher := jetstream.NewMatcher(o.Filter)
	wants := func(did, collection string) bool {
		return matcher.Wants(messages.KindCommit, []byte(did), []byte(collection))
	}
	held, err := o.Held.Records(ctx, o.Filter.DIDs, false)
	if err != nil {
		return Result{}, err
	}
	f := filler{deliver: deliver, batch: &messages.Batch{}, at: json.RawMessage("{}")}
	var found []accounts.Record
	span := SpanOf(o.Row)
	var end time.Time
	if o.Row.ToUS > 0 {
		end = time.UnixMicro(span.ToUS).Add(timelineSlack)
	}
	read, err := s.opt.Account.Timeline(ctx, timeline.ReadOptions{
		Since:  time.UnixMicro(span.FromUS).Add(-timelineSlack),
		Wanted: func(did string) bool { return wants(did, timelineCollections[0]) || wants(did, timelineCollections[1]) },
	}, func(r accounts.Record) error {
		if n := s.opt.Received() - received; o.Budget > 0 && n > o.Budget {
			return fmt.Errorf("%w: the budget of %d bytes is used up", ErrPermanent, o.Budget)
		}
		o.Tell(Progress{Bytes: s.opt.Received() - received})
		if wants(r.DID, r.Collection) && (end.IsZero() || !r.Indexed.After(end)) && held.Compare(r) != Settled {
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return Result{}, s.failed(err)
	}
	if err := held.Refresh(ctx); err != nil {
		return Result{}, err
	}
	slices.Reverse(found) // the newest is shown first
	now := s.opt.Clock.Now()
	for _, r := range found {
		if held.Compare(r) == Settled || !plainPath(r.DID, r.Collection, r.RKey) {
			continue
		}
		if len(f.batch.Events) == 0 {
			f.batch.Compared = held.Compared()
		}
		if err := f.add(ctx, func(dst []byte) []byte { return appendRecord(dst, r, timeOf(r, now)) }); err != nil {
			return Result{}, err
		}
	}
	if err := f.hand(ctx); err != nil {
		return Result{}, err
	}
	o.Tell(Progress{Bytes: s.opt.Received() - received})
	return timelineResult(o, read), nil
}

// timelineSlack is how far from the gap an app view may have indexed a record of it.
const timelineSlack = 10 * time.Minute

// timelineResult says what the timeline could not give. It shows what it likes, so it never has all.
func timelineResult(o Order, read timeline.Read) Result {
	parts := []string{"repaired as far as the app view shows: posts and reposts, without likes, other records, deletes and versions that were overtaken"}
	var r Result
	if read.End != accounts.EndOfTime && (read.Oldest.IsZero() || read.Oldest.UnixMicro() > o.Row.FromUS) {
		oldest := "at once"
		if r.LackFromUS, r.LackToUS = o.Row.FromUS, o.Row.ToUS; !read.Oldest.IsZero() {
			oldest = "at " + read.Oldest.UTC().Format(time.RFC3339)
			r.LackToUS = min(read.Oldest.UnixMicro(), cmp.Or(o.Row.ToUS, math.MaxInt64))
		}
		if r.LackToUS == 0 { // the gap has no end yet
			r.LackFromUS = 0
		}
		parts = append(parts, fmt.Sprintf("the timeline ended %s (%v)", oldest, read.End))
	}
	if read.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d items without a sound record", read.Skipped))
	}
	r.Missing = strings.Join(parts, "; ")
	return r
}

// failed makes of a session's trouble what a source says of it.
func (s *Timeline) failed(err error) error {
	var wait *timeline.LoginWait
	if errors.As(err, &wait) {
		why := "no login is tried"
		if wait.Err != nil {
			why += ": " + wait.Err.Error()
		}
		return &WaitError{Until: wait.Until, Why: why}
	}
	return err
}
