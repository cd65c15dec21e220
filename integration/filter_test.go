package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// filterChanges is the number of filter changes per wire. TEMPESTD_TEST_CHANGES sets another
// number, for more changes than a normal test run has time for.
func filterChanges(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("TEMPESTD_TEST_CHANGES")); err == nil {
		return n
	}
	return 6
}

// TestI2_FiltersThatChange changes the filter of a feed at random under load: while the daemon
// runs, while it is stopped, and when it is killed. A filter holds from the moment of the change.
// No event that both filters want is missing, no event is stored that the filter of its time does
// not want, and there is no gap entry.
func TestI2_FiltersThatChange(t *testing.T) {
	t.Parallel()
	for _, w := range wires[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			testFilters(t, w.path)
		})
	}
}

func testFilters(t *testing.T, path string) {
	random := seeded(t)
	sim := simulate(t, 700)
	truth := watch(t, sim)
	d := newDaemon(t, "ws://"+sim.addr+path, nil)
	d.startLive()
	d.awaitStored(500)
	held := []holding{{from: time.Now().Add(-time.Hour), until: time.Now().Add(-time.Hour)}}
	for range filterChanges(t) {
		after(between(random, 2200*time.Millisecond, 3*time.Second))
		next := truth.draw(random)
		for fmt.Sprint(next.settings()) == fmt.Sprint(held[len(held)-1].settings()) {
			next = truth.draw(random)
		}
		how := random.IntN(6)
		if how > 1 {
			d.configure(next.settings())
		}
		began := time.Now()
		switch how {
		case 0: // changed while the daemon is stopped
			d.stop()
			d.configure(next.settings())
			after(between(random, 0, 500*time.Millisecond))
			d.startLive()
		case 1: // changed after a kill
			d.kill()
			d.configure(next.settings())
			d.startLive()
		case 2: // SIGHUP and then a kill
			d.signal(syscall.SIGHUP)
			after(between(random, 0, 30*time.Millisecond))
			d.kill()
			d.startLive()
		default:
			d.signal(syscall.SIGHUP)
			d.await("feed.filter_changed")
		}
		if how > 2 && path != "/subscribe" {
			d.await("feed.live")
		}
		held = append(held, holding{next, began, time.Now()})
		t.Logf("%d: way %d, %s, %v", len(held)-1, how, began.Format("05.000"), next)
	}
	after(1500 * time.Millisecond)
	last := settings{"feeds." + feed + ".kinds": "[]", "feeds." + feed + ".collections": "[]", "feeds." + feed + ".dids": "[]"}
	d.stop()
	d.configure(last)
	began := time.Now()
	d.startLive()
	held = append(held, holding{wanted{}, began, time.Now()})
	d.awaitStored(1000)
	d.catchUp(sim)
	truth.judge(d, held)
}

// wanted is a filter as the test applies it.
type wanted struct{ kinds, collections, dids []string }

func (w wanted) String() string {
	return fmt.Sprintf("kinds %v, collections %v, %d DIDs", w.kinds, w.collections, len(w.dids))
}

// settings returns the filter as keys of the configuration.
func (w wanted) settings() settings {
	list := func(all []string) string {
		var quotes []string
		for _, s := range all {
			quotes = append(quotes, quoted(s))
		}
		return "[" + strings.Join(quotes, ", ") + "]"
	}
	return settings{
		"feeds." + feed + ".kinds":       list(w.kinds),
		"feeds." + feed + ".collections": list(w.collections),
		"feeds." + feed + ".dids":        list(w.dids),
	}
}

// wants reports whether the filter accepts an event.
func (w wanted) wants(e seen) bool {
	if len(w.dids) > 0 && !slices.Contains(w.dids, e.DID) || len(w.kinds) > 0 && !slices.Contains(w.kinds, e.Kind) {
		return false
	}
	return e.Kind != "commit" || len(w.collections) == 0 || slices.ContainsFunc(w.collections, func(c string) bool {
		head, all := strings.CutSuffix(c, "*")
		return c == e.Commit.Collection || all && strings.HasPrefix(e.Commit.Collection, head)
	})
}

// holding is a filter and the period in which it came into force.
type holding struct {
	wanted
	from, until time.Time
}

// seen holds the fields by which filters select an event and tests identify it.
type seen struct {
	DID    string
	TimeUS int64 `json:"time_us"`
	Kind   string
	Cursor int64
	Commit struct{ Rev, Operation, Collection, RKey string }
}

func (e seen) at() time.Time { return time.UnixMicro(e.TimeUS) }

// truth is everything that an upstream sends.
type truth struct {
	t      *testing.T
	from   int64 // the number of the first event that counts
	mu     sync.Mutex
	events []seen
}

// watch follows an upstream without a filter.
func watch(t *testing.T, sim *simulator) *truth {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), sim.url()+"?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	w := &truth{t: t}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(ended)
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return
			}
			var e seen
			if err := json.Unmarshal(b, &e); err != nil {
				t.Errorf("%v: %s", err, b)
				return
			}
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = ws.CloseNow()
	})
	return w
}

func (w *truth) all() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// draw returns a random filter: wider than the one before, narrower, or different.
func (w *truth) draw(r *rand.Rand) (f wanted) {
	some := func(all []string) (drawn []string) {
		for _, s := range all {
			if r.IntN(2) == 0 {
				drawn = append(drawn, s)
			}
		}
		return drawn
	}
	if r.IntN(3) == 0 {
		f.kinds = some([]string{"commit", "identity", "account"})
	}
	if r.IntN(4) > 0 && (len(f.kinds) == 0 || slices.Contains(f.kinds, "commit")) {
		f.collections = some([]string{"app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.graph.*", "app.bsky.actor.*", "app.bsky.feed.threadgate"})
	}
	if r.IntN(3) == 0 {
		events := w.all()
		for range 1 + r.IntN(400) {
			f.dids = append(f.dids, events[r.IntN(len(events))].DID)
		}
		slices.Sort(f.dids)
		f.dids = slices.Compact(f.dids)
	}
	return f
}

// judge compares the stream with what was sent and wanted.
func (w *truth) judge(d *daemon, held []holding) {
	w.t.Helper()
	const margin = time.Second
	stored := map[int64]int{}
	gaps := 0
	for event, err := range d.entries() {
		if err != nil {
			w.t.Fatal(err)
		}
		var e seen
		if err := json.Unmarshal(event, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Kind == "gap" {
			gaps++
			w.t.Logf("%s", event)
			continue
		}
		stored[e.Cursor]++
	}
	events := w.all()
	first := slices.IndexFunc(events, func(e seen) bool { return stored[e.Cursor] > 0 })
	missing, unwanted, twice, judged, told := 0, 0, 0, 0, 0
	for _, e := range events[first:] {
		after := slices.IndexFunc(held, func(h holding) bool { return h.from.Add(-margin).After(e.at()) })
		if after < 0 {
			after = len(held)
		}
		may := []wanted{held[after-1].wanted} // the filters that may be in force at that time
		if after > 1 && held[after-1].until.Add(margin).After(e.at()) {
			may = append(may, held[after-2].wanted)
		}
		all, any := true, false
		for _, f := range may {
			all, any = all && f.wants(e), any || f.wants(e)
		}
		if all == any {
			judged++
		}
		n := stored[e.Cursor]
		if n > 1 {
			twice++
		}
		say := func(what string) {
			if last := held[after-1]; missing+unwanted <= 2 || after != told {
				told = after
				w.t.Errorf("%s: %+v, %v after change %d (%v; it took %v)", what, e, e.at().Sub(last.from), after-1, last, last.until.Sub(last.from))
			}
		}
		switch {
		case all && n == 0:
			missing++
			say("missing")
		case !any && n > 0:
			unwanted++
			say("unwanted")
		}
	}
	w.t.Logf("%d changes, %d events, %d judged, %d stored; missing %d, unwanted %d, twice %d, gaps %d", len(held)-1, len(events)-first, judged, len(stored), missing, unwanted, twice, gaps)
	if missing+unwanted+twice+gaps > 0 {
		w.t.Errorf("missing %d, unwanted %d, twice %d, gaps %d", missing, unwanted, twice, gaps)
	}
}
