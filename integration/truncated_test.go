package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"tempestd/messages"
)

// The loss of the newest entries by damage is detected, and the entries are fetched again.
func TestTruncatedLogIsRefetched(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(*daemon)
		told bool // the checkpoint is newer than the damage, and reports it
	}{
		{"kill", func(d *daemon) { d.kill() }, false},
		{"stop", (*daemon).stop, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sim := simulate(t, 2000)
			d := newDaemon(t, sim.url(), nil)
			d.startLive()
			d.awaitStored(5000)
			tt.end(d)
			logs, err := filepath.Glob(filepath.Join(d.data, "store", "streams", feed, "*.seg"))
			if err != nil || len(logs) == 0 {
				t.Fatalf("no segment in the store: %v", err)
			}
			damageNewest(t, logs)
			d.start()
			if tt.told {
				lost := d.await("store.truncated")
				t.Logf("lost from %s to %s", lost.text("found"), lost.text("expected"))
			}
			d.await("feed.live")
			d.exact(sim)
		})
	}
}

// damageNewest changes eight bytes of the newest block, in the newest segment that has any block.
func damageNewest(t *testing.T, segments []string) {
	t.Helper()
	slices.Sort(segments)
	for _, path := range slices.Backward(segments) {
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if end := len(bytes.TrimRight(log, "\x00")); end > 512 { // allocated beyond its end
			for i := range 8 {
				log[end-100+i] ^= 0xa5
			}
			overwrite(t, path, log)
			return
		}
	}
	t.Fatal("no segment has a block")
}

// Entries that are lost inside the stream are fetched again and appended at its end. Readers get an
// error at the place of the loss.
func TestI4_WhatDamageTakesIsFetchedAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(t *testing.T, segments []string)
		gap    bool
	}{
		{"a block", func(t *testing.T, segments []string) { flipAt(t, segments[0], 0.5) }, false},
		// After the loss of the first segment nothing says what it held.
		{"the first segment", func(t *testing.T, segments []string) { remove(t, segments[0]) }, true},
		{"the second segment", func(t *testing.T, segments []string) { remove(t, segments[1]) }, false},
		{"half of the second", func(t *testing.T, segments []string) { cutToHalf(t, segments[1]) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 500)
			truth := watch(t, sim)
			d := newDaemon(t, sim.url(), nil)
			for range 3 { // every start begins a segment
				d.startLive()
				d.awaitStored(1500)
				if truth.from == 0 {
					truth.from = truth.firstOf(d)
				}
				d.kill()
			}
			segments, err := filepath.Glob(filepath.Join(d.data, "store", "streams", feed, "*.seg"))
			if err != nil || len(segments) < 3 {
				t.Fatalf("%v, %v", segments, err)
			}
			slices.Sort(segments)
			tt.damage(t, segments)
			d.startLive()
			d.awaitStored(100)
			d.catchUp(sim)
			var untold, twice, gaps int
			eventually(t, "everything is stored or told", func() bool {
				untold, twice, gaps = truth.compare(d.readable())
				return untold == 0
			})
			t.Logf("%d events, %d twice, %d gaps", len(truth.all()), twice, gaps)
			if twice > 0 || (gaps > 0) != tt.gap {
				t.Errorf("%d events are twice in the stream, %d gaps", twice, gaps)
			}
		})
	}
}

// firstOf returns the number of the stream's first event.
func (w *truth) firstOf(d *daemon) int64 {
	w.t.Helper()
	for b, err := range d.entries() {
		var e seen
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return e.Cursor
	}
	w.t.Fatal("the stream is empty")
	return 0
}

// compare returns how many events, from the stream's first one on, are neither in the stream nor
// inside a gap entry; how many are in the stream twice; and the number of gap entries.
func (w *truth) compare(entries iter.Seq2[[]byte, error]) (untold, twice, gaps int) {
	w.t.Helper()
	stored := map[int64]int{}
	var told []messages.Gap
	for b, err := range entries {
		if err != nil {
			w.t.Fatal(err)
		}
		var e struct {
			seen
			Gap messages.Gap
		}
		if err := json.Unmarshal(b, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Kind == "gap" {
			told = append(told, e.Gap)
			continue
		}
		if stored[e.Cursor]++; stored[e.Cursor] == 2 {
			twice++
		}
	}
	for _, e := range w.all() {
		if stored[e.Cursor] == 0 && e.Cursor >= w.from && !slices.ContainsFunc(told, func(g messages.Gap) bool { return g.FromUS <= e.TimeUS && e.TimeUS <= g.ToUS }) {
			untold++
		}
	}
	return untold, twice, len(told)
}

// readable yields the stream's entries except those of damaged blocks.
func (d *daemon) readable() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		after := "0-0"
		for {
			page, err := d.Tail(d.t.Context(), feed, after, 0, 1000, messages.ConsumerFilter{})
			if corrupt := corruptBlock.FindStringSubmatch(fmt.Sprint(err)); corrupt != nil {
				after = corrupt[1]
				continue
			}
			if err != nil || len(page.Entries) == 0 {
				if err != nil {
					yield(nil, err)
				}
				return
			}
			for _, f := range page.Entries {
				if !yield(f.Event, nil) {
					return
				}
				after = f.ID.String()
			}
		}
	}
}

var corruptBlock = regexp.MustCompile(`the block that ends with (\d+-\d+) is corrupt`)

func flipAt(t *testing.T, path string, part float64) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := int(part * float64(len(bytes.TrimRight(log, "\x00"))))
	for i := range 8 {
		log[at+i] ^= 0xa5
	}
	overwrite(t, path, log)
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func cutToHalf(t *testing.T, path string) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, log[:len(bytes.TrimRight(log, "\x00"))/2])
}
