package supervisor_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// A fetch that is cut short goes on at the place that is stored with the events.
func TestI2_ARepairGoesOnWhereItWas(t *testing.T) {
	cuts := map[string]func(r *rig){
		"daemon": func(r *rig) {
			if err := r.stop(); err != nil {
				r.t.Fatal(err)
			}
			r.start()
		},
		"pause": func(r *rig) {
			if err := r.daemon.Pause(r.t.Context(), feedName); err != nil {
				r.t.Fatal(err)
			}
			r.after(time.Minute)
			if err := r.daemon.Resume(r.t.Context(), feedName); err != nil {
				r.t.Fatal(err)
			}
		},
		"refused append": func(r *rig) {
			r.store.refuse("Appended", errors.New("odd"))
			r.up.publish(1)
			r.after(5 * time.Second)
			r.store.refuse("Appended", nil)
		},
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &scripted{name: messages.SourceSocket, steps: []step{{from: 101, to: 130, hang: true}, {from: 131, to: 150}}}
				r := newRig(t, func(r *rig) {
					r.sources = map[messages.GapSource]backfill.Source{source.name: source}
					repairing(r, config.GapsRepair, source.name)
				})
				r.up.publish(100)
				r.after(time.Minute)
				r.away(50)
				r.after(time.Minute)
				if row := r.row(); row.State != messages.GapRepairing || row.Recovered != 30 {
					t.Fatalf("%+v", row)
				}
				cut(r)
				r.after(10 * time.Minute)
				row := r.row()
				if row.State != messages.GapRepaired || row.Recovered != 50 || source.from[len(source.from)-1] != "130" {
					t.Fatalf("%+v after attempts from %q", row, source.from)
				}
				last := 157
				if name == "refused append" {
					last++
				}
				r.wantRepaired(row, upTo(1, last)...)
			})
		})
	}
}

// The short span that a legacy server left out goes first. The gap's fetch goes on after it.
func TestI2_ARepairIsInterruptedForWhatALegacyServerLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{name: messages.SourceSocket, steps: []step{{from: 101, to: 130, hang: true}, {from: 131, to: 150}}}
		r := newRig(t, func(r *rig) {
			r.up.legacy = true
			r.sources = map[messages.GapSource]backfill.Source{source.name: source}
			repairing(r, config.GapsRepair, source.name)
		})
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Minute)
		if row := r.row(); row.State != messages.GapRepairing {
			t.Fatalf("%+v", row)
		}
		r.up.last().fault <- errLost // the next connection begins with a replay, and a backfill follows
		r.after(5 * time.Minute)
		if r.events(observe.BackfillDone) == 0 {
			t.Fatal("no backfill came in between")
		}
		row := r.row()
		if row.State != messages.GapRepaired || source.tries < 2 {
			t.Fatalf("%+v after %d attempts", row, source.tries)
		}
		r.wantRepaired(row, upTo(1, 157)...)
	})
}

// An actor that fails in the middle of a repair begins again with what is stored.
func TestI2_ARepairOutlivesFaults(t *testing.T) {
	for _, point := range []string{"/writer *messages.AppendFetched", "/backfill *messages.FetchReady", "/backfill *messages.FetchDone",
		"/writer *messages.BeginFetch", "/writer *messages.EndFetch", "/writer *messages.ChangeGap", "/backfill.deliver", "/writer.stored"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &scripted{name: messages.SourceSocket, steps: []step{{from: 101, to: 150}}}
				var armed atomic.Bool // to strike once
				r := newRig(t, func(r *rig) {
					r.sources = map[messages.GapSource]backfill.Source{source.name: source}
					repairing(r, config.GapsRecord, source.name)
					r.fault = func(at string) {
						if strings.HasSuffix(at, point) && armed.CompareAndSwap(true, false) {
							panic("injected")
						}
					}
				})
				r.up.publish(100)
				r.after(time.Minute)
				r.away(50)
				r.after(time.Minute)
				armed.Store(true)
				if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: r.row().ID}); err != nil {
					t.Fatal(err)
				}
				r.after(10 * time.Minute)
				row := r.row()
				if row.State == messages.GapOpen { // the order was lost with the writer
					if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: row.ID}); err != nil {
						t.Fatal(err)
					}
					r.after(10 * time.Minute)
					row = r.row()
				}
				if row.State != messages.GapRepaired || armed.Load() {
					t.Fatalf("not struck: %v, %+v", armed.Load(), row)
				}
				r.wantRepaired(row, upTo(1, 157)...)
			})
		})
	}
}

// The backfill actor fails while the index of its repair is loaded, which takes long, and numbers its
// repairs anew. The former index knows nothing of what has come live since.
func TestI2_AnIndexOfAFormerRepairIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former, present := make(chan struct{}), make(chan struct{})
		source := &scripted{name: messages.SourceArchive, steps: []step{{from: 101, to: 150}}}
		var armed atomic.Bool
		r := newRig(t, func(r *rig) {
			r.sources = map[messages.GapSource]backfill.Source{source.name: source}
			repairing(r, config.GapsRecord, source.name)
			r.fault = func(at string) {
				if strings.HasSuffix(at, "/backfill *messages.RepairGap") && armed.CompareAndSwap(true, false) {
					panic("injected")
				}
			}
		})
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Minute)
		id := r.row().ID
		r.store.set(func() { r.store.indexes = []chan struct{}{former, present} })
		if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: id}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Second)
		r.up.publishAgain(101, 120)
		r.after(time.Second)
		armed.Store(true)
		if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: id}); err == nil {
			t.Error("the actor that failed has answered")
		}
		r.after(time.Minute)
		if armed.Load() {
			t.Fatal("it did not fail")
		}
		r.store.set(func() {
			if len(r.store.indexes) > 0 {
				t.Error("no second index is loaded")
			}
		})
		close(former)
		r.after(time.Minute)
		close(present)
		r.after(time.Minute)
		seen := map[string]int{}
		for _, e := range r.store.all() {
			if key := string(rkey.Find(e)); key != "" {
				seen[key]++
			}
		}
		for key, n := range seen {
			if n != 1 {
				t.Errorf("%s is stored %d times", key, n)
			}
		}
		if len(seen) != 157 {
			t.Errorf("%d events", len(seen))
		}
	})
}
