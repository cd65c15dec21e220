package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/signing"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/repo"
	"tempestd/messages"
)

// start has do be called for the numbers up to n, in order and some at a time. The result is closed
// when every call has ended, and gives the panic of one that had one.
func (f *accountsFetch) start(ctx context.Context, n int, do func(ctx context.Context, i int)) <-chan error {
	workers := min(n, parallel)
	ended := make(chan error, workers)
	run := make(chan error, workers)
	var next atomic.Int64
	for range workers {
		f.opt.Crew.Start("backfill.account", func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				do(ctx, i)
			}
			ended <- nil
		}, func(fault error) { ended <- fault })
	}
	f.opt.Crew.Start("backfill.accounts", func() {
		defer close(run)
		for range workers {
			if err := <-ended; err != nil {
				run <- err
			}
		}
	}, nil)
	return run
}

// wait waits until every call of a start has ended, and tells meanwhile how it gets on.
func (f *accountsFetch) wait(ctx context.Context, run <-chan error) error {
	var failed error
	for {
		tick := f.opt.Clock.NewTimer(tellEvery)
		select {
		case err, more := <-run:
			tick.Stop()
			if !more {
				return errors.Join(failed, ctx.Err())
			}
			failed = errors.Join(failed, err)
		case <-tick.Chan():
			f.tell()
		}
	}
}

// account is what one account's server gave.
type account struct {
	did     string
	alive   map[accounts.Path]AliveRecord // what the stream believes, less what was seen
	records chan []accounts.Record
	// The rest is good once records is closed.
	state   accounts.State
	err     error
	gone    []AliveRecord // of those believed alive: not there any more
	doubted int           // more of them, which could not be confirmed
	skipped int
	partial int // lists that did not come to their end
}

// errUnfinished is the error of an account until its worker has ended.
var errUnfinished = errors.New("the reading did not come to its end")

// perChunk is how many records an account's worker hands on at a time.
const perChunk = 256

// fetch fetches what the stream lacks of accounts, in their order.
func (f *accountsFetch) fetch(ctx context.Context, dids []string, records HeldRecords) error {
	ctx, cancel := context.WithCancel(ctx)
	all := make([]*account, len(dids))
	for i, did := range dids {
		all[i] = &account{did: did, alive: f.wantedAlive(records, did), records: make(chan []accounts.Record), err: errUnfinished}
	}
	run := f.start(ctx, len(dids), func(ctx context.Context, i int) {
		defer close(all[i].records)
		all[i].err = f.read(ctx, all[i])
	})
	err := func() error {
		for _, a := range all {
			if err := f.take(ctx, run, a, records); err != nil {
				return err
			}
		}
		return nil
	}()
	cancel()
	for range run { // no call outlives the fetch
	}
	return err
}

// wantedAlive returns the records that the stream believes to be there and that the feed wants.
func (f *accountsFetch) wantedAlive(records HeldRecords, did string) map[accounts.Path]AliveRecord {
	alive := map[accounts.Path]AliveRecord{}
	for _, r := range records.Alive(did) {
		if f.matcher.Wants(messages.KindCommit, []byte(did), []byte(r.Collection)) {
			alive[r.Path] = r
		}
	}
	return alive
}

// take hands over what an account's worker gives.
func (f *accountsFetch) take(ctx context.Context, run <-chan error, a *account, records HeldRecords) error {
	for open := true; open; {
		tick := f.opt.Clock.NewTimer(tellEvery)
		select {
		case some, more := <-a.records:
			if open = more; !more {
				break
			}
			if err := f.give(ctx, some, records); err != nil {
				return err
			}
		case err, more := <-run:
			if more {
				return err // a worker has panicked
			}
			run = nil // the last one has ended; its account is closed
		case <-tick.Chan():
			f.tell()
		case <-ctx.Done():
			return ctx.Err()
		}
		tick.Stop()
	}
	f.progress.Skips += a.skipped
	f.progress.Part += a.partial
	f.progress.Doubted += a.doubted
	if a.partial+a.doubted > 0 {
		f.progress.Unread++
	}
	switch {
	case a.err != nil && ctx.Err() != nil:
		return ctx.Err()
	case a.err != nil:
		f.failed(a.did, a.err)
		return nil
	case a.state != accounts.Active:
		f.progress.end("that are " + a.state.String())
		return nil
	}
	return f.deletes(ctx, a, records)
}

// give hands over the records that the stream lacks.
func (f *accountsFetch) give(ctx context.Context, some []accounts.Record, records HeldRecords) error {
	now := f.opt.Clock.Now()
	slices.SortStableFunc(some, func(a, b accounts.Record) int { return int(timeOf(a, now) - timeOf(b, now)) })
	for _, r := range some {
		if !f.lacks(r, records) {
			continue
		}
		if err := f.compared(ctx, records); err != nil {
			return err
		}
		err := f.add(ctx, func(dst []byte) []byte { return appendRecord(dst, r, timeOf(r, now)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// lacks says whether a record belongs into the stream: it was put there in the gap, as far as that
// can be told. A key that is no TID does not tell when.
func (f *accountsFetch) lacks(r accounts.Record, records HeldRecords) bool {
	switch records.Compare(r) {
	case Settled:
		return false
	case Differs:
		return true
	}
	at, ok := accounts.KeyTime(r.RKey)
	return !ok || !at.Before(f.from) && (f.to.IsZero() || !at.After(f.to))
}

// compared has a new batch say up to which entry the stream was compared.
func (f *accountsFetch) compared(ctx context.Context, records HeldRecords) error {
	if len(f.batch.Events) > 0 {
		return nil
	}
	f.batch.Compared = records.Compared()
	return ctx.Err()
}

// failed notes why an account could not be asked. What may pass is tried again later.
func (f *accountsFetch) failed(did string, err error) {
	if why := lasting(err); why != "" {
		f.progress.unread(why)
		return
	}
	f.progress.Left = append(f.progress.Left, did)
	f.lastErr = fmt.Errorf("%s: %w", did, err)
}

// lasting is what is wrong with an account's server for good; "" if it may pass.
func lasting(err error) string {
	var refused *xrpc.Error
	switch {
	case errors.Is(err, guard.ErrForbidden):
		return "whose server must not be called"
	case errors.Is(err, signing.ErrSignature), errors.Is(err, repo.ErrCorrupt), errors.Is(err, accounts.ErrAnswer), errors.Is(err, accounts.ErrCID), errors.Is(err, accounts.ErrPath),
		errors.Is(err, dagcbor.ErrOutsideModel):
		return "whose server's answer is not sound"
	case errors.Is(err, accounts.ErrBound), errors.Is(err, xrpc.ErrTooLarge):
		return "whose repository is too large"
	case errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 && refused.Status != 429:
		return "whose server refuses"
	}
	return ""
}

// read reads the wanted records of an account: by lists, or the whole repository.
func (f *accountsFetch) read(ctx context.Context, a *account) error {
	var some []accounts.Record
	hand := func() error {
		if len(some) == 0 {
			return nil
		}
		select {
		case a.records <- some:
			some = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	yield := func(r accounts.Record) error {
		if !plainPath(r.DID, r.Collection, r.RKey) {
			a.skipped++
			return nil
		}
		if some = append(some, r); len(some) < perChunk {
			return nil
		}
		return hand()
	}
	held := len(a.alive)
	collections := f.order.Filter.Collections
	if len(collections) == 0 || len(collections) > listMost || slices.ContainsFunc(collections, isWildcard) {
		of, out, err := f.opt.Network.Collections(ctx, a.did)
		if a.state = out.State; err != nil || a.state != accounts.Active {
			return err
		}
		for path := range a.alive { // that a collection is not named proves nothing of its records
			of = append(of, path.Collection)
		}
		slices.Sort(of)
		collections = slices.DeleteFunc(slices.Compact(of), func(c string) bool { return !f.matcher.Wants(messages.KindCommit, []byte(a.did), []byte(c)) })
	}
	if len(collections) > listMost {
		if err := f.repository(ctx, a, collections, yield); err != nil || a.state != accounts.Active {
			return err
		}
		return hand()
	}
	whole, err := f.list(ctx, a, collections, yield)
	if err != nil || a.state != accounts.Active {
		return err
	}
	if err := f.compare(ctx, a, collections, whole, held, yield); err != nil || a.state != accounts.Active {
		return err
	}
	return hand()
}

// list lists collections, each as far back as the gap and the records believed alive. It returns
// those that were read so far, and which came to their end by themselves.
func (f *accountsFetch) list(ctx context.Context, a *account, collections []string, yield func(accounts.Record) error) (map[string]bool, error) {
	whole := map[string]bool{}
	for _, c := range collections {
		since := f.from.Add(accounts.Slack) // the list goes on for the slack by itself
		for _, r := range a.alive {
			if r.Collection != c {
				continue
			}
			at, ok := accounts.KeyTime(r.RKey)
			if !ok {
				at = since.UTC().AddDate(-100, 0, 0)
			}
			if at.Before(since) {
				since = at
			}
		}
		listing, err := f.opt.Network.List(ctx, a.did, c, accounts.ListOptions{Since: since,
			Saw: func(rkey string) { delete(a.alive, accounts.Path{Collection: c, RKey: rkey}) }}, yield)
		if a.state = listing.State; err != nil || a.state != accounts.Active {
			return nil, err
		}
		a.skipped += listing.Skipped
		if !listing.Complete() {
			a.partial++
			continue
		}
		whole[c] = listing.End == accounts.EndOfList && listing.Skipped == 0
	}
	return whole, nil
}
