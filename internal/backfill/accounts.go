package backfill

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/beside"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

const (
	// chunk is how many accounts are asked before the stream is read for those that missed something.
	chunk = 500
	// parallel is how many accounts are asked at a time. How many of them one host has is for package
	// pace.
	parallel = 16
	// mostHolders bounds the accounts that a feed without dids may have to ask.
	mostHolders = 10_000
	// mostLeft bounds the accounts that are tried again later.
	mostLeft = 1000
	// mostTries is after how many attempts at a gap a server that does not answer is given up.
	mostTries = 6
	// listMost is how many collections are listed. For more the whole repository is less work: a list
	// has a hundred records a request, and each collection needs one at least.
	listMost = 4
	// firstRetry is when servers that did not answer are asked again; it doubles up to lastRetry.
	firstRetry = 10 * time.Minute
	lastRetry  = 6 * time.Hour
	// tellEvery is how often a fetch that waits says so.
	tellEvery = 2 * time.Second
)

// AccountsOptions are of the source of accounts' servers.
type AccountsOptions struct {
	Network *accounts.Network
	// Relay is the origin of a relay that knows who has a collection; "" for none. Without one, only
	// feeds with dids can be repaired.
	Relay string
	Clock clockwork.Clock
	Crew  *beside.Crew
}

// Accounts is the source that asks each account's own server. It gives the records as they are now:
// those that the stream lacks, and deletes of those that the stream believes alive. Most accounts
// missed nothing, and one small request says so.
type Accounts struct{ opt AccountsOptions }

// NewAccounts returns the source of accounts' servers.
func NewAccounts(opt AccountsOptions) *Accounts { return &Accounts{opt} }

// Name implements Source.
func (s *Accounts) Name() messages.GapSource { return messages.SourceAccounts }

// Price implements Source. It calls nobody, so it knows the requests that are sure.
func (s *Accounts) Price(_ context.Context, o Order) (Price, error) {
	if err := s.possible(o); err != nil {
		return Price{}, err
	}
	n := int64(len(o.Filter.DIDs))
	return Price{Requests: 2 * n, Bytes: n * (1<<10 + 100)}, nil // a document and a head each
}

// possible says why the source cannot repair a gap at all.
func (s *Accounts) possible(o Order) error {
	f := o.Filter
	switch {
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, "commit"):
		return fmt.Errorf("%w: the feed wants no commits", ErrNothing)
	case o.Row.FromUS == 0:
		return fmt.Errorf("%w: it is not known when the gap began", ErrNothing)
	case len(f.DIDs) > 0:
		return nil
	case s.opt.Relay == "":
		return fmt.Errorf("%w: the feed names no accounts, and no relay is configured", ErrNothing)
	case len(f.Collections) == 0 || len(f.Collections) > listMost || slices.ContainsFunc(f.Collections, isWildcard):
		return fmt.Errorf("%w: the feed names neither accounts nor 1 to %d collections", ErrNothing, listMost)
	}
	return nil
}

func isWildcard(collection string) bool { return strings.HasSuffix(collection, ".*") }

// accountsProgress is the place that a fetch has reached: every account up to After is done.
type accountsProgress struct {
	After string   `json:"after,omitempty"`
	Left  []string `json:"left,omitempty"` // accounts before it that could not be asked
	accountsTally
}

// accountsTally is what became of the accounts.
type accountsTally struct {
	Asked   int            `json:"asked,omitempty"`
	Missed  int            `json:"missed,omitempty"`  // have committed since the gap began
	Ends    map[string]int `json:"ends,omitempty"`    // accounts that gave nothing, by the reason
	Skips   int            `json:"skips,omitempty"`   // records that are no such
	Part    int            `json:"part,omitempty"`    // lists that did not come to their end
	Doubted int            `json:"doubted,omitempty"` // deletes that could not be confirmed
	Unread  int            `json:"unread,omitempty"`  // accounts of which not everything could be read
	SinceS  int64          `json:"since_s,omitempty"` // deletes of records from before it are unknown, Unix s
}

// unread notes an account that could not be read, for a reason that is not the account's own: its
// server may have what the stream lacks.
func (t *accountsTally) unread(why string) {
	t.end(why)
	t.Unread++
}

func (t *accountsTally) end(why string) {
	if t.Ends == nil {
		t.Ends = map[string]int{}
	}
	t.Ends[why]++
}

// Fetch implements Source.
func (s *Accounts) Fetch(ctx context.Context, o Order, deliver Deliver) (Result, error) {
	if err := s.possible(o); err != nil {
		return Result{}, err
	}
	f := &accountsFetch{Accounts: s, order: o, matcher: jetstream.NewMatcher(o.Filter), received: s.opt.Network.Calls.Received(),
		filler: filler{deliver: deliver, batch: &messages.Batch{}}}
	span := SpanOf(o.Row)
	f.from = time.UnixMicro(span.FromUS).Add(-accounts.Slack)
	if o.Row.ToUS > 0 {
		f.to = time.UnixMicro(span.ToUS).Add(accounts.Slack)
	}
	if len(o.Row.Progress) > 0 {
		if err := json.Unmarshal(o.Row.Progress, &f.progress); err != nil {
			return Result{}, fmt.Errorf("%w: progress of another source", ErrPermanent)
		}
	}
	if err := f.run(ctx); err != nil {
		return Result{}, err
	}
	return Result{Missing: f.missing(), Unread: f.progress.Unread > 0}, nil
}

// accountsFetch is one Fetch.
type accountsFetch struct {
	*Accounts
	filler
	order    Order
	matcher  *jetstream.Matcher
	from, to time.Time // of the keys of records that are wanted; to is zero for now
	revs     map[string]string
	latest   map[string]string // the latest revs of those that missed something, by account
	progress accountsProgress
	received int64
	lastErr  error // of an account that is left
	waits    *pace.Waits
}

func (f *accountsFetch) run(ctx context.Context) error {
	ctx, f.waits = pace.Watch(ctx)
	dids, err := f.dids(ctx)
	if err != nil {
		return err
	}
	if f.revs, err = f.order.Held.Revs(ctx); err != nil {
		return err
	}
	f.place()
	first, _ := slices.BinarySearchFunc(dids, f.progress.After, func(did, after string) int {
		if did <= after {
			return -1
		}
		return 1
	})
	for part := range slices.Chunk(dids[first:], chunk) {
		left := f.progress.Left
		if err := f.chunk(ctx, part); err != nil {
			return err
		}
		if len(f.progress.Left) > mostLeft {
			return fmt.Errorf("%d accounts could not be asked: %w", len(f.progress.Left)-len(left), f.lastErr)
		}
		f.progress.After = part[len(part)-1]
		if err := f.reached(ctx); err != nil {
			return err
		}
	}
	return f.again(ctx)
}

// again asks the accounts that could not be asked before.
func (f *accountsFetch) again(ctx context.Context) error {
	left := f.progress.Left
	if len(left) == 0 {
		return nil
	}
	f.progress.Left = nil
	f.progress.Asked -= len(left)
	if err := f.chunk(ctx, left); err != nil {
		return err
	}
	if len(f.progress.Left) > 0 && f.order.Row.Attempts >= mostTries {
		for range f.progress.Left {
			f.progress.unread("whose server does not answer")
		}
		f.progress.Left = nil
	}
	if err := f.reached(ctx); err != nil {
		return err
	}
	if n := len(f.progress.Left); n > 0 {
		wait := min(firstRetry<<min(f.order.Row.Attempts, 10), lastRetry)
		return &WaitError{Until: f.opt.Clock.Now().Add(wait), Why: fmt.Sprintf("the servers of %d accounts do not answer (%.200s)", n, f.lastErr)}
	}
	return nil
}

// dids lists the accounts to ask, in order.
func (f *accountsFetch) dids(ctx context.Context) ([]string, error) {
	dids := slices.Clone(f.order.Filter.DIDs)
	if len(dids) == 0 {
		for _, collection := range f.order.Filter.Collections {
			end, err := f.opt.Network.Holders(ctx, f.opt.Relay, collection, func(did string) error {
				if dids = append(dids, did); len(dids) > mostHolders {
					return fmt.Errorf("%w: more than %d accounts have records of %s", ErrNothing, mostHolders, collection)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			if end != accounts.EndOfList {
				return nil, fmt.Errorf("the relay's list of accounts with %s ended early: %v", collection, end)
			}
		}
	}
	dids = slices.DeleteFunc(dids, func(did string) bool { return did == jetstream.Nobody })
	slices.Sort(dids)
	return slices.Compact(dids), nil
}

// chunk asks some accounts, and fetches what the stream lacks of those that missed something.
func (f *accountsFetch) chunk(ctx context.Context, dids []string) error {
	missed, err := f.heads(ctx, dids)
	if err != nil || len(missed) == 0 {
		return err
	}
	records, err := f.order.Held.Records(ctx, missed, true)
	if err != nil {
		return err
	}
	f.progress.SinceS = max(f.progress.SinceS, records.Since().Unix())
	f.progress.Missed += len(missed)
	return f.fetch(ctx, missed, records)
}

// heads asks for the latest commit of each account, and lists those that may have missed something.
func (f *accountsFetch) heads(ctx context.Context, dids []string) (missed []string, err error) {
	type answer struct {
		accounts.Head
		err error
	}
	answers := make([]answer, len(dids))
	run := f.start(ctx, len(dids), func(ctx context.Context, i int) {
		head, err := f.opt.Network.Latest(ctx, dids[i])
		answers[i] = answer{head, err}
	})
	if err := f.wait(ctx, run); err != nil {
		return nil, err
	}
	f.latest = map[string]string{}
	for i, did := range dids {
		a := answers[i]
		f.progress.Asked++
		switch {
		case a.err != nil:
			f.failed(did, a.err)
		case a.State != accounts.Active:
			f.progress.end("that are " + a.State.String())
		case f.changed(did, a.Rev):
			missed = append(missed, did)
			f.latest[did] = a.Rev
		}
	}
	return missed, ctx.Err()
}

// changed says whether an account with this latest rev may have committed within the gap. Revs are
// TIDs, whose texts sort as their times do.
func (f *accountsFetch) changed(did, rev string) bool {
	if known, ok := f.revs[did]; ok {
		return rev > known
	}
	at, ok := accounts.KeyTime(rev)
	return !ok || !at.Before(f.from)
}

// reached hands over what there is, and with it the place.
func (f *accountsFetch) reached(ctx context.Context) error {
	f.place()
	if err := f.hand(ctx); err != nil {
		return err
	}
	f.tell()
	if n := f.bytes(); f.order.Budget > 0 && n > f.order.Budget {
		return fmt.Errorf("%w: the budget of %d bytes is used up", ErrPermanent, f.order.Budget)
	}
	return nil
}

// place notes the place for the batches that follow.
func (f *accountsFetch) place() {
	at, err := json.Marshal(f.progress)
	if err != nil {
		panic(err) // cannot happen: strings and integers always encode
	}
	f.at = at
}

func (f *accountsFetch) bytes() int64 { return f.opt.Network.Calls.Received() - f.received }

// tell tells how far the fetch is, and which host has it wait.
func (f *accountsFetch) tell() {
	p := Progress{Bytes: f.bytes()}
	if wait, ok := f.waits.Longest(); ok {
		p.WaitUntil, p.Why = wait.Until, wait.Host+" said when to come again"
	}
	f.order.Tell(p)
}

// missing says what the accounts could not give.
func (f *accountsFetch) missing() string {
	t := f.progress.accountsTally
	parts := []string{"versions that were overtaken, events of accounts and identities, and records whose keys are older than the gap"}
	if t.SinceS > 0 {
		parts = append(parts, "deletes of records from before "+time.Unix(t.SinceS, 0).UTC().Format(time.RFC3339))
	}
	var ends []string
	for why, n := range t.Ends {
		ends = append(ends, fmt.Sprintf("%d accounts %s", n, why))
	}
	slices.Sort(ends)
	parts = append(parts, ends...)
	if t.Part > 0 {
		parts = append(parts, fmt.Sprintf("the rest of %d lists that ended early", t.Part))
	}
	if t.Doubted > 0 {
		parts = append(parts, fmt.Sprintf("%d deletes that could not be confirmed", t.Doubted))
	}
	if t.Skips > 0 {
		parts = append(parts, fmt.Sprintf("%d records that are not what their CID says", t.Skips))
	}
	return fmt.Sprintf("as %d accounts' servers have it now, of which %d had changed; without %s", t.Asked, t.Missed, strings.Join(parts, "; "))
}
