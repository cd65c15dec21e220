package integration_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/valkeytest"
)

// follower is a process that follows the stream with the npm client, in one way or another (clients/follow.mjs).
type follower struct {
	*process
	mode string
}

func (d *daemon) follow(offset, mode string) *follower {
	d.t.Helper()
	return &follower{startNode(d.t, "follow.mjs", "http://"+d.addr+"/streams/"+feed, offset, mode), mode}
}

// followed is a batch that the client was given.
type followed struct {
	Offset   string
	UpToDate bool
	Closed   bool
	Items    []json.RawMessage
}

// batches are what the client was given so far. A line that the end of the process has cut was not taken.
func (f *follower) batches() []followed {
	f.t.Helper()
	var all []followed
	for _, line := range f.out.all() {
		var b followed
		if err := json.Unmarshal([]byte(line), &b); err == nil {
			all = append(all, b)
		}
	}
	return all
}

// awaitItems waits until the client was given something more.
func (f *follower) awaitItems() {
	f.t.Helper()
	f.next("a batch", func(line string) bool { return strings.Contains(line, `"items":[{`) })
}

// canonical is JSON that was parsed and written again, as the client's is.
func canonical(t *testing.T, event []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(event, &v); err != nil {
		t.Fatalf("%v: %.200s", err, event)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// canonicalFrames is the stream as /frames gives it.
func (d *daemon) canonicalFrames(t *testing.T) []string {
	t.Helper()
	var all []string
	for from := "start"; ; {
		page, err := d.Frames(t.Context(), feed, from, "end", 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Frames) == 0 {
			return all
		}
		for _, f := range page.Frames {
			all = append(all, canonical(t, f.Event))
		}
		from = page.Frames[len(page.Frames)-1].ID.Next().String()
	}
}

// wantExactly checks that the batches hold every entry once and in order, from the first-th (from 0) on, and that only the last says that the stream is closed.
func wantExactly(t *testing.T, who string, batches []followed, want []string) {
	t.Helper()
	var got []string
	last := ""
	for i, b := range batches {
		for _, item := range b.Items {
			got = append(got, canonical(t, item))
		}
		if b.Offset < last || b.Closed != (i == len(batches)-1) {
			t.Errorf("%s: batch %d of %d ends at %s after %s, closed: %v", who, i, len(batches), b.Offset, last, b.Closed)
		}
		last = b.Offset
	}
	if !slices.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d entries, want %d; the first difference is at %d", who, len(got), len(want), at)
	}
}

// The unmodified client follows a stream in every mode, through restarts of the daemon in good order and not, through one of its own, and to its end.
func TestDurableStreamsClient(t *testing.T) {
	t.Parallel()
	if _, err := clients(); err != nil { // which may take a while
		t.Fatal(err)
	}
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(100)
	followers := []*follower{d.follow("-1", "long-poll"), d.follow("-1", "sse")}
	resumed := d.follow("-1", "sse")
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}

	d.kill()
	d.startLive()
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}
	resumed.kill()
	taken := resumed.batches()
	d.stop()
	d.startLive()
	resumed = d.follow(taken[len(taken)-1].Offset, "long-poll")
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}

	d.catchUp(sim)
	code, p := run(t, "close", feed, "--reason", "the test is over", "--addr", d.addr)
	if code != 0 {
		t.Fatalf("close: exit code %d\n%v", code, p.log)
	}
	d.await("stream.closed", "stream", feed, "reason", "the test is over")
	d.await("feed.stopped", "feed", feed)
	want := d.canonicalFrames(t)
	for _, f := range append(followers, d.follow("-1", "false"), d.follow("-1", "sse")) {
		if code := f.wait(); code != 0 {
			t.Fatalf("%s: exit code %d\n%v", f.mode, code, f.log)
		}
		wantExactly(t, f.mode, f.batches(), want)
	}
	if code := resumed.wait(); code != 0 {
		t.Fatalf("resumed: exit code %d\n%v", code, resumed.log)
	}
	wantExactly(t, "resumed", append(taken, resumed.batches()...), want)

	// The end outlives the daemon, and the feed does not begin again.
	d.stop()
	d.start()
	d.await("feed.stopped", "feed", feed)
	after := d.follow("-1", "long-poll")
	if code := after.wait(); code != 0 {
		t.Fatalf("after a restart: exit code %d\n%v", code, after.log)
	}
	wantExactly(t, "after a restart", after.batches(), want)
	if n := len(d.records("feed.live")); n > 0 {
		t.Error("a feed whose stream is closed went live")
	}
	t.Logf("%d entries", len(want))
}

// A client whose place is gone is told, and does not go on as if nothing were missing.
func TestDurableStreamsClientIsToldOfALoss(t *testing.T) {
	t.Parallel()
	if _, err := clients(); err != nil {
		t.Fatal(err)
	}
	sim := simulate(t, 0)
	d := newDaemon(t, sim.url(), onValkey(valkeytest.Start(t, valkeytest.Options{}))) // which drops what is too much with each append
	d.configure(settings{"feeds." + feed + ".retention": `{ entries = 100 }`})
	d.startLive()
	sim.produce(50)
	d.awaitStored(50)
	first := d.follow("-1", "false")
	if code := first.wait(); code != 0 {
		t.Fatalf("exit code %d\n%v", code, first.log)
	}
	batches := first.batches()
	place := batches[len(batches)-1].Offset
	eventually(t, "retention overtakes the client", func() bool {
		sim.produce(100)
		resp, err := http.Get("http://" + d.addr + "/streams/" + feed + "?offset=" + place)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusGone
	})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for _, mode := range []string{"false", "long-poll", "sse"} {
		f := d.follow(place, mode)
		if code := f.wait(); code != 1 || !strings.Contains(f.log.String(), "refused with 410") || !strings.Contains(f.log.String(), "offset=-1") {
			t.Errorf("%s: exit code %d\n%v", mode, code, f.log)
		}
	}
}
