package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// repairing makes the feed repair its gaps from the sources.
func repairing(r *rig, policy config.GapPolicy, sources ...messages.GapSource) {
	r.cfg.Repair = true
	r.cfg.Feeds[0].Repair = config.Repair{Policy: policy, Sources: sources}
}

// away stops the daemon for longer than the replay window, while n events are published.
func (r *rig) away(n int) {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
	r.up.publish(n)
	r.after(13 * time.Hour)
	r.start()
	r.after(time.Second)
	r.up.publish(7)
}

// row is the only row of the ledger.
func (r *rig) row() messages.GapRow {
	r.t.Helper()
	rows, err := memStream{s: r.store}.Gaps(context.Background())
	if err != nil || len(rows) != 1 {
		r.t.Fatalf("%d rows, %v", len(rows), err)
	}
	return rows[0]
}

// wantRepaired fails unless the stream holds the wanted events once, those that a repair brought
// with their mark, and a closing entry if the row is closed.
func (r *rig) wantRepaired(row messages.GapRow, want ...int) {
	r.t.Helper()
	seen := map[int]bool{}
	closed := 0
	for _, e := range r.store.all() {
		if bytes.Contains(e, []byte(`"kind":"gap"`)) {
			if bytes.Contains(e, fmt.Appendf(nil, `"gap":{"id":%q,"state":%q`, row.ID, row.State)) {
				closed++
			}
			continue
		}
		m := rkey.FindSubmatch(e)
		n, err := strconv.Atoi(string(m[1]))
		if err != nil || seen[n] {
			r.t.Fatalf("twice: %s", e)
		}
		seen[n] = true
	}
	for _, n := range want {
		if !seen[n] {
			r.t.Errorf("event %d is missing", n)
		}
		delete(seen, n)
	}
	if len(seen) > 0 {
		r.t.Errorf("%d events too many", len(seen))
	}
	if row.State.Final() != (closed == 1) {
		r.t.Errorf("state %s, %d closing entries", row.State, closed)
	}
}

// upTo is the numbers from…to.
func upTo(from, to int) (all []int) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

func TestI2_I4_AGapIsRepairedFromTheSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { repairing(r, config.GapsRepair, messages.SourceSocket) })
		r.up.publish(100)
		r.after(time.Minute)
		r.away(5000)
		r.after(2 * time.Minute)
		row := r.row()
		if row.State != messages.GapRepaired || row.Source != messages.SourceSocket || row.Recovered != 5000 {
			t.Fatalf("%+v", row)
		}
		r.wantRepaired(row, upTo(1, 5107)...)
		if s := r.status(); s.State != messages.StateLive {
			t.Fatalf("state %s", s.State)
		}
	})
}

// scripted is a source that does what its script says, one step an attempt. The last is repeated.
type scripted struct {
	name  messages.GapSource
	steps []step
	tries int
	from  []string // the progress that each attempt began with
}

// step hands over events, and then ends with a result.
type step struct {
	from, to int // numbers of the events
	result   backfill.Result
	err      func() error
	hang     bool // until it is cancelled
	delay    time.Duration
}

func (s *scripted) Name() messages.GapSource { return s.name }

func (s *scripted) Price(context.Context, backfill.Order) (backfill.Price, error) {
	return backfill.Price{Bytes: 4711, Requests: 3}, nil
}

func (s *scripted) Fetch(ctx context.Context, o backfill.Order, deliver backfill.Deliver) (backfill.Result, error) {
	do := s.steps[min(s.tries, len(s.steps)-1)]
	s.tries++
	s.from = append(s.from, string(o.Row.Progress))
	b := &messages.Batch{}
	time.Sleep(do.delay)
	o.Tell(backfill.Progress{Bytes: int64(1000 * s.tries)})
	for n := do.from; n > 0 && n <= do.to; n++ {
		e := messages.Event{Off: uint32(len(b.Buf))}
		b.Buf = append(b.Buf, eventAt(n, int64(n), time.UnixMicro(o.Row.FromUS+int64(n))).json...)
		e.Len = uint32(len(b.Buf)) - e.Off
		if err := jetstream.Scan(b.Buf[e.Off:], &e); err != nil {
			return backfill.Result{}, err
		}
		b.Events = append(b.Events, e)
		if len(b.Events) < 10 && n < do.to {
			continue
		}
		var err error
		if b, err = deliver(ctx, b, json.RawMessage(strconv.Itoa(n))); err != nil {
			return backfill.Result{}, err
		}
	}
	if do.hang {
		<-ctx.Done()
		return backfill.Result{}, context.Cause(ctx)
	}
	if do.err != nil {
		return backfill.Result{}, do.err()
	}
	return do.result, nil
}

func failing(err error) func() error { return func() error { return err } }

func TestRepairs(t *testing.T) {
	lack := backfill.Result{LackFromUS: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC).UnixMicro(), LackToUS: time.Date(2026, 8, 1, 13, 0, 0, 0, time.UTC).UnixMicro()}
	soon := func() error { return &backfill.WaitError{Until: time.Now().Add(time.Hour), Why: "quota"} }
	for _, c := range []struct {
		name    string
		sources []*scripted
		state   messages.GapState
		want    int // events of the gap, from 101 on
		why     string
		missing string
	}{
		{"everything", []*scripted{{name: messages.SourceSocket, steps: []step{{from: 101, to: 150}}}}, messages.GapRepaired, 50, "", ""},
		{"what it cannot give is said", []*scripted{{name: messages.SourceArchive, steps: []step{{from: 101, to: 150, result: backfill.Result{Missing: "versions"}}}}},
			messages.GapRepaired, 50, "", "versions"},
		{"the rest from the next", []*scripted{
			{name: messages.SourceSocket, steps: []step{{from: 121, to: 150, result: lack}}},
			{name: messages.SourceArchive, steps: []step{{from: 101, to: 125}}}}, messages.GapRepaired, 50, "", ""},
		{"what could not be read from the next", []*scripted{
			{name: messages.SourceAccounts, steps: []step{{from: 101, to: 120, result: backfill.Result{Unread: true}}}},
			{name: messages.SourceArchive, steps: []step{{from: 101, to: 150}}}}, messages.GapRepaired, 50, "", ""},
		{"what could not be read from anywhere", []*scripted{{name: messages.SourceArchive, steps: []step{{from: 121, to: 150, result: backfill.Result{Unread: true, Missing: "some"}}}}},
			messages.GapPartly, 0, "archive: not everything could be read", "some"},
		{"nobody has the rest", []*scripted{{name: messages.SourceSocket, steps: []step{{from: 121, to: 150, result: lack}}}},
			messages.GapPartly, 0, "socket has nothing from", "everything from 2026-08-01T12:00:00Z"},
		{"nobody has any of it", []*scripted{
			{name: messages.SourceSocket, steps: []step{{err: failing(backfill.ErrNothing)}}},
			{name: messages.SourceArchive, steps: []step{{err: failing(backfill.ErrPermanent)}}}}, messages.GapUnrepairable, 0, "archive: refused", ""},
		{"failures, and then", []*scripted{{name: messages.SourceSocket, steps: []step{
			{from: 101, to: 120, err: failing(errLost)}, {err: failing(errLost)}, {from: 115, to: 150}}}}, messages.GapRepaired, 50, "", ""},
		{"the next one after failures", []*scripted{
			{name: messages.SourceSocket, steps: []step{{err: failing(errLost)}}},
			{name: messages.SourceArchive, steps: []step{{from: 101, to: 150}}}}, messages.GapRepaired, 50, "", ""},
		{"it waits", []*scripted{{name: messages.SourceArchive, steps: []step{{from: 101, to: 120, err: soon}, {from: 121, to: 150}}}},
			messages.GapRepaired, 50, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.sources = map[messages.GapSource]backfill.Source{}
					var names []messages.GapSource
					for _, s := range c.sources {
						r.sources[s.name] = s
						names = append(names, s.name)
					}
					repairing(r, config.GapsRepair, names...)
				})
				r.up.publish(100)
				r.after(time.Minute)
				r.away(50)
				r.after(6 * time.Hour)
				row := r.row()
				if row.State != c.state || !strings.Contains(row.Why, c.why) || !strings.Contains(row.Missing, c.missing) || c.why == "" && row.Why != "" {
					t.Errorf("%+v", row)
				}
				want := append(upTo(1, 100), upTo(151, 157)...)
				if c.want > 0 {
					want = upTo(1, 157)
				} else if c.state == messages.GapPartly {
					want = append(want, upTo(121, 150)...)
				}
				r.wantRepaired(row, want...)
				if entries, err := entryOrder(r); err != nil {
					t.Error(err, entries)
				}
			})
		})
	}
}

// entryOrder checks I3: the IDs of the stream rise.
func entryOrder(r *rig) (n int, err error) {
	var last messages.EntryID
	for _, b := range r.store.blocks {
		if b.appended.First.Compare(last) <= 0 {
			return n, fmt.Errorf("%v stands behind %v", b.appended.First, last)
		}
		last = b.appended.Last
		n++
	}
	return n, nil
}

// publishAgain sends the events from…to again, with numbers and times of their own.
func (u *upstream) publishAgain(from, to int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n := from; n <= to; n++ {
		u.events = append(u.events, newUpstreamEvent(n, int64(len(u.events)+1)))
	}
	close(u.changed)
	u.changed = make(chan struct{})
}

// Events that come live while a gap is repaired, and that the source has too, are stored once,
// whoever is first.
func TestI2_WhatComesBesideARepairIsStoredOnce(t *testing.T) {
	for name, live := range map[string]func(r *rig){
		"live, before the repair": func(r *rig) {
			r.after(10 * time.Second)
			r.up.publishAgain(101, 120)
			r.after(time.Hour)
		},
		"again, after the repair": func(r *rig) {
			r.after(time.Hour)
			r.up.publishAgain(101, 120)
			r.after(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &scripted{name: messages.SourceArchive, steps: []step{{from: 101, to: 150, delay: time.Minute}}}
				r := newRig(t, func(r *rig) {
					r.cfg.Feeds[0].Dedupe = "always"
					r.sources = map[messages.GapSource]backfill.Source{source.name: source}
					repairing(r, config.GapsRepair, source.name)
				})
				r.up.publish(100)
				r.after(time.Minute)
				r.away(50)
				r.after(time.Second)
				if row := r.row(); row.State != messages.GapRepairing || row.Recovered != 0 {
					t.Fatalf("%+v", row)
				}
				live(r)
				row := r.row()
				if row.State != messages.GapRepaired || row.Recovered+row.Held != 50 {
					t.Errorf("%+v", row)
				}
				r.wantRepaired(row, upTo(1, 157)...)
			})
		})
	}
}

func TestOperatorsDecideAboutGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{name: messages.SourceArchive, steps: []step{{from: 101, to: 150}}}
		r := newRig(t, func(r *rig) {
			r.sources = map[messages.GapSource]backfill.Source{source.name: source}
			repairing(r, config.GapsRecord, source.name)
		})
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Hour)
		row := r.row()
		if row.State != messages.GapOpen || source.tries != 0 {
			t.Fatalf("%+v", row)
		}
		if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: "none"}); !errors.Is(err, messages.ErrNoGap) {
			t.Fatalf("got %v", err)
		}
		answer, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: row.ID, DryRun: true})
		if err != nil || !slices.Equal(answer.Offers, []messages.GapOffer{{Source: source.name, Bytes: 4711, Requests: 3}}) || source.tries != 0 {
			t.Fatalf("%+v, %v", answer, err)
		}
		if _, err := r.daemon.DismissGap(t.Context(), feedName, messages.DismissGap{ID: row.ID, Why: "known outage"}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Second)
		if row := r.row(); row.State != messages.GapUnrepairable || row.Why != "dismissed by an operator: known outage" {
			t.Fatalf("%+v", row)
		}
		if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: row.ID}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Minute)
		if row := r.row(); row.State != messages.GapRepaired || row.Recovered != 50 {
			t.Fatalf("%+v", row)
		}
		r.wantRepaired(r.row(), upTo(1, 157)...)
	})
}

func TestAFeedStopsAtAGapUntilAnOperatorDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{name: messages.SourceArchive, steps: []step{{from: 101, to: 150}}}
		r := newRig(t, func(r *rig) {
			r.sources = map[messages.GapSource]backfill.Source{source.name: source}
			repairing(r, config.GapsStop, source.name)
		})
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Hour)
		if s := r.status(); s.State != messages.StatePaused || !strings.Contains(s.Reason, r.row().ID) {
			t.Fatalf("state %s: %s", s.State, s.Reason)
		}
		if err := r.daemon.Resume(t.Context(), feedName); !errors.Is(err, messages.ErrNotNow) {
			t.Fatalf("got %v", err)
		}
		if err := r.stop(); err != nil { // a restart forgets nothing
			t.Fatal(err)
		}
		r.start()
		r.after(time.Minute)
		if s := r.status(); s.State != messages.StatePaused {
			t.Fatalf("state %s: %s", s.State, s.Reason)
		}
		if _, err := r.daemon.RepairGap(t.Context(), feedName, messages.RepairGap{ID: r.row().ID}); err != nil {
			t.Fatal(err)
		}
		r.after(time.Minute)
		if row, s := r.row(), r.status(); row.State != messages.GapRepaired || s.State != messages.StateLive {
			t.Fatalf("%+v, state %s: %s", row, s.State, s.Reason)
		}
		r.wantRepaired(r.row(), upTo(1, 157)...)
	})
}

// The gap's own host is away for good, and the clock of the other one differs.
func TestI2_AGapIsRepairedFromAnotherHostsSocket(t *testing.T) {
	for _, skew := range []time.Duration{-5 * time.Second, 0, 10 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					repairing(r, config.GapsRepair, messages.SourceSocket)
					r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
					r.up.skew = map[string]time.Duration{"127.0.0.2:6008": skew}
				})
				// A host that is asked for a time sends something of that time. Nothing tells when the last
				// event was read, so the gap begins ten minutes before it.
				for range 600 {
					r.up.publish(1)
					r.after(1500 * time.Millisecond)
				}
				r.up.set(func() { r.up.refuse = r.up.firstIsAway })
				r.away(3000)
				r.after(10 * time.Minute)
				row := r.row()
				if row.State != messages.GapRepaired || row.Host != "127.0.0.2:6008" {
					t.Fatalf("%+v", row)
				}
				r.wantRepaired(row, upTo(1, 3607)...)
			})
		})
	}
}

// Gap entries of a version without a ledger get their rows, and are repaired.
func TestI4_GapsOfEarlierVersionsAreFoundAndRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { repairing(r, config.GapsRecord, messages.SourceSocket) })
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Minute)
		was := r.row()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.store.set(func() {
			r.store.gaps, r.store.cp.Gaps, r.store.cp.Ledger, r.store.saved = nil, nil, false, nil
			for i := range r.store.blocks {
				for j, e := range r.store.blocks[i].events {
					r.store.blocks[i].events[j] = bytes.Replace(e, fmt.Appendf(nil, `"id":%q,`, was.ID), nil, 1)
				}
			}
		})
		r.cfg.Feeds[0].Repair.Policy = config.GapsRepair
		r.start()
		r.after(time.Minute)
		row := r.row()
		if row.ID != was.ID || row.State != messages.GapRepaired || row.Recovered != 50 || row.Entry != was.Entry {
			t.Fatalf("%+v, was %+v", row, was)
		}
		r.wantRepaired(row, upTo(1, 157)...)
		if !r.store.cp.Ledger {
			t.Fatal("the next start would search again")
		}
	})
}

// Gap entries with an ID had their rows: where those are gone, the ledger has dropped them.
func TestI4_OnlyGapsOfEarlierVersionsAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { repairing(r, config.GapsRepair, messages.SourceSocket) })
		r.up.publish(100)
		r.after(time.Minute)
		r.away(50)
		r.after(time.Minute)
		if row := r.row(); row.State != messages.GapRepaired {
			t.Fatalf("%+v", row)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.store.set(func() { r.store.gaps, r.store.cp.Gaps, r.store.cp.Ledger, r.store.saved = nil, nil, false, nil })
		r.start()
		r.after(time.Minute)
		r.up.publish(1)
		r.after(time.Minute)
		if rows, err := (memStream{s: r.store}).Gaps(t.Context()); err != nil || len(rows) > 0 || !r.store.cp.Ledger {
			t.Errorf("%+v, %v", rows, err)
		}
	})
}
