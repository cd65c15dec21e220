package backfill_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tempestd/internal/atsim"
	"tempestd/internal/backfill"
	"tempestd/messages"
)

// What was created, changed and deleted within the gap comes back: the fold of the stream is what
// the accounts have, and a second fetch finds nothing.
func TestAccountsGiveBackWhatWasMissed(t *testing.T) {
	for name, collections := range map[string][]string{"everything": nil, "one by one": {"app.bsky.feed.post", "app.bsky.feed.like"}, "by a wildcard": {"app.bsky.feed.*"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3)
			dids := r.gap(20, 45)
			r.filter.Collections = collections
			before := r.stored
			result, err := r.fetch(r.accounts())
			if err != nil {
				t.Fatal(err)
			}
			if collections == nil {
				r.same(dids...)
			}
			if r.stored == before || !strings.Contains(result.Missing, "overtaken") {
				t.Errorf("%d stored, missing: %s", r.stored-before, result.Missing)
			}
			once := r.stored
			r.row.Progress = nil
			if _, err := r.fetch(r.accounts()); err != nil || r.stored != once {
				t.Errorf("the second fetch stored %d more, %v", r.stored-once, err)
			}
			t.Logf("%d stored, %v; %s", once-before, r.sim.Requests(), result.Missing)
		})
	}
}

// A fetch that ends at any batch goes on from its place, and stores nothing twice.
func TestI2_AccountsGoOnFromTheirPlace(t *testing.T) {
	r := newRig(t, 2)
	dids := r.gap(30, 30)
	cut := errors.New("cut")
	next := 0
	r.stop = func(stored int) error {
		if stored > next {
			next = stored + 7
			return cut
		}
		return nil
	}
	for tries := 0; ; tries++ {
		if tries > 1000 {
			t.Fatal("it does not come to its end")
		}
		_, err := r.fetch(r.accounts())
		if err == nil {
			break
		}
		if !errors.Is(err, cut) {
			t.Fatal(err)
		}
	}
	r.same(dids...)
	once := r.stored
	r.stop, r.row.Progress = nil, nil
	if _, err := r.fetch(r.accounts()); err != nil || r.stored != once {
		t.Errorf("%d more, %v", r.stored-once, err)
	}
}

func TestAccountsThatCannotBeAsked(t *testing.T) {
	r := newRig(t, 1)
	for want, change := range map[string]func(){
		"names no accounts":   func() { r.filter.DIDs = nil },
		"wants no commits":    func() { r.filter.Kinds = []string{"identity"} },
		"neither accounts":    func() { r.relay = r.sim.Relay() },
		"when the gap began":  func() { r.row.FromUS = 0 },
		"1 to 4 collections":  func() { r.relay, r.filter.Collections = r.sim.Relay(), []string{"app.bsky.*"} },
		"and no relay is con": func() { r.filter.Collections = []string{posts} },
	} {
		r.row.FromUS, r.relay = 1, ""
		r.filter.Kinds, r.filter.Collections, r.filter.DIDs = nil, nil, nil
		change()
		if _, err := r.fetch(r.accounts()); !errors.Is(err, backfill.ErrNothing) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := r.accounts().Price(t.Context(), r.order()); !errors.Is(err, backfill.ErrNothing) {
			t.Errorf("the price: %v", err)
		}
	}
}

func TestARelayKnowsWhoHasACollection(t *testing.T) {
	r := newRig(t, 2)
	r.gap(12, 30)
	r.relay, r.filter.DIDs, r.filter.Collections = r.sim.Relay(), nil, []string{posts}
	before := r.stored
	if _, err := r.fetch(r.accounts()); err != nil || r.stored == before {
		t.Errorf("%d stored, %v", r.stored-before, err)
	}
}

// A record came live after the gap, and the list does not show it: the list was read before, or the
// server is late to show it. That is no delete, which would come live as well.
func TestI2_ARecordThatCameLiveAfterTheGapIsNotDeleted(t *testing.T) {
	r := newRig(t, 1)
	dids := r.gap(1, 60)
	now := time.Now()
	late := atsim.Event{DID: dids[0], Time: now, Rev: atsim.TID(now, 1), Operation: "create", Collection: posts, RKey: atsim.TID(now, 1),
		Record: []byte(`{"$type":"app.bsky.feed.post","text":"late","createdAt":"2026-01-01T00:00:00Z"}`)}
	b := &messages.Batch{}
	put(t, b, line(t, late))
	r.append(b, false)
	if _, err := r.fetch(r.accounts()); err != nil {
		t.Fatal(err)
	}
	r.happens(false, late)
	r.same(dids...)
}
