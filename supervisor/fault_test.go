package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// otherFeed is the feed that a fault of the first feed must not affect.
const otherFeed = "other"

// faultRig is a daemon of two feeds, each with its own upstream, on a shared store. So every kind
// of actor runs.
type faultRig struct {
	*rig
	other *upstream
	first *store // of the first feed
	// dialed counts the other feed's dials before a fault can strike.
	dialed int
	end    context.CancelFunc // ends the publishing
}

// newFaultRig starts the rig after a first run without a fault, so that the feeds have a position.
// The first feed's upstream is a legacy one if backfills should run.
func newFaultRig(t *testing.T, legacy bool, fault actors.Fault) *faultRig {
	f := &faultRig{other: newUpstream()}
	leases := newLeaseStore()
	f.first = leases.stream(feedName)
	f.rig = newRig(t, func(r *rig) {
		sharing(leases, "one")(r)
		r.cfg.HA.Enabled = true
		r.node.Streams = []string{feedName, otherFeed}
		second := r.cfg.Feeds[0]
		second.Name, second.Endpoints = otherFeed, endpoints("ws://127.0.0.9:6008/subscribe")
		r.cfg.Feeds = append(r.cfg.Feeds, second)
		r.up.legacy = legacy
		r.dial = func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
			if strings.HasPrefix(req.Endpoint.Host(), "127.0.0.9") {
				return f.other.dial(ctx, req)
			}
			return r.up.dial(ctx, req)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	f.end = cancel
	t.Cleanup(func() { cancel(); synctest.Wait() })
	// Events that are published before the first connection belong to no feed.
	for f.up.dialCount() == 0 || f.other.dialCount() == 0 {
		f.after(time.Second)
	}
	go f.up.every(ctx, 100*time.Millisecond)
	go f.other.every(ctx, 300*time.Millisecond)
	f.after(10 * time.Second)
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	f.dialed = f.other.dialCount()
	f.fault = fault
	f.start()
	return f
}

// life is a run of the daemon in which a fault may strike. It uses everything that the actors do.
func (f *faultRig) life() {
	f.after(40 * time.Second) // both feeds have settled owners
	commits := config.Feed{Name: feedName, Collections: []string{"app.bsky.feed.post"}}
	_ = f.daemon.UpdateFilter(context.Background(), commits)
	f.after(10 * time.Second)
	select {
	case f.up.last().fault <- errLost:
	default:
	}
	f.after(30 * time.Second)
	_ = f.daemon.Reconnect(context.Background(), feedName)
	f.after(10 * time.Second)
	_ = f.daemon.Pause(context.Background(), feedName)
	f.after(5 * time.Second)
	_ = f.daemon.Resume(context.Background(), feedName)
	_ = f.daemon.Healthy(context.Background())
	f.daemon.Ready(context.Background())
	f.after(40 * time.Second)
	f.up.last().set(true, true) // a half-open socket
	f.after(40 * time.Second)
}

var eventKey = regexp.MustCompile(`"rkey":"(k\d+)"`)

// keysOf lists the keys of the events, without the gap entries.
func keysOf(events [][]byte) (keys []string) {
	for _, e := range events {
		if m := eventKey.FindSubmatch(e); m != nil {
			keys = append(keys, string(m[1]))
		}
	}
	return keys
}

// unlike says how the stored events differ from the published ones, "" for no difference.
func unlike(u *upstream, s *store) string {
	published := map[string]int{}
	u.mu.Lock()
	for _, e := range u.events {
		published[keysOf([][]byte{e.json})[0]]++
	}
	u.mu.Unlock()
	lost, doubled := len(published), 0
	for _, k := range keysOf(s.all()) {
		switch published[k]--; {
		case published[k] == 0:
			lost--
		case published[k] < 0:
			doubled++
		}
	}
	if lost+doubled == 0 {
		return ""
	}
	return fmt.Sprintf("%d lost, %d doubled of %d", lost, doubled, len(published))
}

// restarted lists the restarted actors, as the log reports them.
func (f *faultRig) restarted() string {
	var all []string
	for line := range strings.Lines(f.log.String()) {
		var told struct{ Event, Actor string }
		if json.Unmarshal([]byte(line), &told) == nil && told.Event == string(observe.ActorRestarted) {
			all = append(all, strings.TrimPrefix(told.Actor, "tempestd/"))
		}
	}
	return strings.Join(all, ", ")
}

// TestAFaultStaysWhereItIs panics in every goroutine that works for a feed, at its start and later
// on, and in every actor's turn with each type of message, one at a time. The points are those that
// the same run without a fault visits. With a legacy upstream only the points that the first run
// did not visit are tried.
func TestAFaultStaysWhereItIs(t *testing.T) {
	tried := map[string]bool{"tempestd *actor.Started": true} // without a root there is no daemon
	for _, legacy := range []bool{false, true} {
		var mu sync.Mutex
		points := map[string]int{}
		synctest.Test(t, func(t *testing.T) {
			f := newFaultRig(t, legacy, func(point string) {
				mu.Lock()
				defer mu.Unlock()
				points[point]++
			})
			f.life()
			f.end()
			f.after(10 * time.Second)
			if err := f.stop(); err != nil {
				t.Fatal(err)
			}
			if diff := unlike(f.up, f.first); diff != "" {
				t.Fatalf("without a fault: %s", diff)
			}
		})
		for _, point := range slices.Sorted(maps.Keys(points)) {
			if strings.HasPrefix(point, otherFeed+"/") || tried[point] {
				continue
			}
			tried[point] = true
			visits := []int{1}
			switch isTurn := strings.Contains(point, " "); {
			case isTurn && raceEnabled:
				// The race detector makes each run long, and a turn has no goroutine of its own.
				continue
			case !isTurn && !raceEnabled:
				visits = slices.Compact([]int{1, min(points[point], 7)})
			}
			for _, at := range visits {
				t.Run(fmt.Sprintf("%s/%d", point, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { panicAt(t, legacy, point, at) })
				})
			}
		}
	}
}

// panicAt runs life with a panic at the at-th visit to a point.
func panicAt(t *testing.T, legacy bool, point string, at int) {
	var mu sync.Mutex
	visits := 0
	f := newFaultRig(t, legacy, func(p string) {
		mu.Lock()
		defer mu.Unlock()
		if p == point {
			if visits++; visits == at {
				panic("injected")
			}
		}
	})
	f.life()
	what := fmt.Sprintf("%s, visit %d, legacy %v", point, at, legacy)
	select {
	case err := <-f.daemon.Failed():
		t.Errorf("%s: the daemon failed: %v", what, err)
		return
	default:
	}
	if other, err := f.daemon.Feed(context.Background(), otherFeed); err != nil || other.Epoch != 1 || other.State != messages.StateLive {
		t.Errorf("%s: the other feed is %s in epoch %d: %v", what, other.State, other.Epoch, err)
	}
	s := f.status()
	if s.State != messages.StateLive {
		t.Errorf("%s: the feed is %s (%s)", what, s.State, s.Reason)
	}
	if dials := f.other.dialCount() - f.dialed; dials != 1 {
		t.Errorf("%s: the other feed was dialled %d times", what, dials)
	}
	f.end()
	f.after(10 * time.Second)
	_ = f.stop() // the fault may strike the stop itself
	if visits < at {
		t.Errorf("%s: it was visited %d times", what, visits)
	}
	if n := strings.Count(f.log.String(), `"event":"actor.failed"`); n != 1 {
		t.Errorf("%s: %d failures were told, want one", what, n)
	}
	restarted := f.restarted()
	// Events that were not stored when the fault struck the stop are read again.
	f.fault = nil
	f.after(leaseTTL)
	f.start()
	f.after(time.Minute)
	if diff := unlike(f.up, f.first); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
	if diff := unlike(f.other, f.leases.stream(otherFeed)); diff != "" {
		t.Errorf("%s: of the other feed %s", what, diff)
	}
	if n := bytes.Count(bytes.Join(f.first.all(), nil), []byte(`"kind":"gap"`)); n > 0 {
		t.Errorf("%s: %d gap entries", what, n)
	}
	t.Logf("%-55s visit %d: restarted %s; epochs %d; other feed epoch 1, 1 dial; lost 0, doubled 0", strings.TrimPrefix(point, feedName+"/"), at, restarted, s.Epoch)
}

// A writer takes a batch with it when it fails before it has it in its queue. However often that
// happens, the feed reads on.
func TestI2_ABatchThatAWriterFailsAtIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		r := newRig(t, func(r *rig) {
			r.fault = func(point string) {
				if strings.HasSuffix(point, "writer *messages.AppendBatch") && armed.CompareAndSwap(true, false) {
					panic("injected")
				}
			}
		})
		for range 2 * actors.Credits {
			r.up.publish(5)
			r.after(time.Minute)
			armed.Store(true)
		}
		r.after(time.Minute)
		r.up.publish(5)
		r.after(time.Minute)
		r.wantState(messages.StateLive)
		r.wantExactlyPublished(0)
	})
}
