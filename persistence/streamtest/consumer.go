package streamtest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"tempestd/persistence"
)

func testConsumers(t *testing.T, b Backend) {
	f := open(t, b)
	c, ctx := f.store, t.Context()

	_, err := c.Consumer(ctx, "feed", "a")
	expectError(t, "a consumer that is not there", err, persistence.ErrNoConsumer)
	_, err = c.Consumer(ctx, "none", "a")
	expectError(t, "a consumer of no stream", err, persistence.ErrNoStream)
	_, err = c.Consumer(ctx, "feed", "A b")
	expectError(t, "a bad name", err, persistence.ErrBadName)
	keep := func(_ time.Time, s *persistence.ConsumerState) (*persistence.ConsumerState, error) { return s, nil }
	_, err = c.UpdateConsumer(ctx, "none", "a", keep)
	expectError(t, "an update for no stream", err, persistence.ErrNoStream)
	if made, err := c.UpdateConsumer(ctx, "feed", "a", keep); made != nil || err != nil {
		t.Fatalf("nil in the place of nothing gave %v, %v", made, err)
	}
	all, err := c.Consumers(ctx, "feed")
	if must(t, err); len(all) != 0 {
		t.Fatalf("consumers %v, want none", all)
	}

	want := persistence.ConsumerState{
		CreatedAt: time.UnixMilli(1_700_000_000_123).UTC(), Acked: persistence.EntryID{MS: 1, Seq: 2}, Definition: []byte(`{"kinds":["commit"]}`),
		MovedAt: time.UnixMilli(1_700_000_001_000).UTC(),
		Lease:   persistence.ConsumerLease{Token: "t", Last: persistence.EntryID{MS: 3}, Until: time.UnixMilli(1_700_000_009_000).UTC(), Deliveries: 2},
	}
	for _, name := range []string{"b", "a", "a2"} {
		made, err := c.UpdateConsumer(ctx, "feed", name, func(now time.Time, s *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if s != nil || now.Sub(b.Now()).Abs() > time.Minute {
				t.Errorf("new consumer: state %v at %v", s, now)
			}
			made := want
			return &made, nil
		})
		if must(t, err); made.Name != name {
			t.Errorf("made %+v, want the name %s", made, name)
		}
	}
	refused := errors.New("refused")
	_, err = c.UpdateConsumer(ctx, "feed", "a", func(_ time.Time, s *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		s.Acked = persistence.EntryID{MS: 99}
		return s, refused
	})
	expectError(t, "an update that refuses", err, refused)

	f.reopen()
	c = f.store
	all, err = c.Consumers(ctx, "feed")
	must(t, err)
	for i, name := range []string{"a", "a2", "b"} {
		one, err := c.Consumer(ctx, "feed", name)
		must(t, err)
		expected := want
		expected.Name = name
		if len(all) != 3 || !sameConsumer(all[i], expected) || !sameConsumer(one, expected) {
			t.Errorf("consumer %s is %+v, listed as %+v", name, one, all)
		}
	}
	_, err = c.UpdateConsumer(ctx, "feed", "a", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) { return nil, nil })
	must(t, err)
	_, err = c.Consumer(ctx, "feed", "a")
	expectError(t, "a deleted consumer", err, persistence.ErrNoConsumer)
	if all, err = c.Consumers(ctx, "feed"); err != nil || len(all) != 2 {
		t.Errorf("after the deletion: %v, %v", all, err)
	}
}

func sameConsumer(a, b persistence.ConsumerState) bool {
	return a.Name == b.Name && a.CreatedAt.Equal(b.CreatedAt) && a.Acked == b.Acked && a.MovedAt.Equal(b.MovedAt) && string(a.Definition) == string(b.Definition) &&
		a.Lease.Token == b.Lease.Token && a.Lease.Last == b.Lease.Last && a.Lease.Until.Equal(b.Lease.Until) && a.Lease.Deliveries == b.Lease.Deliveries
}

// testConsumerUpdates changes one consumer from several goroutines at once. No change may overwrite
// another.
func testConsumerUpdates(t *testing.T, b Backend) {
	f := open(t, b)
	c, ctx := f.store, t.Context()
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				_, err := c.UpdateConsumer(ctx, "feed", "a", func(_ time.Time, s *persistence.ConsumerState) (*persistence.ConsumerState, error) {
					if s == nil {
						s = new(persistence.ConsumerState)
					}
					s.Acked.Seq++
					return s, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got, err := c.Consumer(ctx, "feed", "a")
	if must(t, err); got.Acked.Seq != workers*rounds {
		t.Errorf("%d changes are left of %d", got.Acked.Seq, workers*rounds)
	}
}
