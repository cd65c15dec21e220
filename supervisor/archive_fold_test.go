package supervisor_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// fold is what events come to: each record's last CID by account and path, and every marker and
// deletion. Deleted accounts and records are gone; a sync begins its repository anew.
type fold struct {
	records map[string]string
	markers []string
}

// foldOf folds events in the order of their numbers.
func foldOf(t *testing.T, events [][]byte) fold {
	t.Helper()
	type event struct {
		DID, Kind string
		Cursor    int64
		Commit    struct{ Operation, Collection, RKey, CID string }
		Account   struct{ Status string }
		Repair    struct{ Gap string }
	}
	var all []event
	for _, line := range events {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind != "gap" {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b event) int { return cmp.Compare(a.Cursor, b.Cursor) })
	f := fold{records: map[string]string{}}
	for i, e := range all {
		if i > 0 && all[i-1].Cursor == e.Cursor {
			t.Fatalf("event %d is there twice", e.Cursor)
		}
		path := e.DID + "/" + e.Commit.Collection + "/" + e.Commit.RKey
		begins := e.Kind == "sync" || e.Account.Status == "deleted"
		if begins {
			maps.DeleteFunc(f.records, func(path, _ string) bool { return len(path) > len(e.DID) && path[:len(e.DID)+1] == e.DID+"/" })
		}
		switch {
		case e.Kind != "commit":
			f.markers = append(f.markers, fmt.Sprintf("%d %s %s", e.Cursor, e.Kind, e.DID))
		case e.Commit.Operation == "delete":
			f.markers = append(f.markers, fmt.Sprintf("%d delete %s", e.Cursor, path))
			delete(f.records, path)
		default:
			f.records[path] = e.Commit.CID
		}
	}
	return f
}

// The archive is compacted between a gap and its repair, and again in the middle of it. What the
// stream comes to is what everything that was sent comes to: no record, deletion or marker differs.
func TestI2_I4_ACompactionTakesNothingFromWhatARepairComesTo(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newArchived(t, jetsim.Options{Seed: seed, Accounts: 40}, func(r *rig) { r.cfg.Feeds[0].Repair.Policy = config.GapsRecord })
				defer a.end()
				var sent [][]byte
				ctx, cancel := context.WithCancel(t.Context())
				followed := make(chan error, 1)
				go func() {
					followed <- a.sim.Follow(ctx, func(line []byte) error { sent = append(sent, bytes.Clone(line)); return nil })
				}()
				a.produce(10, 30)
				a.awayFor(60, 50)
				a.r.start()
				a.r.after(time.Second)
				a.produce(10, 60)
				a.inject(jetsim.FaultCompact)
				a.during(func(call string, n int) {
					if call == "getSegment" && n == 20 {
						a.inject(jetsim.FaultCompact)
					}
				})
				if _, err := a.r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: a.r.row().ID}); err != nil {
					t.Fatal(err)
				}
				a.r.after(10 * time.Minute)
				cancel()
				if err := <-followed; !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				row, report := a.r.row(), a.verify()
				got, want := foldOf(t, a.r.store.all()), foldOf(t, sent)
				t.Logf("%v; %d records, %d markers and deletions", report, len(want.records), len(want.markers))
				if row.State != messages.GapRepaired || report.Duplicated > 0 || report.Altered > 0 || report.Foreign > 0 || report.Lost == 0 {
					t.Errorf("%+v, %v", row, report) // with a compaction that took nothing, nothing was tested
				}
				if !maps.Equal(got.records, want.records) || !slices.Equal(got.markers, want.markers) {
					t.Errorf("%d records, %d markers and deletions, want %d and %d", len(got.records), len(got.markers), len(want.records), len(want.markers))
				}
			})
		})
	}
}
