package backfill

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"tempestd/internal/accounts"
)

// fewGone is how many deletes of an account are taken from its lists. Where they show more, and hide
// most of what the stream holds, the lists are more likely wrong than the records deleted.
const fewGone = 10

// compare finds out which of the records believed alive are gone, after the lists of collections.
// whole has those that were read as far as was asked for, and says which came to their end by
// themselves.
//
// Only such a list proves that a record is not there. One that was left where its keys became too old
// has passed the record's place, if its order was sound: the server is asked for that record. Where
// the lists hide much, or a record that is there, the whole repository is read, which is signed.
func (f *accountsFetch) compare(ctx context.Context, a *account, collections []string, whole map[string]bool, held int, yield func(accounts.Record) error) error {
	var passed []AliveRecord
	for _, r := range a.alive {
		switch ended, known := whole[r.Collection]; {
		case ended:
			a.gone = append(a.gone, r)
		case known:
			passed = append(passed, r)
		}
	}
	found := len(a.gone) + len(passed)
	sound := len(passed) <= fewGone && (found <= fewGone || 2*found <= held)
	for i := 0; sound && i < len(passed); i++ {
		r, out, err := f.opt.Network.Record(ctx, a.did, passed[i].Path)
		if a.state = out.State; a.state != accounts.Active || err != nil && lasting(err) == "" {
			return err
		}
		sound = r == nil && err == nil
	}
	if sound {
		a.gone = append(a.gone, passed...)
		return nil
	}
	a.gone = nil
	err := f.repository(ctx, a, collections, yield)
	switch {
	case err == nil:
		a.partial = 0 // what the lists lacked is here
	case lasting(err) != "":
		a.doubted = found
		return nil
	}
	return err
}

// repository reads the wanted collections of a whole repository.
func (f *accountsFetch) repository(ctx context.Context, a *account, collections []string, yield func(accounts.Record) error) error {
	stale := func(rev string) error {
		if latest := f.latest[a.did]; rev < latest {
			return fmt.Errorf("%w: a repository of %.40s, whose latest commit was %s", accounts.ErrAnswer, rev, latest)
		}
		return nil
	}
	wanted := func(path accounts.Path) bool {
		delete(a.alive, path)
		return slices.Contains(collections, path.Collection)
	}
	d, err := f.opt.Network.Repository(ctx, a.did, wanted, func(r accounts.Record) error {
		if err := stale(r.Rev); err != nil {
			return err
		}
		return yield(r)
	})
	a.skipped += d.Skipped
	if a.state = d.State; err != nil || a.state != accounts.Active {
		return err
	}
	if err := stale(d.Rev); err != nil {
		return err
	}
	a.gone = slices.Collect(maps.Values(a.alive))
	return nil
}

// deletes hands over the deletes of the records that are gone. What has happened to a record
// meanwhile is no delete within the gap.
func (f *accountsFetch) deletes(ctx context.Context, a *account, records HeldRecords) error {
	if len(a.gone) == 0 {
		return nil
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	if err := records.Refresh(ctx); err != nil {
		return err
	}
	slices.SortFunc(a.gone, func(x, y AliveRecord) int { return x.At.Compare(y.At) })
	now := f.opt.Clock.Now().UnixMicro()
	for _, r := range a.gone {
		if !records.StillAlive(a.did, r) {
			continue
		}
		if err := f.compared(ctx, records); err != nil {
			return err
		}
		if err := f.add(ctx, func(dst []byte) []byte { return appendDelete(dst, a.did, r.Path, now) }); err != nil {
			return err
		}
	}
	return nil
}
